"""``cityscapes``: streets, 2,975 to train and 500 to test, 128 x 256, in MTAN's layout.

Segmentation into the seven categories of Cityscapes, and inverse depth. Cordts et al.
2016, arXiv:1604.01685.
"""

from evojax_mtl.tasks.mtan import Layout

CITYSCAPES = Layout(
    name="cityscapes",
    classes=("flat", "construction", "object", "nature", "sky", "human", "vehicle"),
    tasks=("segmentation", "depth"),
    where=(
        "get MTAN's pre-processed Cityscapes from https://github.com/lorenmt/mtan and "
        "put its train and val there"
    ),
)
