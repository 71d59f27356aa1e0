"""Single-task learning on scenes: a network a task, nothing shared (Tan 2024, 4.2).

The tasks train side by side in one program, each on the same mini-batches.
"""

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.equal import EqualWeighting
from evojax_mtl.dense_configs import DenseConfig
from evojax_mtl.networks.task_network import TaskNetwork
from evojax_mtl.search.dense import DenseSearch
from evojax_mtl.tasks.dense_dataset import DenseDataset


class STL(DenseSearch):
    """The search protocol for single-task learning."""

    method = "stl"

    def __init__(self, config: DenseConfig, data: DenseDataset) -> None:
        """Reads the shapes."""
        super().__init__(config, data)
        self.balancer = Balancer(EqualWeighting(), self.names)
        self.network = TaskNetwork(self.backbone, self.outputs, self.image_shape)
