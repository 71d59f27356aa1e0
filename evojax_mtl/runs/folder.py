"""The folder of a run and the JSON files in it. Imports no JAX."""

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from evojax_mtl.errors import UserError

OWN = ("config.json", "summary.json", "metrics.jsonl", "checkpoints")


def warn(message: str) -> None:
    """One line on stderr about something that went wrong and was got over."""
    line = " ".join(message.split())
    print(f"evojax-mtl: warning: {line}", file=sys.stderr, flush=True)


def jsonable(value: Any) -> Any:
    """``value`` with arrays as lists and numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return jsonable(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_atomically(path: Path, text: str) -> None:
    """Writes a file whole or not at all, even if the process is killed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class RunFolder:
    """``config.json``, ``metrics.jsonl``, ``summary.json``, ``best.json``, and more.

    Attributes:
      path: the folder.
      writes: whether anything is written; of several processes the first alone does.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """The folder at ``path``, which need not exist yet."""
        self.path = path
        self.writes = writes

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File of one JSON object a generation."""
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        """File of the report."""
        return self.path / "report.html"

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Raises ``UserError`` if ``path`` holds a run or cannot be a folder."""
        if path.exists() and not path.is_dir():
            raise UserError(f"--out: {path} is a file, must be a new folder")
        held = [name for name in OWN if (path / name).exists()]
        if held:
            raise UserError(
                f"--out: {path} already holds a run ({', '.join(held)}); "
                "name a new folder, or go on with it by: evojax-mtl resume"
            )

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> "RunFolder":
        """A new run's folder, with its ``config.json``."""
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {path}: {error.strerror}") from None
        folder = cls(path)
        folder.write("config.json", config)
        return folder

    def read_config(self) -> dict[str, Any]:
        """``config.json``; ``UserError`` if the folder is no run."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder, must be the folder of a run")
        if not (self.path / "config.json").is_file():
            raise UserError(f"{self.path}: not the folder of a run: has no config.json")
        return self.read("config.json")

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; ``{}`` if it is not there.

        Raises:
          UserError: if it is there and does not hold a JSON object.
        """
        path = self.path / name
        if not path.exists():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}: found {type(value).__name__}, must be an object")
        return value

    def write(self, name: str, value: dict[str, Any]) -> None:
        """A JSON file of the folder, whole or not at all."""
        if not self.writes:
            return
        text = json.dumps(jsonable(value), indent=1, allow_nan=False)
        write_atomically(self.path / name, text + "\n")

    def append_metrics(self, line: dict[str, Any]) -> None:
        """One more line of ``metrics.jsonl``; a full disk costs the line only."""
        if not self.writes:
            return
        text = json.dumps(jsonable(line), allow_nan=False)
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            warn(f"{self.metrics}: {error.strerror}: a line of metrics is lost")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The generations in ``metrics.jsonl``."""
        lines = self.read_lines()
        return [x for x in lines if isinstance(x.get("generation"), int)]

    def read_lines(self) -> list[dict[str, Any]]:
        """Lines of ``metrics.jsonl``; a line cut off by a kill is left out."""
        if not self.metrics.exists():
            return []
        lines = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                lines.append(line)
        return lines

    def trim_metrics(self, generation: int) -> None:
        """Drops the lines of generations after ``generation``."""
        self.keep_lines(
            [x for x in self.read_metrics() if x["generation"] <= generation]
        )

    def keep_lines(self, lines: list[dict[str, Any]]) -> None:
        """Makes these the lines of ``metrics.jsonl``."""
        if self.writes:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            write_atomically(self.metrics, text)

    def branch(self, path: Path, config: dict[str, Any]) -> "RunFolder":
        """A copy of this run in a new folder, with another ``config.json``."""
        created = type(self).create(path, config | {"branched_from": str(self.path)})
        for name in ("checkpoints", "metrics.jsonl"):
            source = self.path / name
            if source.is_dir():
                shutil.copytree(source, path / name)
            elif source.exists():
                shutil.copy2(source, path / name)
        return created


def fresh_folder(name: str, under: Path = Path("runs")) -> Path:
    """``under/name``, or the first of ``under/name-2``, ... that does not exist."""
    path, number = under / name, 1
    while path.exists():
        number += 1
        path = under / f"{name}-{number}"
    return path
