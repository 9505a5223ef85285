"""The scans of `dense-rnn` in PyTorch, written with care, and once as one would first write it.

Four directions in one batched product, a skewed grid (one anti-diagonal a step), running sums where
sums suffice, no growing concatenation. Attention over pairs writes into memory allocated once and
has its backward pass written by hand: weights are kept, the tanh of pairs is recomputed. Requires:
torch.
"""

import torch
import torch.nn.functional as F


def skew(x, h, w):
    """[b, h, w, e] to [steps, b, h, e]: row i of step s is unit (i, s - i), zero outside."""
    b, e = x.shape[0], x.shape[-1]
    padded = F.pad(x, (0, 0, 0, h))  # [b, h, w + h, e]
    rows = padded.reshape(b, h * (w + h), e)[:, : h * (w + h - 1)]
    return rows.reshape(b, h, w + h - 1, e).permute(2, 0, 1, 3).contiguous()


def unskew(steps, h, w):
    """The inverse of `skew`."""
    x = steps.permute(1, 2, 0, 3)  # [b, h, steps, e]
    b, e = x.shape[0], x.shape[-1]
    rows = F.pad(x.reshape(b, h * (w + h - 1), e), (0, 0, 0, h))
    return rows.reshape(b, h, w + h, e)[:, :, :w]


def directions(x, inverse=False):
    """[4, n, h, w, e] with each direction flipped to start at the top left, or back."""
    flips = [(), (2,), (1,), (1, 2)]
    return torch.stack([x[k].flip(flips[k]) if flips[k] else x[k] for k in range(4)])


def down(x):
    """Row i gets what row i - 1 has."""
    return F.pad(x, (0, 0, 1, 0))[:, :-1]


def running(rows, weights, graph, aggregation, h, w):
    """rows [steps, 4·n, h, e], weights [4, d + a, d]; returns the hidden states alike."""
    steps, b, _, _ = rows.shape
    d = weights.shape[-1]
    i = torch.arange(h)[None, :]
    j = torch.arange(steps)[:, None] - i
    valid = ((j >= 0) & (j < w))[..., None].float()
    if graph == "dense":
        count = (i + 1) * (j + 1) - 1
    else:
        count = (i > 0).int() + (j > 0).int()
        count = count + ((i > 0) & (j > 0)).int() if graph == "dag8" else count
    scale = valid / count[..., None].clamp(min=1).float()
    scale = scale if aggregation == "mean" else torch.ones_like(scale)
    turned = weights.transpose(1, 2)
    zero = rows.new_zeros(b, h, weights.shape[1])
    # Taken apart once: the backward pass of an index is as large as all of the rows.
    rows = rows.unbind(0)
    out = []
    if graph != "dense":
        one, two = zero, zero
        for s in range(steps):
            found = down(one) + one
            found = found + down(two) if graph == "dag8" else found
            hidden = torch.relu(torch.addcmul(rows[s], found, scale[s])) * valid[s]
            two, one = one, torch.bmm(hidden.reshape(4, -1, d), turned).reshape(b, h, d)
            out.append(hidden)
    elif aggregation == "linear-additive":
        row, quadrant = zero, zero  # The last channel sums the weights.
        for s in range(steps):
            found = down(quadrant) + row
            mean = found[..., :d] / found[..., d:].clamp(min=1e-30)
            hidden = torch.relu(rows[s] + mean) * valid[s]
            value = torch.bmm(hidden.reshape(4, -1, d), turned).reshape(b, h, d + 1)
            weight = value[..., d:].exp() * valid[s]
            row = row + torch.cat([value[..., :d] * weight, weight], -1)
            quadrant = down(quadrant) + row
            out.append(hidden)
    else:
        row, quadrant = zero, zero
        for s in range(steps):
            above = down(quadrant)
            hidden = torch.relu(torch.addcmul(rows[s], above + row, scale[s])) * valid[s]
            row = row + torch.bmm(hidden.reshape(4, -1, d), turned).reshape(b, h, d)
            quadrant = above + row
            out.append(hidden)
    return torch.stack(out)


