"""Search by a graph-convolutional accuracy predictor on tables (Wen 2020).

Wen et al. 2020, Neural Predictor for Neural Architecture Search, arXiv:1912.00848: the
rows 'GCN' of KTNAS's tables. ``predicted`` has the steps: the best ``batch`` by the
predictor are evaluated. The paper trains it once, on as many random architectures as it
can pay for, and evaluates its best; here, with ``initial`` of them, it goes on.
"""

from evojax_mtl.evaluation.gcn_predictor import GCNPredictor
from evojax_mtl.evaluation.table_embeddings import graphs_of
from evojax_mtl.search.predicted import PredictedSearch


class GCNPredictorSearch(PredictedSearch):
    """The search protocol for the neural predictor."""

    method = "gcn-predictor"

    def __init__(self, config, data, mesh=None):
        """Raises ``UserError`` where architectures are no graphs of operations."""
        super().__init__(config, data, mesh)
        self.graphs = graphs_of(
            data.space, "method: found gcn-predictor, must be another, such as weaknas,"
        )
        self.predictor = GCNPredictor(config.width, config.layers)
        self.top = config.batch

    def inputs(self, data):
        """Operation graphs."""
        return self.graphs(data.genes)
