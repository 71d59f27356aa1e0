"""Where a run comes from: versions, devices, memory."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("evojax-mtl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def version(package: str) -> str:
    """Version of an installed package; ``'not installed'`` if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide a run's bits."""
    return {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}


def git_revision() -> str | None:
    """Revision of the checkout that this package runs from; None if installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far (bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def devices() -> list[str]:
    """Kind of every device, in words."""
    import jax

    return [f"{device.platform}:{device.device_kind}" for device in jax.devices()]


def peak_device_memory_bytes() -> int | None:
    """Largest use of a device's memory so far (bytes); None where it is not told."""
    import jax

    stats = [device.memory_stats() for device in jax.local_devices()]
    peaks = [s["peak_bytes_in_use"] for s in stats if s and "peak_bytes_in_use" in s]
    return max(peaks, default=None)


def provenance() -> dict[str, Any]:
    """Devices, processes, versions and revision, for ``summary.json``."""
    import jax

    return {
        "devices": devices(),
        "processes": jax.process_count(),
        "versions": versions(),
        "git_revision": git_revision(),
    }


def may_differ(platforms: Iterable[str]) -> bool:
    """Whether equal runs may end in other bits: a GPU without deterministic mode."""
    flags = os.environ.get("XLA_FLAGS", "")
    sure = "--xla_gpu_deterministic_ops" in flags and (
        "--xla_gpu_deterministic_ops=false" not in flags
    )
    return not sure and any(kind.startswith(("gpu:", "cuda:")) for kind in platforms)


def start_line(facts: dict[str, Any], seed: int, folder: Path) -> str:
    """The one line that a run begins with."""
    kinds = facts["devices"]
    counted = ", ".join(f"{kinds.count(k)} x {k}" for k in dict.fromkeys(kinds))
    versions_ = facts["versions"]
    shown = " ".join(f"{p} {versions_[p]}" for p in ("evojax-mtl", "jax", "flax"))
    return (
        f"devices: {counted} | processes: {facts['processes']} | seed: {seed} | "
        f"{shown} | revision: {facts['git_revision'] or 'installed package'} | "
        f"folder: {folder}"
    )
