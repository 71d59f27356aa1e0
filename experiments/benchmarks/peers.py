"""Peers whose pins keep them out of the ``bench`` extra."""

import atexit
import importlib
import subprocess
import sys
import tempfile
from types import ModuleType

from experiments.benchmarks.harness import BenchmarkError, need

NODE2VEC = "node2vec==0.5.0"


def need_node2vec() -> ModuleType:
    """The package ``node2vec``.

    It asks for NumPy below 2, which JAX does not run with, though it runs with NumPy 2
    itself; so the extra holds what it needs, and where it is not installed it goes
    without its dependencies into a folder that ends with the process.

    Raises:
      BenchmarkError: if it, or what it needs, is not there and cannot be installed.
    """
    for package in ("gensim", "networkx", "joblib", "tqdm"):
        need(package)
    try:
        return importlib.import_module("node2vec")
    except ModuleNotFoundError:
        folder = tempfile.TemporaryDirectory(prefix="evojax-mtl-node2vec-")
        atexit.register(folder.cleanup)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", folder.name, NODE2VEC], capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(
            f"node2vec: not installed; get it with pip install --no-deps {NODE2VEC}"
        )
    sys.path.append(folder.name)
    return importlib.import_module("node2vec")
