"""Scores of Cityscapes' own evaluation on small made-up images, for our tests to agree with.

    python3 -m venv cityscapes && cityscapes/bin/pip install cityscapesscripts==2.3.0 'numpy<2.4'
    cityscapes/bin/python benches/peers/cityscapes_official.py \
        > crates/seg-metrics/tests/cityscapes_official.txt

The images come from a generator that `crates/seg-metrics/tests/cityscapes.rs` repeats number by
number: x <- x * 6364136223846793005 + 1442695040888963407 modulo 2^64 from the seed, and a draw
below n is (x >> 33) mod n. A line is a set's name, `class`, `category` or `mean`, a name, IoU and
iIoU.
"""

import os
import sys
import tempfile

import numpy as np
from PIL import Image

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from cityscapesscripts.helpers.labels import id2label

WIDTH, HEIGHT, TILE = 40, 28, 4
WITH_INSTANCES = [24, 25, 26, 27, 28, 29, 30, 31, 32, 33]

# Name, seed, images, labels, predictions, labels that are always groups.
SETS = [
    # Every id labelled and predicted, the ignored ones and caravan and trailer among them.
    ("all", 1, 4, list(range(34)), list(range(34)), []),
    # No sky and no train anywhere; rider and truck only predicted; motorcycles only in groups;
    # ignored ids on both sides.
    (
        "absent",
        2,
        3,
        [0, 3, 7, 8, 9, 11, 17, 21, 24, 26, 28, 29, 30, 32],
        [0, 4, 7, 11, 12, 14, 18, 21, 24, 25, 26, 27, 29, 30, 32],
        [32],
    ),
    # Neither humans nor vehicles but as groups, caravans and trailers; both predicted.
    ("groups", 3, 2, [7, 11, 23, 24, 26, 29, 30, 33], [7, 10, 23, 24, 29, 30, 33], [24, 26, 33]),
    # Nothing that counts is labelled.
    ("ignored", 4, 1, [0, 4, 6, 9, 14, 29, 30], [0, 7, 26, 29, 33], []),
]


class Draws:
    def __init__(self, seed):
        self.x = seed

    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 33) % n


def image(draws, labels, predictions, groups):
    """LabelIds, instanceIds and predicted labelIds: tiles of a label, six pixels in ten right."""
    shape = (HEIGHT, WIDTH)
    label, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    for y in range(0, HEIGHT, TILE):
        for x in range(0, WIDTH, TILE):
            of = labels[draws.below(len(labels))]
            # Tiles of one number are one instance, so that sizes differ; 0 is a group.
            number = draws.below(4)
            group = of not in WITH_INSTANCES or of in groups or number == 0
            tile = slice(y, y + TILE), slice(x, x + TILE)
            label[tile] = of
            instance[tile] = of if group else of * 1000 + number - 1
    predicted = label.copy()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if draws.below(10) >= 6:
                predicted[y, x] = predictions[draws.below(len(predictions))]
    return label, instance, predicted


def scores(folder, name, seed, images, *lists):
    draws = Draws(seed)
    truths, predictions = [], []
    for nth in range(images):
        label, instance, predicted = image(draws, *lists)
        path = lambda kind: os.path.join(folder, f"{name}_{nth}_{kind}.png")
        Image.fromarray(label).save(path("labelIds"))
        Image.fromarray(instance).save(path("instanceIds"))
        Image.fromarray(predicted).save(path("predicted"))
        truths.append(path("labelIds"))
        predictions.append(path("predicted"))
    official.args.quiet, official.args.JSONOutput = True, False
    return official.evaluateImgLists(predictions, truths, official.args)


def main():
    for name, *rest in SETS:
        with tempfile.TemporaryDirectory() as folder:
            of = scores(folder, name, *rest)
        line = lambda *words: print(" | ".join([name, *words]))
        for label in of["classScores"]:
            if not next(l for l in id2label.values() if l.name == label).ignoreInEval:
                iou, iiou = of["classScores"][label], of["classInstScores"][label]
                line("class", label, repr(float(iou)), repr(float(iiou)))
        for category in of["categoryScores"]:
            if category != "void":
                iou, iiou = of["categoryScores"][category], of["categoryInstScores"][category]
                line("category", category, repr(float(iou)), repr(float(iiou)))
        for mean, key in [("classes", "Classes"), ("categories", "Categories")]:
            iou, iiou = of["averageScore" + key], of["averageScoreInst" + key]
            line("mean", mean, repr(float(iou)), repr(float(iiou)))


if __name__ == "__main__":
    sys.exit(main())
