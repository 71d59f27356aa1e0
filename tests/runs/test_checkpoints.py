import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.runs import checkpoints as module
from evojax_mtl.runs.checkpoints import Checkpoints, Position


def make(seed=3):
    key = jax.random.key(seed)
    return {
        "key": key,
        "keys": jax.random.split(key, 3),
        "half": jnp.ones((2, 3), jnp.bfloat16),
        "flags": jnp.array([True, False]),
        "nested": (jnp.int32(7), [jnp.zeros((0, 4)), None]),
    }


def template(static):
    return jax.eval_shape(make)


def test_state_round_trips(tmp_path):
    store, state = Checkpoints(tmp_path), make()
    assert store.save(state, Position(2, 5, 1.5, 2), {"capacity": 4})
    seen = []
    restored, position = store.restore(lambda s: seen.append(s) or template(s))
    assert seen == [{"capacity": 4}]
    assert position == Position(2, 5, 1.5, 2)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_keeps_the_last_three(tmp_path):
    store, state = Checkpoints(tmp_path), make()
    for generation in range(5):
        store.save(state, Position(generation), {})
    assert store.names() == [f"{g:08}-00000000" for g in (2, 3, 4)]
    assert store.generation() == 4


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "manifest"])
def test_damage_of_every_kind_falls_back(tmp_path, capsys, harm):
    store, state = Checkpoints(tmp_path), make()
    store.save(state, Position(1), {})
    store.save(state, Position(2), {})
    newest = tmp_path / store.names()[-1]
    files = [p for p in (newest / "state").rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    if harm == "cut":
        largest.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "remove":
        largest.unlink()
    else:
        (newest / "manifest.json").write_text("{")
    _, position = store.restore(template)
    assert position.generation == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_to_restore(tmp_path):
    (tmp_path / ".partial-00000001-00000000").mkdir()
    assert Checkpoints(tmp_path).restore(template) is None


def test_other_shapes_are_the_users_error(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(make(), Position(1), {})
    wrong = template({}) | {"flags": jax.ShapeDtypeStruct((9,), bool)}
    with pytest.raises(UserError, match=r"flags.*bool\[2\].*bool\[9\]"):
        store.restore(lambda static: wrong)


def test_full_disk_costs_the_checkpoint_only(tmp_path, capsys, monkeypatch):
    store, state = Checkpoints(tmp_path), make()
    store.save(state, Position(1), {})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_save", full)
    assert not store.save(state, Position(2), {})
    assert "No space left" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["00000001-00000000"]
    assert store.restore(template)[1].generation == 1
