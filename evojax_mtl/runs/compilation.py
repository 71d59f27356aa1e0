"""Counting compilations, and the cache that spares them between processes."""

import os
from pathlib import Path

import jax
import jax.monitoring

# What jax._src.dispatch and jax._src.compiler record. A backend compile event also
# covers programs that the persistent cache then supplies.
_STAGES = "/jax/core/compile/"
_BACKEND = "/jax/core/compile/backend_compile_duration"
_HIT = "/jax/compilation_cache/cache_hits"


def enable_persistent_cache() -> None:
    """Keeps every compiled program in the user's cache folder.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(root) / "evojax_mtl" / "programs"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


class CompilationCounter:
    """Counts the compilations of this process while entered as a context.

    Attributes:
      requests: programs asked of the backend or the cache.
      cache_hits: those that the persistent cache supplied.
      seconds: wall time in tracing, lowering, compiling and reading the cache.
    """

    def __init__(self) -> None:
        """Counts nothing until entered."""
        self.requests = 0
        self.cache_hits = 0
        self.seconds = 0.0
        self._spans: list[tuple[float, float]] = []

    @property
    def compilations(self) -> int:
        """Programs that the backend compiled."""
        return self.requests - self.cache_hits

    def __enter__(self) -> "CompilationCounter":
        """Begins to count."""
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)
        jax.monitoring.register_event_time_span_listener(self._on_span)
        return self

    def __exit__(self, *_: object) -> None:
        """Stops counting; the counts stay."""
        jax.monitoring.unregister_event_listener(self._on_event)
        jax.monitoring.unregister_event_duration_listener(self._on_duration)
        jax.monitoring.unregister_event_time_span_listener(self._on_span)

    def _on_event(self, event: str, **kwargs: str | int) -> None:
        self.cache_hits += event == _HIT

    def _on_duration(
        self, event: str, duration_secs: float, **kwargs: str | int
    ) -> None:
        self.requests += event == _BACKEND

    def _on_span(
        self, event: str, start_time: float, end_time: float, **kwargs: str | int
    ) -> None:
        """Adds a span to the union: traces nest, and would count twice as a sum."""
        if not event.startswith(_STAGES):
            return
        start, end = start_time, end_time
        while self._spans and self._spans[-1][0] >= start:
            inner = self._spans.pop()
            self.seconds -= inner[1] - inner[0]
        if self._spans:
            start = max(start, self._spans[-1][1])
        if end > start:
            self._spans.append((start, end))
            self.seconds += end - start
