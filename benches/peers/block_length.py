"""Block lengths by the `arch` package's rule, for our tests to agree with.

    python3 -m venv arch && arch/bin/pip install arch
    arch/bin/python benches/peers/block_length.py

Prints seed, memory (x <- memory * x + a draw), number of values and the length for circular blocks
of `arch.bootstrap.optimal_block_length`, as lines of the table in
`crates/seg-metrics/tests/stills.rs`. Draws are whole numbers from -500 to 500 by
x <- x * 6364136223846793005 + 1442695040888963407 modulo 2^64 from the seed, (x >> 33) mod 1001.
"""

from arch.bootstrap import optimal_block_length
import numpy as np


def series(seed, memory, n):
    values, state, last = [], seed, 0.0
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        last = memory * last + float((state >> 33) % 1001) - 500.0
        values.append(last)
    return np.array(values)


for seed, memory, n in [
    (1, 0.0, 233), (2, 0.0, 2000), (3, 0.3, 233), (4, 0.5, 233), (5, 0.7, 233), (6, 0.9, 233),
    (7, 0.95, 233), (8, 0.7, 2000), (9, 0.9, 500), (10, -0.5, 233), (11, 0.5, 60), (12, 0.8, 101),
]:
    length = optimal_block_length(series(seed, memory, n))["circular"].iloc[0]
    print(f"({seed}, {memory}, {n}, {length!r}),")
