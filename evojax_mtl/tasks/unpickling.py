"""Python 2 pickles of dicts, lists, numbers, strings and byte arrays, nothing else.

A pickle can run any code when it is loaded. This reader knows the three names that an
array of bytes is pickled with, and refuses a file that asks for another.
"""

import io
import pickle
from typing import Any

import numpy as np


def _empty_array(*arguments: Any) -> np.ndarray:
    """What numpy's ``_reconstruct`` makes; the pickled state then fills it."""
    return np.empty(0, np.uint8)


def _byte_dtype(code: Any, *arguments: Any) -> np.dtype:
    # Another type could hold objects, or be laid out by the pickled state.
    if code not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"it holds an array of {code!r}, not of bytes")
    return np.dtype(np.uint8)


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "dtype"): _byte_dtype,
    # Only ever an argument of ``_reconstruct``: it need not be callable.
    ("numpy", "ndarray"): "ndarray",
}


# The one in C takes gigabytes for its memo where one damaged byte asks for it.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def unpickle(content: bytes) -> Any:
    """The object in a pickle; strings of Python 2 become ``bytes``.

    Raises:
      pickle.UnpicklingError: it is not complete, or holds something else.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises whatever its bytes spell
        reason = " ".join(str(error).split()) or type(error).__name__
        raise pickle.UnpicklingError(reason) from None
