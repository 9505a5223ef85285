"""PyTorch's side of a comparison: times cases on request, one line of JSON each way.

Every line read names a case, a pass and for how long to repeat it; the answer is the median time of
the better of PyTorch's two memory formats, and this process's peak memory. Confusion matrices are
numpy's, photographs Pillow's. Requires: torch, torchvision, numpy, pillow.
"""

import json
import os
import resource
import statistics
import sys
import time

import numpy
import PIL
import torch
import torch.nn.functional as F

import confusion
import contexts
import photographs
import scans

torch.set_num_threads(int(os.environ["PEER_THREADS"]))
torch.manual_seed(0)


def labels(n, h, w, classes):
    index = torch.arange(n * h * w)
    return torch.where(index % 7 == 6, 255, index % classes).reshape(n, h, w)


def prepare(case):
    """Inputs that want gradients, and the function of them that is timed."""
    op, get = case["op"], lambda names: [case[name] for name in names.split()]
    grid = lambda *shape: torch.rand(shape) * 2 - 1
    if op == "conv2d":
        n, c, k, h, w, kernel, stride, d, groups = get("n c k h w kernel stride dilation groups")
        inputs = [grid(n, c, h, w), grid(k, c // groups, kernel, kernel)]
        return inputs, lambda x, v: F.conv2d(x, v, None, stride, d * (kernel // 2), d, groups)
    if op == "conv_transpose2d":
        n, c, k, h, w = get("n c k h w")
        inputs = [grid(n, c, h, w), grid(c, k, 4, 4)]
        return inputs, lambda x, v: F.conv_transpose2d(x, v, None, 2, 1)
    if op == "max_pool2d":
        return [grid(*get("n c h w"))], lambda x: F.max_pool2d(x, 3, 2, 1)
    if op == "avg_pool2d":
        return [grid(*get("n c h w"))], lambda x: F.avg_pool2d(x, 2)
    if op == "resize_bilinear":
        size = get("height width")
        return [grid(*get("n c h w"))], lambda x: F.interpolate(x, size, mode="bilinear")
    if op == "upsample_nearest":
        size = get("height width")
        return [grid(*get("n c h w"))], lambda x: F.interpolate(x, size, mode="nearest")
    if op == "batch_norm_relu":
        c = case["c"]
        inputs = [grid(*get("n c h w")), grid(c), grid(c)]
        norm = lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True)
        return inputs, lambda x, g, b: F.relu(norm(x, g, b), inplace=True)
    if op == "cross_entropy":
        n, k, h, w = get("n k h w")
        truth = labels(n, h, w, k)
        return [grid(n, k, h, w)], lambda x: F.cross_entropy(x, truth, ignore_index=255)
    if op == "upsampled_cross_entropy":
        n, k, h, w, height, width = get("n k h w height width")
        truth, size = labels(n, height, width, k), (height, width)
        full = lambda x: F.interpolate(x, size, mode="bilinear")
        return [grid(n, k, h, w)], lambda x: F.cross_entropy(full(x), truth, ignore_index=255)
    if op == "scan":
        return scans.prepare(case)
    if op == "scan_products":
        n, c, d, h, w = get("n c d h w")
        inputs = [grid(n * h * w, c), grid(c, 4 * d), grid(4, n * h * w, d), grid(4, d, d)]
        flat = lambda *products: torch.cat([product.reshape(-1) for product in products])
        return inputs, lambda x, u, hidden, v: flat(x @ u, hidden @ v)
    raise SystemExit(f"{op}: no such operation on PyTorch's side")


def task(case, backward, memory_format):
    if case["op"] == "confusion":
        return confusion.prepare(case)
    if case["op"] == "photographs":
        return photographs.prepare(case)
    if case["op"] == "resnet18_step":
        return resnet18_step(case, backward, memory_format)
    if case["op"] == "backbone":
        return backbone(case, backward, memory_format)
    if case["op"] == "context":
        return contexts.prepare(case, backward, memory_format)
    inputs, run = prepare(case)
    laid_out = lambda t: t.contiguous(memory_format=memory_format) if t.dim() == 4 else t
    inputs = [laid_out(t).requires_grad_(backward) for t in inputs]
    if not backward:

        def forward():
            with torch.no_grad():
                run(*inputs)

        return forward
    ones = torch.ones_like(run(*inputs).detach())

    def both():
        for t in inputs:
            t.grad = None
        run(*inputs).backward(ones)

    return both


class Block(torch.nn.Module):
    def __init__(self, c, k, stride, dilation):
        super().__init__()
        conv = lambda c, stride: torch.nn.Conv2d(c, k, 3, stride, dilation, dilation, bias=False)
        norm = lambda: torch.nn.BatchNorm2d(k)
        self.first, self.second = conv(c, stride), conv(k, 1)
        self.norms = torch.nn.ModuleList([norm(), norm()])
        self.shortcut = None
        if c != k:
            one = torch.nn.Conv2d(c, k, 1, stride, bias=False)
            self.shortcut = torch.nn.Sequential(one, norm())

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)), inplace=True)
        y = self.norms[1](self.second(y))
        x = x if self.shortcut is None else self.shortcut(x)
        return F.relu(y.add_(x), inplace=True)


