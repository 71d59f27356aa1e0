"""What a trained network leaves behind: its weights, and its entry in the summary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.evaluation.retrain_data import UnseenParts
from evojax_mtl.evaluation.retrain_records import Training
from evojax_mtl.runs.retrain.plan import Plan
from evojax_mtl.runs.retrain.weights import weights_name, write_weights


def result(
    plan: Plan, state: Training, best: Sequence[Any], unseen: UnseenParts, folder: Path
) -> dict[str, Any]:
    """Tests a trained network and writes its weights.

    Args:
      plan: what was trained.
      state: after the last epoch.
      best: epoch and accuracy of the best test of all.
      unseen: the test examples.
      folder: of the retraining.

    Returns:
      Its entry in ``summary.json``.
    """
    last = plan.tested(state, unseen, plan.part.config.epochs)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    weights = weights_name(plan.task.name)
    write_weights(folder / weights, jax.device_get(variables))
    size = complexity(plan.network, plan.input_shape)
    return {
        "name": plan.task.name,
        "metric": plan.task.metric,
        "test": last.accuracy,
        "test_top5": last.top_five,
        "best_test": best[1],
        "best_epoch": best[0],
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
        "classes": plan.task.classes,
        "input_shape": list(plan.input_shape),
        "training_examples": len(plan.pool),
        "test_examples": int(plan.task.test.mask.sum()),
        "image_mean": plan.mean.tolist(),
        "image_std": plan.std.tolist(),
        "genotype": plan.job.genotype,
        "code": list(plan.job.code),
        "weights": weights,
        "confusion": last.confusion.tolist(),
    }
