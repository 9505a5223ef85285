"""Boundary IoU by OpenCV's erosion, as its authors compute boundaries, for our tests to agree with.

    python3 -m venv boundary && boundary/bin/pip install opencv-python-headless numpy
    boundary/bin/python benches/peers/boundary_iou.py > crates/seg-metrics/tests/boundary_iou.txt

The boundary of a mask is that of `mask_to_boundary` in boundary_iou/utils/boundary_utils.py of
github.com/bowenc0221/boundary-iou-api: a frame of one pixel of background, erosions by a square of
3x3, and what they took away. Pixels ignored by the labels are taken from the prediction's boundary,
as boundary_iou/coco_panoptic_api/evaluation.py takes void from the union.

The images come from a generator that `crates/seg-metrics/tests/boundary_iou.rs` repeats number by
number: x <- x * 6364136223846793005 + 1442695040888963407 modulo 2^64 from the seed, and a draw
below n is (x >> 33) mod n. A line is a set's name, a class, its pixels near the edges of labels, of
predictions and of both, and boundary IoU.

With the paths of two label files, `boundary_iou.py CLASSES SHARE LABELS PREDICTIONS` prints the same
of real ones.
"""

import sys

import cv2
import numpy as np

IGNORE = 255

# Name, seed, share of the diagonal, classes, sizes (width, height) of the images, side of a tile.
SETS = [
    ("tiles", 1, 0.02, 4, [(97, 61), (64, 96)], 16),
    ("thin", 2, 0.005, 3, [(150, 7), (3, 90), (1, 40), (50, 1), (1, 1), (2, 2)], 5),
    ("wide", 3, 0.1, 5, [(80, 60), (61, 47)], 30),
    ("noise", 4, 0.02, 6, [(33, 29)], 1),
    # 0.05 of diagonals of 50 and 90: 2.5 and 4.5, rounded to even numbers.
    ("halves", 5, 0.05, 2, [(40, 30), (54, 72)], 12),
    ("one", 8, 0.02, 3, [(200, 150)], 200),
]


class Draws:
    def __init__(self, seed):
        self.x = seed

    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 33) % n


def image(draws, width, height, classes, tile):
    """Labels in tiles, one in eight ignored; predictions cut off and moved, one in twenty wrong."""
    across = -(-width // tile)
    value = [draws.below(8 * classes) for _ in range(across * -(-height // tile))]
    value = [IGNORE if v >= 7 * classes else v % classes for v in value]
    shift = draws.below(tile) // 2
    label = np.zeros((height, width), np.uint8)
    predicted = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            label[y, x] = value[y // tile * across + x // tile]
            of = value[y // tile * across + max(x - shift, 0) // tile]
            predicted[y, x] = 0 if of == IGNORE else of
    for _ in range(width * height // 200):
        y, x = draws.below(height), draws.below(width)
        # One more than the classes: a prediction that is none of them.
        predicted[y, x] = draws.below(classes + 1)
    return label, predicted


def boundary(mask, share):
    height, width = mask.shape
    distance = max(1, int(round(share * np.sqrt(height**2 + width**2))))
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)
    return (mask - eroded[1:-1, 1:-1]) > 0


def counts(label, predicted, classes, share):
    rows = np.zeros((classes, 3), np.int64)
    for of in range(classes):
        of_label = boundary((label == of).astype(np.uint8), share)
        of_prediction = boundary((predicted == of).astype(np.uint8), share)
        of_prediction &= label != IGNORE
        rows[of] = of_label.sum(), of_prediction.sum(), (of_label & of_prediction).sum()
    return rows


def show(name, rows):
    for of, (labelled, predicted, hits) in enumerate(rows):
        union = labelled + predicted - hits
        iou = repr(float(hits / union)) if union else "nan"
        print(f"{name} | {of} | {labelled} | {predicted} | {hits} | {iou}")


def main():
    if len(sys.argv) > 1:
        classes, share, *paths = sys.argv[1:]
        label, predicted = (cv2.imread(path, cv2.IMREAD_UNCHANGED) for path in paths)
        show("files", counts(label, predicted, int(classes), float(share)))
        return
    for name, seed, share, classes, sizes, tile in SETS:
        draws = Draws(seed)
        images = [image(draws, width, height, classes, tile) for width, height in sizes]
        show(name, sum(counts(*pair, classes, share) for pair in images))


if __name__ == "__main__":
    main()