def resnet18_step(case, backward, memory_format):
    """A training step of a ResNet-18 of output stride 16, or its forward part."""
    n, k, h, w = [case[name] for name in "n k h w".split()]
    layers = [torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False), torch.nn.BatchNorm2d(64)]
    layers += [torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(3, 2, 1)]
    shapes = [(64, 64, 1, 1), (64, 64, 1, 1), (64, 128, 2, 1), (128, 128, 1, 1)]
    shapes += [(128, 256, 2, 1), (256, 256, 1, 1), (256, 512, 1, 1), (512, 512, 1, 2)]
    layers += [Block(*shape) for shape in shapes] + [torch.nn.Conv2d(512, k, 1)]
    net = torch.nn.Sequential(*layers).to(memory_format=memory_format)
    images = (torch.rand(n, 3, h, w) * 2 - 1).contiguous(memory_format=memory_format)
    truth = labels(n, h, w, k)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step():
        logits = F.interpolate(net(images), (h, w), mode="bilinear")
        loss = F.cross_entropy(logits, truth, ignore_index=255)
        if backward:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def backbone(case, backward, memory_format):
    """torchvision's features at inference, or in a training step with all parameters' gradients."""
    import backbones

    net, stages = backbones.network(backbones.TIMED[case["network"]])
    net = net.to(memory_format=memory_format).train(backward)
    images = torch.rand(case["n"], 3, case["h"], case["w"]) * 2 - 1
    images = images.contiguous(memory_format=memory_format)
    run = backbones.through(net, stages[-1])

    def step():
        with torch.set_grad_enabled(backward):
            last = run(images)
            if backward:
                net.zero_grad()
                last.backward(torch.ones_like(last))

    return step


def median(task, seconds):
    start, times = time.perf_counter(), []
    # Three times at least, but for what takes seconds once has to do.
    while time.perf_counter() - start < (seconds if len(times) >= 3 else 10 * seconds):
        each = time.perf_counter()
        task()
        times.append((time.perf_counter() - each) * 1e3)
    return statistics.median(times)


def main():
    prepared = {}
    versions = {"torch": torch.__version__, "numpy": numpy.__version__, "pillow": PIL.__version__}
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["case"]["name"], request["pass"])
        if key not in prepared:
            backward = request["pass"] == "forward-backward"
            formats = [torch.contiguous_format, torch.channels_last]
            prepared = {key: [task(request["case"], backward, f) for f in formats]}
            for each in prepared[key]:
                each()  # Warm up.
        times = [median(each, request["seconds"]) for each in prepared[key]]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"milliseconds": min(times), "peak_mib": peak}), flush=True)


main()
