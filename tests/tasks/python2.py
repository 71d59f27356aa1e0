"""Pickles as Python 2 wrote them, which Python 3's pickle module cannot write."""

import io
import pickle
import struct
from typing import ClassVar


class _Pickler(pickle._Pickler):  # the one in Python, whose methods can be replaced
    def save_string(self, content):
        """A ``str`` of Python 2."""
        content = content.encode() if isinstance(content, str) else content
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(content)]) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch: ClassVar = pickle._Pickler.dispatch | {
        bytes: save_string,
        str: save_string,
    }


def dumps(thing):
    """Protocol 2, with the module names of the numpy of that time."""
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(thing)
    return file.getvalue().replace(
        b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"
    )
