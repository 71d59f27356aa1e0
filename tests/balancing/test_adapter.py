"""The adapter: passes, groups, precisions, heads, representations, optax, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evojax_mtl.balancing.adapter import Balancer
from evojax_mtl.balancing.cagrad import CAGrad
from evojax_mtl.balancing.conal import ConflictZeroing
from evojax_mtl.balancing.equal import EqualWeighting
from evojax_mtl.balancing.famo import FAMO
from evojax_mtl.balancing.gls import GLS
from evojax_mtl.balancing.mgda import MGDA
from evojax_mtl.balancing.moco import MoCo
from evojax_mtl.balancing.registry import BALANCING, find_balancing
from evojax_mtl.balancing.rotograd import RotoGrad, rotations
from evojax_mtl.balancing.training import begin, training_step
from evojax_mtl.balancing.upgrad import UPGrad
from evojax_mtl.errors import UserError
from tests.balancing.problem import build, three_tasks
from tests.balancing.test_contract import assert_close, flat
from tests.balancing.toys import names

PROBLEM = three_tasks()
KEY = jax.random.key(1)
NAMES = names(3)


def update(balancer, params=PROBLEM.params, losses=PROBLEM.losses):
    step = jax.jit(lambda b, p, s: b.update(losses, p, s, key=KEY))
    return step(balancer, params, balancer.init(params))


def matrix(params=PROBLEM.params):
    """The Jacobian by reverse mode, ``(T, P)``, leaf by leaf."""
    leaves = jax.tree.leaves(jax.jacrev(PROBLEM.losses)(params))
    return [np.asarray(leaf, np.float64).reshape(3, -1) for leaf in leaves]


@pytest.mark.parametrize("passes", ["loop", "recomputed"])
@pytest.mark.parametrize("method", [MGDA(), UPGrad()], ids=type)
def test_all_passes_give_one_update(method, passes):
    assert_close(
        update(Balancer(method, NAMES, passes=passes)).update,
        update(Balancer(method, NAMES)).update,
    )


def test_the_loop_serves_methods_that_need_gradients():
    expected = update(Balancer(MoCo(), NAMES)).update
    assert_close(update(Balancer(MoCo(), NAMES, passes="loop")).update, expected)


def test_recomputed_passes_keep_no_gradients():
    # a wide layer: T gradients of it would be most of the memory
    wide = {"kernel": jnp.ones((1000, 400))}
    x = jnp.ones((2, 1000))

    def losses(params):
        hidden = jnp.tanh(1e-3 * x @ params["kernel"])
        return jnp.stack([jnp.mean((hidden - c) ** 2) for c in range(8)])

    def memory(passes):
        balancer = Balancer(MGDA(), names(8), passes=passes)
        step = jax.jit(lambda p: balancer.update(losses, p, (), key=KEY).update)
        analysis = step.lower(wide).compile().memory_analysis()
        return analysis.temp_size_in_bytes / wide["kernel"].nbytes

    assert memory("recomputed") < memory("vmap") + 0.5


def test_equal_weighting_is_the_gradient_of_the_sum():
    found = update(Balancer(EqualWeighting(), NAMES)).update
    assert_close(found, jax.grad(lambda p: jnp.sum(PROBLEM.losses(p)))(PROBLEM.params))


@pytest.mark.parametrize(("grouping", "groups"), [("layer", 2), ("leaf", 3)])
def test_groups_are_weighed_by_themselves(grouping, groups):
    found = update(Balancer(MGDA(), NAMES, grouping=grouping))
    assert found.metrics["weights"].shape == (groups, 3)
    bias, kernel, second = matrix()
    layers = [np.hstack([bias, kernel]), second]
    parts = layers if grouping == "layer" else [bias, kernel, second]
    for weights, part in zip(found.metrics["weights"], parts, strict=True):
        weights = np.asarray(weights, np.float64)
        inner = part @ (weights @ part)
        size = (part**2).sum(1).max()
        assert inner.min() >= weights @ inner - 1e-5 * size


def test_conal_weighs_layers_by_default():
    found = update(Balancer(ConflictZeroing(), NAMES))
    assert found.metrics["weights"].shape == (2, 3)


def test_aggregators_keep_a_state_for_each_group():
    balancer = Balancer(MoCo(), NAMES, grouping="layer")
    assert len(balancer.init(PROBLEM.params)) == 2
    assert np.isfinite(flat(update(balancer).update)).all()


def test_conflicts_are_counted():
    rows = np.hstack(matrix())
    expected = (np.triu(rows @ rows.T, 1) < 0).sum()
    assert update(Balancer(MGDA(), NAMES)).metrics["conflicts"] == expected == 3


def test_weights_in_bfloat16_have_a_float32_gramian():
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PROBLEM.params)
    found = update(Balancer(MGDA("l2"), NAMES), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.update)} == {
        jnp.dtype(jnp.bfloat16)
    }
    assert found.metrics["weights"].dtype == jnp.float32
    exact = update(Balancer(MGDA("l2"), NAMES))
    np.testing.assert_allclose(
        found.metrics["weights"], exact.metrics["weights"], atol=0.05
    )


def with_heads():
    """Weights of which the tasks share the encoder's."""
    params = {"encoder": PROBLEM.params, "heads": PROBLEM.heads}

    def losses(params):
        z = PROBLEM.encode(params["encoder"])
        return PROBLEM.scores(params["heads"], jnp.broadcast_to(z, (3, *z.shape)))

    return params, losses


