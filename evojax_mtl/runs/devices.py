"""Devices, and how a run spreads over them.

XLA runs most operations of a CPU program on one core. So every core becomes a device,
and a run spreads its searches, or the tasks of its one search, over them. Of several
processes all have a part of the work, as many devices each.
"""

import dataclasses
import math
import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from evojax_mtl.errors import UserError
from evojax_mtl.runs.settings import Settings

_MOST = 8
"""Devices that a run takes of a CPU unasked: each holds the data and the weights."""

_WORK = {
    "population": "the searches of the sweep (--seeds times --sweep values)",
    "tasks": "the number of tasks",
    "data": "both batch sizes, whose greatest common divisor is",
}

_COUNT = "xla_force_host_platform_device_count"
# A process may be stopped and go on; a device that waited for another must not then
# take it for dead.
_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=86400"


def use_cores(wanted: int = 1) -> None:
    """Makes each core of the CPU a device, and at least ``wanted`` devices.

    Nothing changes where ``XLA_FLAGS`` sets their number or JAX has begun to work.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _COUNT in flags:
        return
    if _PATIENCE.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_PATIENCE}".strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    try:
        jax.config.update("jax_num_cpu_devices", max(cores, wanted))
    except RuntimeError:
        return


def divisor(work: int, most: int) -> int:
    """The largest divisor of ``work`` up to ``most``."""
    return max(n for n in range(1, most + 1) if work % n == 0)


def choose_mesh(settings: Settings, tasks: int) -> dict[str, int]:
    """The axes of a run's mesh: as the settings say, else chosen.

    Unasked, a run on CPU spreads over as many cores as divide its work, at most 8: its
    searches if it has several, otherwise its tasks or its batches, as the method can.
    On accelerators it takes one. In several processes it takes as many devices of each
    as divide its work, of whatever kind, on CPU at most 8.

    Raises:
      UserError: for a mesh that the devices or the work do not allow.
    """
    work = {"population": settings.population, "tasks": tasks}
    axes = settings.form.mesh_axes
    sweep = settings.population > 1
    if "data" in axes:
        config = settings.config
        work["data"] = math.gcd(config.batch, config.evaluation_batch)
    if not settings.mesh:
        alone = next((a for a in ("tasks", "data") if a in axes), "population")
        axis = "population" if sweep else alone
        if jax.process_count() > 1:
            any_count = axis == "population" in axes and not sweep
            return {axis: _across(axis, 0 if any_count else work[axis])}
        if jax.default_backend() != "cpu":
            return {}
        count = divisor(work[axis], min(_MOST, jax.device_count()))
        return {axis: count} if count > 1 else {}
    for name, count in settings.mesh.items():
        if count > jax.device_count():
            raise UserError(
                f"--mesh: found {name}={count}, must be at most the number of "
                f"devices, {jax.device_count()}"
            )
        individuals = name == "population" and name in axes and not sweep
        if count > 1 and work[name] % count and not individuals:
            raise UserError(
                f"--mesh: found {name}={count}, must divide {_WORK[name]}, {work[name]}"
            )
    within = {name for name, n in settings.mesh.items() if n > 1} - {"population"}
    if within and sweep:
        raise UserError(
            f"--mesh: found {min(within)} in a sweep, must be population: its searches "
            "are spread, each stays on one device"
        )
    devices, processes = math.prod(settings.mesh.values()), jax.process_count()
    if devices % processes:
        raise UserError(
            f"--mesh: found {devices} devices, must be a multiple of the number of "
            f"processes, {processes}"
        )
    return settings.mesh


def resumed_mesh(settings: Settings, tasks: int) -> dict[str, int]:
    """The axes of a resumed run's mesh: as before, or where that does not fit chosen.

    Raises:
      UserError: for a run whose state has a network for each device, if it cannot have
        as many.
    """
    processes = jax.process_count()
    begun = math.prod(settings.mesh.values())
    if settings.population == 1 and hasattr(settings.form.load(), "specs"):
        if begun % processes:
            raise UserError(
                f"--distributed: found {processes} processes, must divide the number "
                f"of devices that the run was begun on, {begun}: its state has a "
                "network for each"
            )
        return choose_mesh(settings, tasks) if settings.mesh else {}
    if begun % processes == 0 and begun <= jax.device_count():
        return choose_mesh(settings, tasks) if settings.mesh else {}
    return choose_mesh(dataclasses.replace(settings, mesh={}), tasks)


def _across(axis: str, work: int) -> int:
    """As many devices of each process as divide ``work``."""
    processes, most = jax.process_count(), jax.local_device_count()
    if jax.default_backend() == "cpu":
        most = min(most, _MOST)
    whole = range(processes, processes * most + 1, processes)
    fitting = [count for count in whole if work % count == 0]
    if not fitting:
        raise UserError(
            f"--distributed: found {processes} processes, must divide {_WORK[axis]}, "
            f"{work}"
        )
    return max(fitting)


def make_mesh(axes: dict[str, int]) -> Mesh | None:
    """The mesh of these axes; None where every one has a single device."""
    used = {name: count for name, count in axes.items() if count > 1}
    if not used:
        return None
    kinds = (AxisType.Auto,) * len(used)
    sides, processes = tuple(used.values()), jax.process_count()
    each = math.prod(sides) // processes
    if processes == 1 or each == jax.local_device_count():
        return jax.make_mesh(sides, tuple(used), kinds)
    # the first devices of every process
    taken = np.array(jax.devices()).reshape(processes, -1)[:, :each]
    return Mesh(taken.reshape(sides), tuple(used), kinds)
