"""Where a step of training spends its time: within the kernels, or outside.

    perf record -F 999 -o perf.data target/release/experiments train CONFIG.toml --data-root DIR --try 16
    python benches/where.py perf.data target/release/experiments --skip 4

Every sample is taken to its source lines, inlined calls included (`addr2line`). Within are the
crates grid-ops, dense-rnn and attention and the products they call; outside is everything else,
copies and zeroing of memory too unless a thread of the kernels' pool does them, which only kernels
occupy. Printed are shares of the time that passed, thread by thread.
"""

import argparse
import collections
import re
import subprocess

WITHIN = re.compile(r"/crates/(grid-ops|dense-rnn|attention)/src/|gemm|grid_ops|dense_rnn")
KERNEL_OF_GEMM = re.compile(r"^x\d+x\d+$")


def output_of(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=True, **more).stdout


def samples(data, program):
    """(thread, second, address in the program or None, symbol) of every sample."""
    fields = "tid,time,ip,sym,dso"
    begin = None
    for line in output_of("perf", "script", "-i", data, "-F", fields, "--show-mmap-events").splitlines():
        mapped = re.search(r"\[0x([0-9a-f]+)\(\S+\) @ (\S+) .*\]: r-xp (.*)$", line)
        if mapped:
            if mapped[3].strip().endswith("/" + program):
                begin = int(mapped[1], 16) - int(mapped[2], 0)
            continue
        sample = re.match(r"\s*(\d+)\s+([\d.]+):\s+([0-9a-f]+)\s+(.*)\s+\((.*)\)$", line)
        if sample:
            own = sample[5].endswith("/" + program)
            address = int(sample[3], 16) - begin if own else None
            yield sample[1], float(sample[2]), address, sample[4]


def calls(program, addresses):
    """The chain of inlined calls at every address of the file, innermost first."""
    shift = 0
    for line in output_of("readelf", "-lW", program).splitlines():
        segment = re.match(r"\s*LOAD\s+(\S+)\s+(\S+)\s+\S+\s+\S+\s+\S+\s+R E", line)
        if segment:
            shift = int(segment[2], 16) - int(segment[1], 16)
    asked = "\n".join(hex(address + shift) for address in addresses)
    lines = output_of("addr2line", "-e", program, "-f", "-i", "-C", "-a", input=asked).splitlines()
    found, at = {}, 0
    while at < len(lines):
        if lines[at].startswith("0x"):
            chain = found[int(lines[at], 16) - shift] = []
            at += 1
        else:
            chain.append((lines[at], lines[at + 1]))
            at += 2
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("program")
    parser.add_argument("--skip", type=float, default=0, help="seconds at the start to leave out")
    parser.add_argument("--hz", type=float, default=999, help="samples a second, as recorded")
    args = parser.parse_args()
    all_samples = list(samples(args.data, args.program.rsplit("/", 1)[-1]))
    start = all_samples[0][1] + args.skip
    kept = [sample for sample in all_samples if sample[1] >= start]
    seconds = kept[-1][1] - start
    chains = calls(args.program, sorted({address for _, _, address, _ in kept if address is not None}))
    threads = collections.defaultdict(collections.Counter)
    for thread, _, address, symbol in kept:
        chain = chains.get(address, [])
        places = " ".join(f"{function} {line}" for function, line in chain)
        if WITHIN.search(places) or any(KERNEL_OF_GEMM.match(function) for function, _ in chain):
            threads[thread]["within the kernels"] += 1
        else:
            threads[thread][chain[-1][0] if chain else symbol] += 1
    print(f"{seconds:.1f} s, shares of this time:")
    for thread, counts in sorted(threads.items(), key=lambda of: -of[1].total()):
        share = lambda count: f"{100 * count / args.hz / seconds:5.1f} %"
        outside = counts.total() - counts["within the kernels"]
        print(f"thread {thread}: busy {share(counts.total())}, outside the kernels {share(outside)}")
        for what, count in counts.most_common(8):
            print(f"    {share(count)}  {what[:100]}")


if __name__ == "__main__":
    main()