def test_heads_follow_their_own_losses():
    params, losses = with_heads()
    balancer = Balancer(MGDA(), NAMES, shared=lambda path: path[0] == "encoder")
    found = update(balancer, params, losses).update
    plain = jax.grad(lambda p: jnp.sum(losses(p)))(params)
    assert_close(found["heads"], plain["heads"])
    alone = update(Balancer(MGDA(), NAMES)).update
    assert_close(found["encoder"], alone)


def test_methods_on_losses_weigh_heads_too():
    params, losses = with_heads()
    found = update(Balancer(GLS(), NAMES), params, losses)
    weights = found.metrics["weights"]
    expected = jax.grad(lambda p: weights @ losses(p))(params)
    assert_close(found.update, expected)


def through(balancer, state=None):
    z = PROBLEM.encode(PROBLEM.params)
    state = balancer.init_through(z) if state is None else state
    pair = (PROBLEM.params, PROBLEM.heads)
    return balancer.update_through(PROBLEM.encode, PROBLEM.scores, pair, state, key=KEY)


def test_mgda_on_a_representation_is_the_upper_bound():
    z = PROBLEM.encode(PROBLEM.params)

    def scores(z):
        return PROBLEM.scores(PROBLEM.heads, jnp.broadcast_to(z, (3, *z.shape)))

    rows = np.asarray(jax.jacrev(scores)(z), np.float64).reshape(3, -1)
    found = through(Balancer(MGDA(), NAMES))
    weights = np.asarray(found.metrics["weights"], np.float64)
    inner = rows @ (weights @ rows)
    assert inner.min() >= weights @ inner - 1e-5 * (rows**2).sum(1).max()
    expected = jax.grad(lambda p: jnp.asarray(weights) @ scores(PROBLEM.encode(p)))
    assert_close(found.update[0], expected(PROBLEM.params))
    assert_close(found.update[1], jax.grad(lambda h: _own(h))(PROBLEM.heads))


def _own(heads):
    z = PROBLEM.encode(PROBLEM.params)
    return jnp.sum(PROBLEM.scores(heads, jnp.broadcast_to(z, (3, *z.shape))))


def test_rotograd_turns_gradients_towards_each_other():
    balancer = Balancer(RotoGrad(learning_rate=0.02), NAMES)
    z = PROBLEM.encode(PROBLEM.params)
    state = balancer.init_through(z)
    views = balancer.method.features(state, z)
    np.testing.assert_allclose(views, jnp.broadcast_to(z, views.shape), atol=1e-6)

    def together(state):
        views = balancer.method.features(state, z)
        _, pull = jax.vjp(lambda v: PROBLEM.scores(PROBLEM.heads, v), views)
        rows = pull(jnp.ones(3))[0]
        turn = rotations(state.generators.values)
        back = jnp.einsum("tij,tbi->tbj", turn, rows).reshape(3, -1)
        units = back / jnp.linalg.norm(back, axis=1, keepdims=True)
        return jnp.linalg.norm(units.sum(0))

    first = together(state)
    step = jax.jit(lambda state: through(balancer, state).state)
    for _ in range(40):
        state = step(state)
    turn = np.asarray(rotations(state.generators.values))
    eye = np.broadcast_to(np.eye(4), turn.shape)
    np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), eye, atol=1e-5)
    assert together(state) > first + 0.1


@pytest.mark.parametrize("method", [MGDA(), FAMO(), MoCo()], ids=type)
def test_it_composes_with_optax(method):
    balancer = Balancer(method, NAMES)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02))

    def losses(params, scale):
        return PROBLEM.losses(params, scale)

    @jax.jit
    def step(training, key):
        return training_step(balancer, losses, optimizer, training, 1.0, key=key)

    training = begin(balancer, optimizer, PROBLEM.params)
    before = PROBLEM.losses(PROBLEM.params)
    for key in jax.random.split(KEY, 60):
        training, metrics = step(training, key)
    assert step._cache_size() == 1
    assert metrics["losses"].min() > 0
    assert PROBLEM.losses(training.params).sum() < before.sum()