class Pairs(torch.autograd.Function):
    """Attention over the dense graph: rows [b, units, d + a] by anti-diagonals, b = 4·n."""

    @staticmethod
    def forward(ctx, rows, weights, vector, order, masks, score):
        b, units, e = rows.shape
        d = weights.shape[-1]
        a = e - d
        hidden = rows.new_empty(b, units, d)
        memory = rows.new_empty(b, units, e)
        turned = weights.transpose(1, 2)
        kept, known = [], 0
        for m, mask in zip(order, masks):
            here = slice(known, known + m)
            own, query = rows[:, here, :d], rows[:, here, d:]
            p = None
            if known:
                z = scores(query, memory[:, :known, d:], vector, score)
                p = z.masked_fill_(mask, float("-inf")).softmax(-1)
                own = torch.baddbmm(own, p, memory[:, :known, :d])
            hidden[:, here] = own.relu()
            value = torch.bmm(hidden[:, here].reshape(4, -1, d), turned)
            memory[:, here] = value.reshape(b, m, e)
            kept.append(p)
            known += m
        ctx.save_for_backward(rows, weights, vector, hidden, memory)
        ctx.rest = (order, kept, score)
        return hidden

    @staticmethod
    def backward(ctx, grad):
        rows, weights, vector, hidden, memory = ctx.saved_tensors
        order, kept, score = ctx.rest
        b, units, e = rows.shape
        d = weights.shape[-1]
        a = e - d
        d_rows = torch.zeros_like(rows)
        d_memory = torch.zeros_like(memory)
        d_vector = torch.zeros_like(vector)
        known = units
        for m, p in zip(reversed(order), reversed(kept)):
            here = slice(known - m, known)
            known -= m
            back = torch.bmm(d_memory[:, here].reshape(4, -1, e), weights).reshape(b, m, d)
            g = (grad[:, here] + back) * (hidden[:, here] > 0)
            d_rows[:, here, :d] = g
            if not known:
                continue
            query, keys = rows[:, here, d:], memory[:, :known, d:]
            d_memory[:, :known, :d].baddbmm_(p.transpose(1, 2), g)
            dz = torch.bmm(g, memory[:, :known, :d].transpose(1, 2))
            dz = p * (dz - (dz * p).sum(-1, keepdim=True))
            if score == "scaled-dot":
                dz = dz * a**-0.5
                d_rows[:, here, d:] = torch.bmm(dz, keys)
                d_memory[:, :known, d:].baddbmm_(dz.transpose(1, 2), query)
            else:
                t = torch.tanh(query[:, :, None] + keys[:, None])  # [b, m, known, a]
                d_vector += torch.einsum("bmk,bmka->ba", dz, t).reshape(4, -1, a).sum(1)
                t.square_().neg_().add_(1).mul_(dz[..., None])
                v = vector.repeat_interleave(b // 4, 0)[:, None]
                d_rows[:, here, d:] = t.sum(2) * v
                d_memory[:, :known, d:] += t.sum(1) * v
        d_weights = torch.bmm(d_memory.reshape(4, -1, e).transpose(1, 2), hidden.reshape(4, -1, d))
        return d_rows, d_weights, d_vector, None, None, None


def plain(rows, weights, vector, graph, aggregation):
    """The scan as one would first write it: rows [n, h, w, e] of one direction, autograd throughout.

    One step an anti-diagonal, all hidden states so far concatenated anew, a mask over them.
    """
    n, h, w, e = rows.shape
    d = weights.shape[-1]
    hidden, places = rows.new_zeros(n, 0, d), []
    for s in range(h + w - 1):
        here = [(i, s - i) for i in range(h) if 0 <= s - i < w]
        i, j = (torch.tensor(x) for x in zip(*here))
        own = rows[:, i, j]
        pre = own[..., :d]
        if places:
            p, q = (torch.tensor(x)[None] for x in zip(*places))
            memory = hidden @ weights.T
            z = scores(own[..., d:], memory[..., d:], vector, aggregation)
            z = z.masked_fill((p > i[:, None]) | (q > j[:, None]), float("-inf"))
            pre = pre + z.softmax(-1) @ memory[..., :d]
        hidden = torch.cat([hidden, pre.relu()], 1)
        places += here
    order = torch.argsort(torch.tensor([i * w + j for i, j in places]))
    return hidden[:, order].reshape(n, h, w, d)


def scores(query, keys, vector, score):
    if score == "scaled-dot":
        return torch.bmm(query, keys.transpose(1, 2)) * query.shape[-1] ** -0.5
    v = vector.repeat_interleave(query.shape[0] // len(vector), 0)[:, None, :, None]
    t = torch.tanh(query[:, :, None] + keys[:, None])
    return torch.matmul(t, v).squeeze(-1)


def prepare(case):
    """Inputs that want gradients, and the function of them that is timed."""
    n, c, d, a, h, w = [case[name] for name in "n c d a h w".split()]
    graph, aggregation = case["graph"], case["aggregation"]
    pairs = aggregation in ("tanh-additive", "scaled-dot")
    keys = a if pairs else int(aggregation == "linear-additive")
    e = d + (a if pairs else 0)
    grid = lambda scale, *shape: (torch.rand(shape) * 2 - 1) * scale
    inputs = [grid(1, n, c, h, w), grid(c**-0.5, 4 * e, c, 1, 1), grid(1, 4 * e)]
    # A sum of thousands of states stays finite only under a weight of about their reciprocal.
    radius = 1e-3 if aggregation == "sum" else 1
    inputs += [grid(radius * d**-0.5, 4, d + keys, d), grid(1, 4, max(keys, 1))]
    place = [[(i, s - i) for i in range(h) if 0 <= s - i < w] for s in range(h + w - 1)]
    order, flat = [len(step) for step in place], [i * w + j for step in place for i, j in step]
    back = torch.argsort(torch.tensor(flat))
    flat = torch.tensor(flat)
    masks = []
    if pairs:
        i, j = flat // w, flat % w
        known = 0
        for m in order:
            after = lambda x: x[:known][None] > x[known : known + m][:, None]
            masks.append(after(i) | after(j))
            known += m

    def run(x, u, bias, weights, vector):
        rows = F.conv2d(x, u, bias).reshape(n, 4, e, h, w).permute(1, 0, 3, 4, 2)
        rows = directions(rows)  # [4, n, h, w, e]
        if case["peer"] == "plain":
            each = [plain(rows[k], weights[k], vector[k : k + 1], graph, aggregation) for k in range(4)]
            hidden = torch.stack(each)
        elif pairs:
            rows = rows.reshape(4 * n, h * w, e)[:, flat]
            hidden = Pairs.apply(rows, weights, vector, order, masks, aggregation)[:, back]
            hidden = hidden.reshape(4, n, h, w, d)
        else:
            steps = skew(rows.reshape(4 * n, h, w, e), h, w)
            hidden = unskew(running(steps, weights, graph, aggregation, h, w), h, w)
            hidden = hidden.reshape(4, n, h, w, d)
        return directions(hidden).permute(1, 2, 3, 0, 4).contiguous()  # [n, h, w, 4, d]

    return inputs, run
