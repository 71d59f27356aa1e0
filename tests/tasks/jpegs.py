"""A small folder in ImageNet's layout: JPEG files of differing sizes."""

import numpy as np
from PIL import Image


def write_imagenet(root, classes=3, train=10, val=4):
    """Pictures whose colour tells their class; some grey or CMYK, as in ImageNet."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"n{label:08}"
            folder.mkdir(parents=True)
            for index in range(count):
                height, width = rng.integers(30, 90, 2)
                pixels = rng.integers(0, 80, (height, width, 3))
                pixels[..., label % 3] += 150
                picture = Image.fromarray(pixels.astype(np.uint8))
                picture = picture.convert({1: "L", 2: "CMYK"}.get(index, "RGB"))
                picture.save(folder / f"{split}_{index}.JPEG", quality=90)
    return root
