import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.runs.compilation import CompilationCounter, enable_persistent_cache


def test_counts_compilations_and_not_cache_hits():
    enable_persistent_cache()

    def fresh():
        """The same program, not the same function: nothing in memory serves it."""

        def program(x):
            return jnp.sin(x) * 123.4567

        return jax.jit(program)

    x = np.ones(7, np.float32)
    with CompilationCounter() as counter:
        fresh()(x)
        assert (counter.compilations, counter.cache_hits) == (1, 0)
        fresh()(x)
        assert (counter.compilations, counter.cache_hits) == (1, 1)
        jitted = fresh()
        jitted(np.ones(8, np.float32))
        jitted(np.ones(8, np.float32))
        assert (counter.compilations, counter.cache_hits) == (2, 1)
    assert 0 < counter.seconds < 60
    jax.jit(lambda x: x * 2.34567)(x)
    assert counter.requests == 3


def test_nested_spans_count_once():
    counter = CompilationCounter()
    event = "/jax/core/compile/jaxpr_trace_duration"
    for start, end in [(1.0, 2.0), (3.0, 4.0), (0.0, 5.0), (4.0, 6.0), (10.0, 11.0)]:
        counter._on_span(event, start, end)
    counter._on_span("/jax/other", 20.0, 30.0)
    assert counter.seconds == 7
