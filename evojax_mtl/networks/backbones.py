"""The backbones by name."""

from evojax_mtl.networks.backbone import Backbone
from evojax_mtl.networks.resnet import resnet50
from evojax_mtl.networks.segnet import segnet
from evojax_mtl.networks.small_backbone import small

BACKBONES = {
    "small": small,
    "resnet50": lambda width, depth: resnet50(),
    "segnet": lambda width, depth: segnet(),
}


def find_backbone(name: str, width: int, depth: int) -> Backbone:
    """The backbone of this name; ``width`` and ``depth`` are the small one's."""
    return BACKBONES[name](width, depth)
