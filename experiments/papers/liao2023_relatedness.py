"""Liao 2023, Fig. 2: how related tasks are, by representation similarity analysis.

    python -m experiments.papers.liao2023_relatedness --scale laptop

After Dwivedi and Roig 2019: one network a task, each sees the same images, some of
every task's test split. A network's representation is the matrix of dissimilarities, 1
less Pearson's correlation, between its features of every two images; how related two
tasks are is Spearman's correlation between their matrices' upper triangles.

The paper's features are those of ResNet-50, trained how it does not say; here they are
what a published genotype (``emt-c10``), trained from scratch on the task, hands to its
classifier. So the figures compare among each other, not with the paper's: there
CIFAR-10 and CIFAR-100 have 0.38, organs seen from three sides more among themselves
than with tissue.

Found at ``smoke`` on the questions of ``digits``, one seed: number of loops and digit
0.39, loops and odd 0.33, digit and odd 0.16, above four and any other 0.09 to 0.11.

Hardware: 2 CPU cores; ``smoke`` (digits) about three minutes.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from scipy import stats

from evojax_mtl.evaluation.retraining import Retraining
from evojax_mtl.runs.folder import RunFolder
from evojax_mtl.runs.launch import load
from evojax_mtl.runs.retrain.plan import make_plan
from evojax_mtl.runs.retrain.settings import RetrainSettings
from evojax_mtl.runs.retrain.weights import read_weights
from evojax_mtl.tasks.task import Task
from experiments.papers.cards import retrain, write

GENOTYPE = "emt-c10"


def dissimilarities(features: np.ndarray) -> np.ndarray:
    """1 less the correlation of every two rows of ``(n, D)``, as ``n (n - 1) / 2``."""
    correlation = np.corrcoef(np.asarray(features, np.float64))
    return 1 - correlation[np.triu_indices(len(features), 1)]


def relatedness(features: list[np.ndarray]) -> np.ndarray:
    """Relatedness of every two tasks from their networks' features of the same images.

    A network that gives all images the same features is related to none.
    """
    triangles = [dissimilarities(each) for each in features]
    found = np.eye(len(features))
    for i, first in enumerate(triangles):
        for j, second in enumerate(triangles[:i]):
            if np.ptp(first) and np.ptp(second):
                rank = stats.spearmanr(first, second).statistic
                found[i, j] = found[j, i] = rank
    return found


def shared_images(tasks: list[Task], count: int, seed: int) -> np.ndarray:
    """``count`` test images of each task, ``(T * count, H, W, c)``."""
    rng = np.random.default_rng(seed)
    parts = []
    for task in tasks:
        rows = rng.permutation(len(task.test.labels))[:count]
        parts.append(task.test.images[np.sort(rows)])
    return np.concatenate(parts)


def features(part: Retraining, variables: dict, images: np.ndarray) -> np.ndarray:
    """What a trained network hands to its classifier, ``(n, D)``."""

    @jax.jit
    def see(batch):
        inputs = part.normalise(batch.astype("float32") / 255)
        _, seen = part.network.apply(
            variables,
            inputs,
            capture_intermediates=lambda module, _: module.name == "Dropout_0",
        )
        (found,) = seen["intermediates"]["Dropout_0"]["__call__"]
        return jax.numpy.maximum(found, 0)

    size = 100
    padded = np.concatenate([images, np.zeros_like(images[: -len(images) % size])])
    batches = padded.reshape(-1, size, *images.shape[1:])
    return np.concatenate([see(batch) for batch in batches])[: len(images)]


def main() -> None:
    """Trains what is not there yet, and writes ``results/liao2023_relatedness...``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--tasks", help="digits at smoke, else OrganA, Blood, CIFAR-10")
    parser.add_argument("--epochs", type=int, help="of training; the scale's if left")
    parser.add_argument("--images", type=int, default=100, help="of each task")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/liao2023_relatedness"))
    chosen = parser.parse_args()
    usual = "digits" if chosen.scale == "smoke" else "medmnist:organa+blood,cifar10"
    options: dict[str, object] = {
        "tasks": chosen.tasks or usual,
        "scale": chosen.scale,
        "seed": chosen.seed,
    }
    if chosen.epochs:
        options["epochs"] = chosen.epochs
    folder = chosen.out / chosen.scale
    summary = retrain(folder, GENOTYPE, options)
    settings = RetrainSettings.from_json(RunFolder(folder).read_config())
    tasks = load(settings.tasks, settings.data_dir, settings.data)
    images = shared_images(tasks, chosen.images, chosen.seed)
    found = []
    for job, told in zip(settings.jobs, summary["tasks"], strict=True):
        task = next(task for task in tasks if task.name == job.task)
        variables = read_weights(folder / told["weights"])
        found.append(features(make_plan(settings, job, task).part, variables, images))
    names = [job.task for job in settings.jobs]
    matrix = relatedness(found)
    record = {
        **options,
        "genotype": GENOTYPE,
        "images": chosen.images,
        "test": {task["name"]: task["test"] for task in summary["tasks"]},
        "names": names,
        "relatedness": matrix.tolist(),
    }
    path = write(f"liao2023_relatedness_{chosen.scale}", record)
    for name, row in zip(names, matrix, strict=True):
        print(f"{name:20} " + " ".join(f"{value:6.2f}" for value in row))
    print(path)


if __name__ == "__main__":
    main()
