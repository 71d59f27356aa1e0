"""What a loader is asked for: the same few wishes for every source."""

import os
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = "EVOJAX_MTL_DATA"


@dataclass(frozen=True)
class Request:
    """What to load and where to look for it.

    Attributes:
      folders: where files are looked for, in this order.
      image_size: wanted pixels a side; None leaves it to the source.
      text_length: wanted words a text; None leaves it to the source.
      max_tasks: number of tasks that are enough; None for all. A loader may return
        more, never fewer than it can up to this.
      max_classes: classes a task that are enough, the first ones; None for all. A
        loader may return more.
      seed: of what is drawn by procedure. The splits of real data never depend on it.
    """

    folders: tuple[Path, ...] = ()
    image_size: int | None = None
    text_length: int | None = None
    max_tasks: int | None = None
    max_classes: int | None = None
    seed: int = 0

    def first(self, tasks: int) -> int:
        """How many of ``tasks`` are wanted."""
        return tasks if self.max_tasks is None else min(tasks, self.max_tasks)


def cache_folder() -> Path:
    """The user's cache folder for data."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "evojax_mtl"


def tfds_folder() -> Path:
    """Where TensorFlow Datasets keeps what it prepared."""
    named = os.environ.get("TFDS_DATA_DIR")
    return Path(named) if named else Path.home() / "tensorflow_datasets"


def search_folders(data_dir: Path | None) -> tuple[Path, ...]:
    """Folders to look in: ``data_dir`` alone where given, else the usual ones."""
    if data_dir is not None:
        return (data_dir,)
    named = os.environ.get(ENVIRONMENT)
    usual = (cache_folder(), tfds_folder())
    return (Path(named), *usual) if named else usual


def data_folder(data_dir: Path | None) -> Path:
    """Where ``data prepare`` puts its files: the first folder searched."""
    return search_folders(data_dir)[0]
