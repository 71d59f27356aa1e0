"""SIGINT and SIGTERM end a run after its current block; a second one at once."""

import os
import signal
import socket
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_status(number: int) -> int:
    """By shell custom: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


class Interrupt:
    """Notes the first signal while entered as a context (main thread only).

    A Python signal handler waits until a compiled program returns, which may take
    the whole block. So the handler does nothing, and a thread reads the byte that the
    C handler writes at once.

    Attributes:
      signal: number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        """Takes no signal until entered."""
        self.signal = 0

    def __enter__(self) -> "Interrupt":
        """Takes the signals over."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = [signal.signal(number, _ignore) for number in SIGNALS]
        self._wakeup = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)
        self._writer.close()

    def _watch(self) -> None:
        with self._reader:
            while data := self._reader.recv(1):
                if data[0] not in SIGNALS:
                    continue
                if self.signal:
                    os._exit(exit_status(data[0]))
                self.signal = data[0]
                print(
                    "evojax-mtl: stopping after the current block; "
                    "a second signal stops at once",
                    file=sys.stderr,
                    flush=True,
                )


def _ignore(number: int, frame: FrameType | None) -> None:
    """Stands in for Python's default, so that the C handler writes its byte."""
