"""Training samples from files in Python: decoded, scaled, cropped, mirrored, normalised.

As the usual training scripts do it: the whole image is resized, then cropped. Pillow releases the
interpreter's lock while it works, so threads help. Requires: pillow, numpy.
"""

import concurrent.futures
import os
import tempfile

import numpy as np
from PIL import Image

SCALES = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
CROP = 512
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# labelIds of the 19 classes, in order.
IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def prepare(case):
    """The function that is timed: six samples a thread, from the pair that our side wrote."""
    files, threads = case["files"], case["threads"]
    folder = os.path.join(tempfile.gettempdir(), "scene-rnn-bench-" + files)
    image = os.path.join(folder, "image.png" if files == "cityscapes" else "image.jpg")
    labels = os.path.join(folder, "labels.png")
    table = np.full(256, 255, np.uint8)
    if files == "cityscapes":
        table[IDS] = np.arange(19)
    else:
        table[1:151] = np.arange(150)
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    work = [(at, SCALES[at % len(SCALES)]) for at in range(len(SCALES) * threads)]

    def run():
        list(pool.map(lambda one: sample(image, labels, table, *one), work))

    return run


def sample(image, labels, table, seed, factor):
    rng = np.random.default_rng(seed)
    photograph = Image.open(image).convert("RGB")
    label = Image.open(labels)
    size = (round(photograph.width * factor), round(photograph.height * factor))
    if size != photograph.size:
        photograph = photograph.resize(size, Image.BILINEAR)
        label = label.resize(size, Image.NEAREST)
    left = rng.integers(0, max(size[0] - CROP, 0) + 1)
    top = rng.integers(0, max(size[1] - CROP, 0) + 1)
    box = (left, top, min(left + CROP, size[0]), min(top + CROP, size[1]))
    pixels = np.asarray(photograph.crop(box))[:, ::-1]
    classes = table[np.asarray(label.crop(box))[:, ::-1]]
    pixels = (pixels.astype(np.float32) / 255 - MEAN) / STD
    h, w = classes.shape
    planes = np.zeros((3, CROP, CROP), np.float32)
    planes[:, :h, :w] = pixels.transpose(2, 0, 1)
    padded = np.full((CROP, CROP), 255, np.uint8)
    padded[:h, :w] = classes
    return planes, padded
