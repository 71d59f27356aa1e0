"""Writes ``dense.json``: losses by PyTorch, metrics by scikit-learn, gain by LibMTL.

    pip install torch==2.13.0 scikit-learn && pip install --no-deps LibMTL==1.1.5
    python -m tests.evaluation.golden.make_dense

The losses are those of LibMTL's examples/nyu/utils.py in PyTorch's own operations, with
their gradients. The inputs come from ``problem``, which NumPy alone draws.
"""

import importlib.util
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("dense.json")
CLASSES = 5


def problem():
    """Predictions and labels of seven scenes, with ignored pixels in each."""
    draw = np.random.default_rng(11)
    shape = (7, 6, 8)
    truth = draw.normal(size=(*shape, 3))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    depth = draw.uniform(0.5, 8, (*shape, 1))
    labels = {
        "segmentation": draw.integers(0, CLASSES, shape).astype(np.int32),
        "depth": depth.astype(np.float32),
        "normals": truth.astype(np.float32),
    }
    for array, ignored in zip(labels.values(), (-1, 0, 0), strict=True):
        array[draw.random(shape) < 0.2] = ignored
    near = 2 * truth + draw.normal(size=(*shape, 3)) * draw.uniform(0, 1.5, depth.shape)
    hot = 1.5 * np.eye(CLASSES)[labels["segmentation"]]
    predicted = {
        "segmentation": hot + draw.normal(size=(*shape, CLASSES)),
        "depth": depth + draw.normal(size=depth.shape),
        "normals": near,
    }
    return {k: v.astype(np.float32) for k, v in predicted.items()}, labels


def losses(predicted, labels):
    """Values, and gradients of the first scene."""
    import torch

    given = {k: torch.tensor(v.astype(float)) for k, v in predicted.items()}
    for values in given.values():
        values.requires_grad_()
    truth = {k: torch.tensor(v) for k, v in labels.items()}
    logits = given["segmentation"].permute(0, 3, 1, 2)
    there = truth["segmentation"].long()
    found = {
        "segmentation": torch.nn.functional.cross_entropy(
            logits, there, ignore_index=-1
        )
    }
    valid = truth["depth"].sum(-1) != 0
    far = (given["depth"] - truth["depth"]).abs()[..., 0]
    found["depth"] = far[valid].sum() / valid.sum()
    valid = truth["normals"].sum(-1) != 0
    unit = given["normals"] / given["normals"].norm(dim=-1, keepdim=True)
    found["normals"] = 1 - (unit * truth["normals"]).sum(-1)[valid].sum() / valid.sum()
    out = {}
    for name, value in found.items():
        value.backward()
        slope = given[name].grad[0].numpy()
        out[name] = {"value": value.item(), "gradient": slope.tolist()}
    return out


def metrics(predicted, labels):
    """Over all pixels at once."""
    from sklearn import metrics as peer

    truth = labels["segmentation"]
    chosen = predicted["segmentation"].argmax(-1)[truth >= 0]
    truth = truth[truth >= 0]
    valid = labels["depth"][..., 0] != 0
    far, near = labels["depth"][valid], predicted["depth"][valid]
    valid = labels["normals"].sum(-1) != 0
    unit = predicted["normals"].astype(float)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    cosine = (unit * labels["normals"]).sum(-1)[valid]
    angles = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return {
        "mean_iou": peer.jaccard_score(truth, chosen, average="macro"),
        "pixel_accuracy": peer.accuracy_score(truth, chosen),
        "absolute_error": peer.mean_absolute_error(far, near),
        "relative_error": peer.mean_absolute_percentage_error(far, near),
        "mean_angle": angles.mean(),
        "median_angle": np.median(angles),
        "within_11.25": (angles < 11.25).mean(),
        "within_22.5": (angles < 22.5).mean(),
        "within_30": (angles < 30).mean(),
    }


def gain():
    """LibMTL's figure for MAMO's and CoNAL's rows of Table 2 against STL."""
    spec = importlib.util.find_spec("LibMTL")
    package = types.ModuleType("LibMTL")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["LibMTL"] = package
    from LibMTL.utils import count_improvement

    rows = {
        "STL": [54.07, 75.51, 0.4074, 0.1681, 22.11, 15.59, 38.36, 64.42, 74.80],
        "MAMO": [54.72, 76.07, 0.3801, 0.1533, 21.83, 15.14, 39.44, 65.39, 75.62],
        "HPS": [54.24, 75.56, 0.3886, 0.1567, 23.34, 17.98, 35.39, 61.44, 72.46],
    }

    def nested(row):
        return {"seg": row[:2], "depth": row[2:4], "normal": row[4:]}

    weight = nested([1, 1, 0, 0, 0, 0, 1, 1, 1])
    base = nested(rows["STL"])
    found = {
        name: float(count_improvement(base, nested(row), weight))
        for name, row in rows.items()
        if name != "STL"
    }
    return {"rows": rows, "per_task": found}


def main():
    predicted, labels = problem()
    packages = ("torch", "scikit-learn", "LibMTL", "numpy")
    golden = {
        "made_by": "python -m tests.evaluation.golden.make_dense",
        "versions": {name: version(name) for name in packages},
        "losses": losses(predicted, labels),
        "metrics": {k: float(v) for k, v in metrics(predicted, labels).items()},
        "gain": gain(),
    }
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
