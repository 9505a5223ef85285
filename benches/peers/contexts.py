"""Context modules in PyTorch, as their papers' code has them but for what `context-modules` adapts.

Requires: torch.
"""

import torch
import torch.nn.functional as F
from torch import nn


def normed(c, k, kernel=1, dilation=1):
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(c, k, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(k), nn.ReLU(inplace=True))


def biased(c, k):
    return nn.Sequential(nn.Conv2d(c, k, 1), nn.ReLU(inplace=True))


class PyramidPooling(nn.Module):
    def __init__(self, p):
        super().__init__()
        q = p // 4
        blocks = [(bins, biased(p, q) if bins == 1 else normed(p, q)) for bins in (1, 2, 3, 6)]
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), block) for bins, block in blocks
        )
        self.output = normed(2 * p, p, 3)

    def forward(self, x):
        resized = lambda y: F.interpolate(y, x.shape[2:], mode="bilinear")
        return self.output(torch.cat([x] + [resized(branch(x)) for branch in self.branches], 1))


class AtrousPyramid(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.branches = nn.ModuleList([normed(p, p)] + [normed(p, p, 3, d) for d in (12, 24, 36)])
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), biased(p, p))
        self.output = normed(5 * p, p)

    def forward(self, x):
        maps = [branch(x) for branch in self.branches]
        # A bilinear resizing of one value, as the paper's code has it, is slower.
        maps.append(self.image(x).expand(-1, -1, *x.shape[2:]))
        return self.output(torch.cat(maps, 1))


class NonLocal(nn.Module):
    def __init__(self, p, fused):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(p, p // 2, 1) for _ in range(3))
        self.output = nn.Conv2d(p // 2, p, 1)
        self.fused = fused

    def forward(self, x):
        n, _, h, w = x.shape
        # [n, units, a]
        theta, phi, g = (part(x).flatten(2).transpose(1, 2) for part in (self.theta, self.phi, self.g))
        if self.fused:
            heads = (part.contiguous().unsqueeze(1) for part in (theta, phi, g))
            y = F.scaled_dot_product_attention(*heads, scale=1.0).squeeze(1)
        else:
            y = (theta @ phi.transpose(1, 2)).softmax(-1) @ g
        return self.output(y.transpose(1, 2).reshape(n, -1, h, w))


class CrissCross(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.query, self.key = nn.Conv2d(p, p // 8, 1), nn.Conv2d(p, p // 8, 1)
        self.value = nn.Conv2d(p, p, 1)
        self.gamma = nn.Parameter(torch.full((1,), 0.5))

    def once(self, x):
        n, _, h, w = x.shape
        q, k, v = self.query(x), self.key(x), self.value(x)
        columns = lambda y: y.permute(0, 3, 1, 2).contiguous().view(n * w, -1, h)
        rows = lambda y: y.permute(0, 2, 1, 3).contiguous().view(n * h, -1, w)
        own = torch.diag(torch.full((h,), float("inf"))).nan_to_num(0.0, float("inf"))
        of_column = torch.bmm(columns(q).transpose(1, 2), columns(k)).view(n, w, h, h)
        of_column = (of_column - own).permute(0, 2, 1, 3)
        of_row = torch.bmm(rows(q).transpose(1, 2), rows(k)).view(n, h, w, w)
        weights = torch.cat([of_column, of_row], 3).softmax(3)
        to_column = weights[..., :h].permute(0, 2, 1, 3).contiguous().view(n * w, h, h)
        to_row = weights[..., h:].contiguous().view(n * h, w, w)
        by_column = torch.bmm(columns(v), to_column.transpose(1, 2))
        by_row = torch.bmm(rows(v), to_row.transpose(1, 2))
        by_column = by_column.view(n, w, -1, h).permute(0, 2, 3, 1)
        by_row = by_row.view(n, h, -1, w).permute(0, 2, 1, 3)
        return self.gamma * (by_column + by_row) + x

    def forward(self, x):
        return self.once(self.once(x))


MODULES = {
    "pyramid-pooling": PyramidPooling,
    "atrous-pyramid": AtrousPyramid,
    "non-local": lambda p: NonLocal(p, False),
    "non-local-fused": lambda p: NonLocal(p, True),
    "criss-cross": CrissCross,
}


def prepare(case, backward, memory_format):
    """Inference, or forward and the gradients of the map and of all parameters."""
    n, p, h, w = [case[name] for name in "n p h w".split()]
    module = MODULES[case["module"]](p).to(memory_format=memory_format).train(backward)
    x = (torch.rand(n, p, h, w) * 2 - 1).contiguous(memory_format=memory_format)
    x.requires_grad_(backward)
    ones = torch.ones(n, p, h, w).contiguous(memory_format=memory_format)

    def step():
        with torch.set_grad_enabled(backward):
            o = module(x)
            if backward:
                x.grad = None
                module.zero_grad()
                o.backward(ones)

    return step
