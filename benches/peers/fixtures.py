"""Writes the small `.pth` files of `crates/backbone/tests/fixtures`, in both forms of `torch.save`.

Element i of tensor number t is (i + 10·t) / 8, in the order of its storage, so that the tests can
say what should be there. Requires: torch 2.8.
"""

import collections
import os
import pathlib

import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "crates/backbone/tests/fixtures"


def values(t, *shape, dtype=torch.float32):
    count = torch.Size(shape).numel()
    return ((torch.arange(count) + 10 * t) / 8).to(dtype).reshape(shape)


def state():
    whole = values(7, 4, 6)
    entries = [
        ("conv.weight", values(0, 2, 3, 3, 3)),
        ("conv.bias", torch.nn.Parameter(values(1, 2))),
        ("bn.weight", values(2, 5, dtype=torch.float16)),
        ("bn.bias", values(3, 5, dtype=torch.bfloat16)),
        ("bn.running_var", values(4, 5, dtype=torch.float64)),
        ("bn.num_batches_tracked", torch.tensor(3)),
        ("transposed", values(5, 3, 4).T),
        ("every_second", values(6, 2, 6)[:, 1::2]),
        # Two parts of one storage.
        ("rows", whole[1:3]),
        ("columns", whole[:, 2:5]),
        ("scalar", values(8)),
    ]
    found = collections.OrderedDict(entries)
    # As Module.state_dict() leaves it: an attribute that has no effect.
    found._metadata = collections.OrderedDict([("", {"version": 1})])
    return found


class Command:
    """What a hostile file would hold. Nothing here or in the tests unpickles it."""

    def __reduce__(self):
        return os.system, ("echo not a tensor",)


def main():
    objects = {
        "state": state(),
        "integers": {"weight": torch.arange(4)},
        "checkpoint": {"state_dict": {"w": values(0, 2)}, "epoch": 3},
        "list": [values(0, 2)],
        "module": torch.nn.Linear(2, 2),
        "command": {"weight": Command()},
    }
    FOLDER.mkdir(exist_ok=True)
    for name, content in objects.items():
        for form, zipped in [("zip", True), ("stream", False)]:
            if zipped or name in ("state", "command"):
                file = FOLDER / f"{name}.{form}.pth"
                torch.save(content, file, _use_new_zipfile_serialization=zipped)
                print(file, file.stat().st_size)


main()
