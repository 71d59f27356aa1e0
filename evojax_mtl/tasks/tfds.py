"""``tfds:NAME+NAME``: image classification data sets of TensorFlow Datasets.

``NAME`` is a data set, perhaps with its configuration (``NAME/CONFIG``) and with the
feature that holds the label (``NAME@FEATURE``, as in ``cifar100@coarse_label``). Each
is one task. The data set was prepared once as array_record, by ``evojax-mtl data
prepare tfds:NAME``; reading needs the extra ``tfds`` and no TensorFlow.

``train`` and ``test`` are as published. ``validation`` is too where there is a
``test``; otherwise it is the test split. Without a validation split, every fifth
training example of each class serves for it. With ``train`` alone, it is split
50/20/30 % per class. These choices are fixed, but follow the order on disk, which
TFDS fixes when it prepares.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import extras
from evojax_mtl.tasks.build import as_labels, as_split, build_task, held_out, split_rows
from evojax_mtl.tasks.files import missing
from evojax_mtl.tasks.images import stack_images
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import SPLITS, Task

LIBRARIES = ("tensorflow_datasets", "array_record")
_SPLIT_SEED = 0


def import_extra(module: str, extra: str) -> Any:
    """Imports a module that one of the package's extras installs.

    Raises:
      UserError: it is not installed; says how to install it.
    """
    return extras.import_extra(module, extra, "tensorflow-datasets")


def find_dataset(name: str, folders: Sequence[Path]) -> Path | None:
    """The newest version of a prepared data set in the first folder that has it."""
    for folder in folders:
        versions = [
            info.parent
            for info in (folder / name).glob("*/dataset_info.json")
            if info.parent.name.replace(".", "").isdecimal()
        ]
        if versions:
            return max(
                versions, key=lambda path: [int(part) for part in path.name.split(".")]
            )
    return None


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: not a readable data set ({reason})")


@dataclass(frozen=True)
class Prepared:
    """A data set of TensorFlow Datasets on disk.

    Attributes:
      path: its folder.
      builder: the read-only builder.
    """

    path: Path
    builder: Any

    @property
    def splits(self) -> list[str]:
        """Names of the splits that have examples."""
        return [name for name, info in self.builder.info.splits.items() if info]

    def feature(self, name: str) -> Any:
        """One of the features.

        Raises:
          UserError: there is none of this name.
        """
        features = self.builder.info.features
        if name not in features:
            allowed = ", ".join(sorted(features))
            raise UserError(f"{self.path}: no feature {name!r}; allowed: {allowed}")
        return features[name]

    def class_names(self, feature: str) -> list[str]:
        """The names of a label's classes."""
        return list(self.feature(feature).names)

    def examples(self, split: str) -> Iterator[dict[str, Any]]:
        """All examples of a split, in the order on disk."""
        try:
            source = self.builder.as_data_source(split)
            for index in range(len(source)):
                yield source[index]
        except Exception as error:
            raise _unreadable(self.path, error) from None


def open_dataset(name: str, folders: Sequence[Path]) -> Prepared:
    """A prepared data set.

    Raises:
      UserError: it is not there, not array_record, or the extra is not installed.
    """
    path = find_dataset(name, folders)
    if path is None:
        raise missing(
            f"data set {name}", folders, f"run 'evojax-mtl data prepare tfds:{name}'"
        )
    library, _ = (import_extra(module, "tfds") for module in LIBRARIES)
    try:
        builder = library.builder_from_directory(str(path))
    except Exception as error:  # protobuf, TFDS and array_record raise as they like
        raise _unreadable(path, error) from None
    found = builder.info.file_format
    if found.value != "array_record":
        raise UserError(
            f"{path}: prepared as {found.value}; allowed: array_record, so remove the "
            f"folder and run 'evojax-mtl data prepare tfds:{name}'"
        )
    return Prepared(path, builder)


def load(argument: str | None, request: Request) -> list[Task]:
    """One task a name."""
    if not argument or not all(argument.split("+")):
        raise UserError(
            f"tasks 'tfds:{argument or ''}': no name; allowed: tfds:NAME+NAME, as in "
            "tfds:mnist+fashion_mnist"
        )
    return [_load(name, request) for name in argument.split("+")[: request.max_tasks]]


def _load(wanted: str, request: Request) -> Task:
    name, _, label = wanted.partition("@")
    dataset = open_dataset(name, request.folders)
    keys = dataset.builder.info.supervised_keys or ("image", "label")
    image_key, own_key = keys[0], keys[-1]
    label_key = label or own_key
    dataset.feature(image_key)
    classes = getattr(dataset.feature(label_key), "num_classes", None)
    if classes is None:
        raise UserError(
            f"{dataset.path}: feature {label_key!r} is not a class label; allowed: "
            f"{name}@FEATURE that is one"
        )
    available = dataset.splits
    if "train" not in available:
        raise UserError(
            f"{dataset.path}: splits {available}; allowed: 'train' and more"
        )
    parts = [part for part in ("train", "validation", "test") if part in available]
    names = (image_key, label_key, own_key)
    read = {part: _read(dataset, part, names, request) for part in parts}
    task, origin = wanted.replace("@", "-").replace("/", "-"), str(dataset.path)
    train = read["train"]
    if parts == ["train"]:
        rows = split_rows(train.strata, _SPLIT_SEED)
        splits = {part: as_split(*train.take(rows[part])) for part in SPLITS}
        return build_task(task, splits, classes, origin)
    if "test" not in read:
        read["test"] = read.pop("validation")
    splits = {part: as_split(*every.take(slice(None))) for part, every in read.items()}
    if "validation" not in read:
        out = held_out(train.strata)
        splits["train"] = as_split(*train.take(~out))
        splits["validation"] = as_split(*train.take(out))
    return build_task(task, splits, classes, origin)


@dataclass(frozen=True)
class _Examples:
    """A published split.

    Attributes:
      images: uint8 ``(n, H, W, c)``.
      labels: int32 ``(n,)``.
      strata: the data set's own label ``(n,)``, by which it is split further: two
        tasks with the images of one data set never test on what the other trains on.
    """

    images: np.ndarray
    labels: np.ndarray
    strata: np.ndarray

    def take(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of some rows."""
        return self.images[rows], self.labels[rows]


def _read(
    dataset: Prepared, split: str, keys: tuple[str, str, str], request: Request
) -> _Examples:
    """A split; ``keys`` name the image, the label and the data set's own label."""
    pixels, labels, strata = [], [], []
    for example in dataset.examples(split):
        image = np.asarray(example[keys[0]])
        pixels.append(image[..., None] if image.ndim == 2 else image)
        labels.append(int(example[keys[1]]))
        strata.append(int(example[keys[2]]))
    if not pixels:
        raise UserError(f"{dataset.path}: split {split!r} has no example")
    if pixels[0].ndim != 3 or pixels[0].dtype != np.uint8:
        raise UserError(
            f"{dataset.path}: feature {keys[0]!r} is {pixels[0].dtype} "
            f"{pixels[0].shape}; allowed: uint8 images"
        )
    origins = [f"{dataset.path} {split} example {i}" for i in range(len(pixels))]
    images = stack_images(pixels, request.image_size, origins)
    checked = as_labels(np.array(labels), len(images), f"{dataset.path} {split}")
    return _Examples(images, checked, np.array(strata))
