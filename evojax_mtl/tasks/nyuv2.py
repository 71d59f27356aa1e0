"""``nyuv2``: indoor scenes, 795 to train and 654 to test, 288 x 384, in MTAN's layout.

Segmentation into 13 classes, depth (m) and surface normals. Silberman et al. 2012.
"""

from evojax_mtl.tasks.furniture import CLASSES
from evojax_mtl.tasks.mtan import Layout

NYUV2 = Layout(
    name="nyuv2",
    classes=CLASSES,
    tasks=("segmentation", "depth", "normals"),
    where=(
        "get MTAN's pre-processed NYUv2 from https://github.com/lorenmt/mtan and put "
        "its train and val there"
    ),
)
