"""Where a step of training spends its time: within the kernels, or outside.

    perf record --call-graph dwarf,16384 -F 199 -o perf.data target/release/experiments train CONFIG.toml --data-root DIR --try 16
    python benches/where.py perf.data target/release/experiments --skip 4

Every sample is taken to its source lines, inlined calls included (`addr2line`), and belongs to the
innermost call that says whose it is: within are the crates grid-ops, dense-rnn and attention and the
products they call, with the copies, zeroing and page faults that they cause; waiting is what the
pool does without work; outside is everything else. Printed are shares of the time that passed,
thread by thread.
"""

import argparse
import collections
import re
import subprocess

# Whose a call is, from its function and file; tried in this order.
WITHIN = re.compile(r"/crates/(grid-ops|dense-rnn|attention)/src/|/gemm[a-z0-9-]*-\d|grid_ops::|dense_rnn::|^x\d+x\d+ ")
WAITING = re.compile(r"rayon_core::(sleep|registry::WorkerThread::(find_work|wait_until_cold))|crossbeam_(deque|epoch)")
OUTSIDE = re.compile(r"/candle-(core|nn)-|/crates/|candle_core|candle_nn|experiments::|scene_data")


def output_of(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=True, **more).stdout


def samples(data, program):
    """(thread, second, frames) of every sample, innermost frame first: its address in the program or
    None, and its symbol."""
    fields = "tid,time,ip,sym,dso"
    begin, sample = None, None
    for line in output_of("perf", "script", "-i", data, "-F", fields, "--no-inline", "--show-mmap-events").splitlines():
        mapped = re.search(r"\[0x([0-9a-f]+)\(\S+\) @ (\S+) .*\]: r-xp (.*)$", line)
        if mapped:
            if mapped[3].strip().endswith("/" + program):
                begin = int(mapped[1], 16) - int(mapped[2], 0)
            continue
        head = re.match(r"\s*(\d+)\s+([\d.]+):\s*$", line)
        if head:
            sample = (head[1], float(head[2]), [])
            yield sample
            continue
        frame = re.match(r"\s+([0-9a-f]+)\s+(.*)\s+\((.*)\)$", line)
        if frame and sample:
            own = frame[3].endswith("/" + program)
            # A caller is where it goes on, behind the call.
            address = int(frame[1], 16) - begin - (1 if sample[2] else 0) if own else None
            sample[2].append((address, frame[2]))


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
    parser.add_argument("--hz", type=float, default=199, help="samples a second, as recorded")
    args = parser.parse_args()
    all_samples = list(samples(args.data, args.program.rsplit("/", 1)[-1]))
    start = all_samples[0][1] + args.skip
    kept = [sample for sample in all_samples if sample[1] >= start and sample[2]]
    seconds = kept[-1][1] - start
    own = {address for _, _, frames in kept for address, _ in frames if address is not None}
    chains = calls(args.program, sorted(own))
    threads = collections.defaultdict(collections.Counter)
    for thread, _, frames in kept:
        threads[thread][whose(frames, chains)] += 1
    print(f"{seconds:.1f} s, shares of this time:")
    for thread, counts in sorted(threads.items(), key=lambda of: -of[1].total()):
        share = lambda count: f"{100 * count / args.hz / seconds:5.1f} %"
        outside = counts.total() - counts["within the kernels"] - counts["waiting"]
        print(f"thread {thread}: busy {share(counts.total())}, outside the kernels {share(outside)}")
        for what, count in counts.most_common(8):
            print(f"    {share(count)}  {what[:100]}")


def whose(frames, chains):
    """What a sample counts as."""
    for address, symbol in frames:
        for function, line in chains.get(address, [(symbol, "")]):
            place = f"{function} {line}"
            if WITHIN.search(place):
                return "within the kernels"
            if WAITING.search(place):
                return "waiting"
            if OUTSIDE.search(place):
                return function
    return frames[0][1]


if __name__ == "__main__":
    main()
