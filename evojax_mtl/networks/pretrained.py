"""Weights of a backbone that others trained, from a file that the user names.

A file is torchvision's ``state_dict`` as ``torch.save`` writes it (``.pth``; read by
PyTorch, without running code from it), or the same arrays under the same names as
``.npz``, which needs no PyTorch::

    np.savez("resnet50.npz", **{k: v.numpy() for k, v in state_dict.items()})

Kernels are (outputs, inputs, height, width) there and are turned round.
"""

import importlib
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.networks.backbone import STAGES, Backbone
from evojax_mtl.networks.dense_network import Part, Weights


def with_pretrained(
    backbone: Backbone, stages: Sequence[Part], weights: Weights, path: Path
) -> Weights:
    """``weights`` with a file's in the shared stages, or in each task's own.

    Raises:
      UserError: the backbone has none, or the file cannot be read, lacks an array, or
        has one of another shape.
    """
    if backbone.published is None:
        raise UserError(
            f"--pretrained: found {path} with --backbone {backbone.name}, which has no "
            "published weights"
        )
    arrays = _read(path)
    names = backbone.published()
    absent = [there for there in names.values() if there not in arrays]
    if absent:
        raise UserError(
            f"--pretrained: {path}: {len(absent)} of {len(names)} arrays are missing, "
            f"the first is {absent[0]}; allowed: torchvision's {backbone.name}"
        )

    def filled(old: dict[str, Any], kind: str) -> dict[str, Any]:
        vectors = {}
        for name, part in zip(STAGES, stages, strict=True):
            layout = getattr(part, kind)
            tree = layout.unravel(jnp.zeros(layout.size))
            pairs, structure = jax.tree_util.tree_flatten_with_path(tree)
            leaves = []
            for keys, leaf in pairs:
                there = names["/".join([name, *(key.key for key in keys)])]
                leaves.append(_fitted(arrays[there], leaf.shape, f"{path}: {there}"))
            vector = layout.ravel(jax.tree.unflatten(structure, leaves))
            vectors[name] = jnp.broadcast_to(vector, old[name].shape)
        return vectors

    new = []
    trees = (weights.encoder, weights.statistics["encoder"])
    for tree, kind in zip(trees, ("weights", "statistics"), strict=True):
        if "stages" in tree:
            new.append(tree | {"stages": filled(tree["stages"], kind)})
        else:
            new.append(filled(tree, kind))
    encoder, statistics = new
    return weights.replace(
        encoder=encoder, statistics=weights.statistics | {"encoder": statistics}
    )


def _fitted(array: np.ndarray, shape: tuple[int, ...], told: str) -> np.ndarray:
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    if array.shape != shape:
        raise UserError(
            f"--pretrained: {told}: found shape {array.shape}, must be {shape} after "
            "kernels are turned to (height, width, inputs, outputs)"
        )
    return np.asarray(array, np.float32)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        return _read_torch(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--pretrained: {path}: {reason}") from None


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise UserError(
            f"--pretrained: {path}: reading it needs PyTorch (pip install torch); "
            "allowed also: the same arrays as .npz"
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        raise UserError(
            f"--pretrained: {path}: found no state_dict; allowed: one that torch.save "
            "wrote, or the same arrays as .npz"
        ) from None
    return {name: value.numpy() for name, value in found.items()}
