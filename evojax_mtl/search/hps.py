"""Hard parameter sharing: one encoder, a decoder a task, and any balancing.

The baselines HPS, GradNorm, PCGrad, CAGrad, RotoGrad and MGDA of Tan 2024, Tables 1 and
2, are this with ``--balancing``. With ``conal`` it is CoNAL's rule for gradients, its
groups the five stages, and not its search, which is ``search.conal``.
"""

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.groups import Grouping, Path
from evojax_mtl.balancing.registry import find_balancing
from evojax_mtl.dense_configs import HPSConfig
from evojax_mtl.networks.mediative_network import MediativeNetwork
from evojax_mtl.search.dense import DenseSearch
from evojax_mtl.tasks.dense_dataset import DenseDataset


class HPS(DenseSearch):
    """The search protocol for hard parameter sharing."""

    method = "hps"

    def __init__(self, config: HPSConfig, data: DenseDataset) -> None:
        """Reads the shapes; raises ``UserError`` where the balancing does not fit."""
        super().__init__(config, data)
        self.balancer = balancer_of(config, self.names)
        self.network = MediativeNetwork(
            self.backbone, self.outputs, self.image_shape, "none"
        )
        self.initial = self.network.idle()


def balancer_of(config: HPSConfig, names: tuple[str, ...]) -> Balancer:
    """The balancing that a config asks for."""
    traits = find_balancing(config.balancing)
    fields = {} if config.normalizer == "none" else {"normalizer": config.normalizer}
    grouping: Grouping | None = stage_of if traits.grouping == "layer" else None
    return Balancer(traits.build(**fields), names, grouping=grouping)


def stage_of(path: Path) -> str:
    """The stage of a leaf of the encoder's weights."""
    return path[1]
