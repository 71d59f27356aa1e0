"""Several processes that run one program, as those of a pod's or a cluster's hosts.

All do the same: read the tasks, compile, call. Each has its own part of the arrays
that are spread over the devices. The first alone writes and prints, so that a run has
one folder, which all must see. What depends on a clock, or on a signal that one
process got, is agreed on, or the others would wait for a call that never comes.

In a process by itself every function returns what it was given.
"""

import os
import re
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from evojax_mtl.errors import UserError

_PATIENCE = 30
"""Wait at the end for processes that may have died (seconds)."""

_LONGEST = 4096
"""Of a path (bytes)."""

_FORM = re.compile(r"(?P<address>[^,]+:\d+),(?P<count>\d+),(?P<index>\d+)")


def join(how: str) -> None:
    """Makes this process one of several, before JAX begins to work.

    The others' lines are not shown.

    Args:
      how: ``auto`` where Slurm, Open MPI, Kubernetes or a TPU pod tells the processes
        of each other; otherwise ``HOST:PORT,PROCESSES,INDEX``: where the first process
        listens, how many there are, and which this is, from 0. Empty: nothing is done.

    Raises:
      UserError: for another form, where nothing tells the processes of each other, or
        for processes of unequally many devices.
    """
    if not how:
        return
    # JAX's own notice of SIGTERM would keep the process alive before ``Interrupt``
    jax.config.update("jax_enable_preemption_service", False)
    told = _FORM.fullmatch(how)
    if how != "auto" and told is None:
        raise UserError(
            f"--distributed: found {how!r}, must be auto, or HOST:PORT,PROCESSES,INDEX"
        )
    try:
        if told is None:
            jax.distributed.initialize(shutdown_timeout_seconds=_PATIENCE)
        else:
            count, index = int(told["count"]), int(told["index"])
            if not index < count:
                raise UserError(
                    f"--distributed: found process {index}, must be below their "
                    f"number, {count}"
                )
            jax.distributed.initialize(
                told["address"], count, index, shutdown_timeout_seconds=_PATIENCE
            )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        if told is None:
            reason = (
                "found auto, must be HOST:PORT,PROCESSES,INDEX where nothing tells the "
                f"processes of each other: {reason}"
            )
        raise UserError(f"--distributed: {reason}") from None
    own, every = jax.local_device_count(), jax.device_count()
    if own * jax.process_count() != every:
        raise UserError(
            f"--distributed: found {own} devices here of {every} in "
            f"{jax.process_count()} processes, must be as many in each"
        )
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def several() -> bool:
    """Whether there are others."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes and prints."""
    return jax.process_index() == 0


def most(value: int) -> int:
    """The largest of the values that the processes call this with."""
    if not several():
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def of_first(text: str) -> str:
    """The text that the first process calls this with."""
    if not several():
        return text
    raw = text.encode().ljust(_LONGEST, b"\0")
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(raw, np.uint8))
    return bytes(told).rstrip(b"\0").decode()


class Remote:
    """An array that lies on devices of all processes, read when NumPy asks.

    All must ask alike.
    """

    def __init__(self, array: jax.Array) -> None:
        """Reads nothing yet."""
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.ndim, self.size = array.ndim, array.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The whole of it."""
        return np.asarray(fetched(self.array), dtype)


def remote(tree: Any) -> Any:
    """The tree with every array as ``Remote``; keys as they are."""
    return jax.tree.map(lambda x: x if _is_key(x) else Remote(x), tree)


def same(tree: Any) -> Any:
    """What it is given."""
    return tree


def fetched(tree: Any) -> Any:
    """The tree with its arrays whole and on the host; keys as ``device_get`` does."""
    if not several():
        return jax.device_get(tree)
    leaves, structure = jax.tree.flatten(tree)
    parts = {k: x for k, x in enumerate(leaves) if _is_part(x)}
    if parts:
        everywhere = {
            k: NamedSharding(x.sharding.mesh, PartitionSpec()) for k, x in parts.items()
        }
        # the same function each time: another would be compiled anew
        for k, x in jax.jit(same, out_shardings=everywhere)(parts).items():
            leaves[k] = x
    own = [x if _is_here(x) else x.addressable_data(0) for x in leaves]
    return jax.device_get(jax.tree.unflatten(structure, own))


def _is_here(x: Any) -> bool:
    """Whether all of it is on this process's devices, or none is on a device."""
    return not isinstance(x, jax.Array) or x.is_fully_addressable


def _is_part(x: Any) -> bool:
    """Whether the processes have different parts of it."""
    return not _is_here(x) and not x.is_fully_replicated


def placed(tree: Any, shardings: Any) -> Any:
    """The tree on the devices of all processes, which have equal copies of it.

    Args:
      tree: arrays of the host or of this process's devices; those of ``remote`` stay
        where they are.
      shardings: one for all arrays, or a tree of them.
    """
    if not several():
        return jax.device_put(tree, shardings)

    def put(x: Any, sharding: Any) -> Any:
        if isinstance(x, Remote):
            return x.array
        if not _is_here(x):
            return x
        if _is_key(x):
            data = put(jax.random.key_data(x), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda i: host[i])

    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda x: put(x, shardings), tree)
    return jax.tree.map(put, tree, shardings)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
