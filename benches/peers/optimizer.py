"""PyTorch's optimizers over as many parameters as `cargo bench -p benches --bench optimizer`.

    python benches/peers/optimizer.py

Prints the median milliseconds of a step with the global norm's clipping, on two threads.
"""

import statistics
import time

import torch

SHAPE, TENSORS, ROUNDS = (512, 512, 3, 3), 11, 21


def main():
    torch.set_num_threads(2)
    kinds = {
        "AdamW, fused": lambda p: torch.optim.AdamW(p, 1e-3, fused=True),
        "AdamW": lambda p: torch.optim.AdamW(p, 1e-3),
        "SGD": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, weight_decay=1e-4),
    }
    for name, make in kinds.items():
        parameters = [torch.nn.Parameter(torch.randn(SHAPE)) for _ in range(TENSORS)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer = make(parameters)

        def step():
            start = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            return 1e3 * (time.perf_counter() - start)

        print(f"{name}: {statistics.median(step() for _ in range(ROUNDS)):.1f} ms")
    source = torch.randn(TENSORS * 512 * 512 * 9)
    target = torch.empty_like(source)

    def copy():
        start = time.perf_counter()
        target.copy_(source)
        return 1e3 * (time.perf_counter() - start)

    print(f"a copy of as many numbers: {statistics.median(copy() for _ in range(ROUNDS)):.1f} ms")


main()