def test_a_skipped_step_changes_nothing():
    balancer, optimizer = Balancer(MGDA(), NAMES), optax.adam(0.1)
    training = begin(balancer, optimizer, PROBLEM.params)

    @jax.jit
    def step(training, present):
        return training_step(
            balancer,
            lambda params, _: PROBLEM.losses(params),
            optimizer,
            training,
            None,
            key=KEY,
            present=present,
        )

    new, metrics = step(training, jnp.zeros(3, bool))
    assert metrics["skipped"]
    assert (flat(new) == flat(training)).all()


def test_a_sweep_over_rates_compiles_once():
    @jax.jit
    def step(method):
        return Balancer(method, NAMES).update(
            PROBLEM.losses, PROBLEM.params, (), key=KEY
        )

    first, second = step(CAGrad(c=0.1)).update, step(CAGrad(c=0.9)).update
    assert step._cache_size() == 1
    assert np.linalg.norm(flat(first) - flat(second)) > 1e-3
    swept = jax.vmap(step)(jax.vmap(lambda c: CAGrad(c=c))(jnp.array([0.1, 0.9])))
    assert_close(jax.tree.map(lambda x: x[1], swept.update), second)


@pytest.mark.parametrize(
    "name", [n for n, t in BALANCING.items() if t.representation == "refused"]
)
def test_methods_that_refuse_representations_say_so(name):
    with pytest.raises(UserError, match=f"^{name}: found a representation, works on"):
        Balancer(find_balancing(name).build(), NAMES).init_through(jnp.ones((2, 4)))


@pytest.mark.parametrize("name", ["graddrop", "rotograd"])
def test_methods_that_need_representations_say_so(name):
    with pytest.raises(UserError, match=f"^{name}: found gradients of the weights"):
        Balancer(find_balancing(name).build(), NAMES).init(PROBLEM.params)


WRONG = [
    (Balancer(MGDA(), ()), "tasks: found none"),
    (Balancer(MGDA(), ("a", "b", "a")), "tasks: found 'a' twice"),
    (Balancer(MoCo(), NAMES, passes="recomputed"), "moco: found passes 'recomputed'"),
    (
        Balancer(MGDA(), NAMES, passes="recomputed", grouping="layer"),
        "mgda: found passes 'recomputed' with 2 groups",
    ),
    (Balancer(MGDA(), NAMES, shared=lambda path: False), "weights: the tasks share"),
]


@pytest.mark.parametrize(("balancer", "told"), WRONG, ids=[told for _, told in WRONG])
def test_wrong_uses_are_told(balancer, told):
    with pytest.raises(UserError, match=f"^{told}"):
        balancer.init(PROBLEM.params)


POSITIVE = [n for n, t in BALANCING.items() if t.positive]


@pytest.mark.parametrize("name", POSITIVE)
def test_losses_of_the_wrong_sign_are_told(name):
    balancer = Balancer(find_balancing(name).build(), NAMES)
    state = balancer.init(PROBLEM.params)
    with pytest.raises(UserError, match=rf"^loss of 'task1': found -.*for {name}$"):
        balancer.update(
            lambda p: PROBLEM.losses(p, offset=jnp.asarray([0.0, -99.0, 0.0])),
            PROBLEM.params,
            state,
            key=KEY,
        )


@pytest.mark.parametrize("normalizer", ["loss", "loss+"])
def test_mgda_wants_positive_losses_where_it_divides_by_them(normalizer):
    assert MGDA(normalizer).traits.positive
    assert not MGDA("l2").traits.positive


def test_losses_that_are_not_finite_and_masks_without_tasks_are_told():
    balancer = Balancer(EqualWeighting(), NAMES)

    def run(offset, present=None):
        return balancer.update(
            lambda p: PROBLEM.losses(p, offset=offset),
            PROBLEM.params,
            (),
            key=KEY,
            present=present,
        )

    with pytest.raises(UserError, match=r"^loss of 'task2': found nan, must be finite"):
        run(jnp.asarray([0.0, 0.0, np.nan]))
    with pytest.raises(UserError, match=r"^tasks: none of task0, task1, task2 has"):
        run(0.0, jnp.zeros(3, bool))


def test_an_unknown_method_is_told_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'mgda'"):
        find_balancing("mdga")


def test_no_two_methods_have_one_structure():
    """A program compiled for one method must never serve another."""
    built = {name: Balancer(build(name), names(3)) for name in BALANCING}
    structures = [jax.tree.structure(balancer) for balancer in built.values()]
    for i, structure in enumerate(structures):
        assert structure not in structures[:i]
        again = jax.tree.map(lambda x: x, list(built.values())[i])
        assert jax.tree.structure(again) == structure
