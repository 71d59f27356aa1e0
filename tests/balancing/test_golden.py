"""Methods against values of torchjd and LibMTL, made by ``make_golden.py``."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.balancing.aligned_mtl import AlignedMTL
from evojax_mtl.balancing.cagrad import CAGrad
from evojax_mtl.balancing.conflict_free import ConFIG
from evojax_mtl.balancing.dualproj import DualProj
from evojax_mtl.balancing.dwa import DWA
from evojax_mtl.balancing.excess_mtl import ExcessMTL
from evojax_mtl.balancing.fairgrad import FairGrad
from evojax_mtl.balancing.famo import FAMO
from evojax_mtl.balancing.gls import GLS
from evojax_mtl.balancing.graddrop import kept
from evojax_mtl.balancing.gradnorm import GradNorm, GradNormState
from evojax_mtl.balancing.gradvac import vaccinated
from evojax_mtl.balancing.imtl_g import IMTLG
from evojax_mtl.balancing.imtl_l import IMTLL
from evojax_mtl.balancing.learning import start
from evojax_mtl.balancing.mgda import MGDA
from evojax_mtl.balancing.nash_mtl import NashMTL
from evojax_mtl.balancing.pcgrad import without_conflicts
from evojax_mtl.balancing.stch import STCH
from evojax_mtl.balancing.uncertainty import UncertaintyWeighting
from evojax_mtl.balancing.upgrad import UPGrad
from tests.balancing.toys import gramian, tasks_of, updated, weigh

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CASES = GOLDEN["gradients"]
SCALARS = GOLDEN["scalars"]

TORCHJD = {
    "upgrad": (UPGrad(), 1e-4),
    "dualproj": (DualProj(), 1e-4),
    # their conic solver leaves 2e-4
    "cagrad": (CAGrad(rescale=0), 5e-4),
    "cagrad-0.2": (CAGrad(c=0.2, rescale=0), 5e-4),
    "imtl-g": (IMTLG(), 1e-4),
    # their rounds end at 1e-3
    "nash-mtl": (NashMTL(), 1e-3),
    "nash-mtl-long": (NashMTL(max_norm=1e9), 1e-2),
    "aligned-mtl-min": (AlignedMTL("min"), 1e-4),
    "aligned-mtl-median": (AlignedMTL("median"), 1e-4),
    "aligned-mtl-rmse": (AlignedMTL("rmse"), 1e-4),
    "fairgrad-1": (FairGrad(1.0), 1e-3),
    "fairgrad-2": (FairGrad(2.0), 1e-3),
    "fairgrad-0.5": (FairGrad(0.5), 1e-3),
    "config": (ConFIG(), 1e-4),
    "mgda": (MGDA(), 1e-3),
}


def close(found, expected, relative=1e-4, size=None):
    found, expected = np.asarray(found, np.float64), np.asarray(expected)
    size = np.linalg.norm(expected) if size is None else size
    assert np.linalg.norm(found - expected) <= relative * size + 1e-12


def given(package):
    for case, values in CASES.items():
        for name in values.get(package, ()):
            yield case, name


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pair
        for pair in given("torchjd")
        # IMTL-G tells dependent gradients by their directions, torchjd by their sizes
        if pair[1] in TORCHJD and pair != ("dependent", "imtl-g")
    ],
)
def test_update_is_torchjds(case, name):
    method, tolerance = TORCHJD[name]
    values = CASES[case]
    close(
        updated(method, values["jacobian"]),
        values["torchjd"][name]["update"],
        tolerance,
        size=np.linalg.norm(values["jacobian"]) if name == "mgda" else None,
    )


@pytest.mark.parametrize("case", CASES)
def test_pcgrad_is_torchjds_in_its_order(case):
    values = CASES[case]
    jacobian, golden = values["jacobian"], values["torchjd"]["pcgrad"]
    orders = jnp.asarray(golden["drawn"])
    rows = jax.vmap(without_conflicts, in_axes=(None, 0, 0))(
        gramian(jacobian), jnp.arange(len(jacobian)), orders
    )
    close(np.asarray(rows).sum(0) @ np.asarray(jacobian), golden["update"])


@pytest.mark.parametrize("case", CASES)
def test_gradvac_is_torchjds_over_steps(case):
    golden = CASES[case]["torchjd"]
    tasks = len(CASES[case]["jacobian"])
    targets = jnp.zeros((tasks, tasks))
    everyone = jnp.ones(tasks, bool)
    each = jax.vmap(vaccinated, in_axes=(None, None, None, 0, 0, 0))
    for step, drawn, update in zip(
        golden["steps"], *map(golden["gradvac"].get, ("drawn", "updates")), strict=True
    ):
        # theirs is an order of the others, ours of all: the task itself is passed over
        orders = [
            [*[[j for j in range(tasks) if j != i][k] for k in order], i]
            for i, order in enumerate(drawn)
        ]
        g = gramian(step)
        rows, targets = each(
            g / jnp.max(jnp.diagonal(g)),
            everyone,
            0.5,
            jnp.arange(tasks),
            jnp.asarray(orders),
            targets,
        )
        close(np.asarray(rows).sum(0) @ np.asarray(step), update, 1e-3)


@pytest.mark.parametrize("case", CASES)
def test_graddrop_is_torchjds_with_its_numbers(case):
    values = CASES[case]
    jacobian, golden = np.asarray(values["jacobian"]), values["torchjd"]["graddrop"]
    mask = kept(jnp.asarray(jacobian), jnp.asarray(golden["drawn"][0]))
    close((np.asarray(mask) * jacobian).sum(0), golden["update"])


@pytest.mark.parametrize("case", CASES)
def test_excess_mtl_is_torchjds_over_steps(case):
    golden = CASES[case]["torchjd"]
    tasks = len(CASES[case]["jacobian"])
    method = ExcessMTL(step_size=0.3)
    aggregate = jax.jit(method.aggregate)
    state = method.init(jax.ShapeDtypeStruct(np.shape(golden["steps"][0]), jnp.float32))
    for step, update in zip(
        golden["steps"], golden["excess-mtl"]["updates"], strict=True
    ):
        step = jnp.asarray(step)
        found, state = aggregate(state, step, tasks_of(np.ones(tasks)))
        close(found, update, 1e-3)


LIBMTL = {
    # theirs never reaches a corner: 0.001 to 0.999
    "mgda-none": (MGDA("none", rescaled=True), 2e-3),
    "mgda-l2": (MGDA("l2", rescaled=True), 2e-3),
    "mgda-loss": (MGDA("loss", rescaled=True), 2e-3),
    "mgda-loss+": (MGDA("loss+", rescaled=True), 2e-3),
    "imtl-g": (IMTLG(), 1e-4),
    "cagrad": (CAGrad(), 5e-3),
}


@pytest.mark.parametrize(
    ("case", "name"), [(c, n) for c, n in given("libmtl") if n in LIBMTL]
)
def test_update_is_libmtls(case, name):
    method, tolerance = LIBMTL[name]
    values = CASES[case]
    close(
        updated(method, values["jacobian"], values["losses"]),
        values["libmtl"][name]["update"],
        tolerance,
    )


@pytest.mark.parametrize("case", [c for c, n in given("libmtl") if n == "pcgrad"])
@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_methods_without_an_order_of_two_are_libmtls(case, name):
    from evojax_mtl.balancing.registry import find_balancing

    values = CASES[case]
    found = updated(find_balancing(name).build(), values["jacobian"])
    close(found, values["libmtl"][name]["update"])


@pytest.mark.parametrize("case", [c for c, n in given("libmtl") if n == "gradnorm"])
def test_gradnorm_is_libmtls(case):
    values = CASES[case]
    golden = values["libmtl"]["gradnorm"]
    jacobian, losses = values["jacobian"], values["losses"]
    method = GradNorm(learning_rate=0.5)
    logits = start(jnp.ones(len(losses)))
    state = GradNormState(logits, jnp.asarray(golden["first"], jnp.float32))
    weights, new = weigh(method, jacobian, losses, state)
    close(np.asarray(weights) @ np.asarray(jacobian), golden["update"])
    # Adam's first moment is a tenth of the first slope
    close(10 * new.logits.adam.mu, golden["slope"], 1e-3)
    close(new.logits.values - 1, -0.5 * np.sign(golden["slope"]), 1e-3)


def combined(method, state, losses):
    """The scalar, its weights, the new state."""
    scalar = jax.jit(
        jax.value_and_grad(
            lambda x, state: method.combine(state, tasks_of(x)), has_aux=True
        )
    )
    (value, state), weights = scalar(jnp.asarray(losses), state)
    return value, weights, state


def test_gls_is_torchjds():
    for losses, golden in zip(SCALARS["losses"], SCALARS["gls"], strict=True):
        value, weights, _ = combined(GLS(), (), losses)
        close(value, golden["value"])
        close(weights, golden["weights"])


def test_stch_after_its_warmup_is_torchjds_of_log_ratios():
    method = STCH(mu=0.7, warmup=1, averaged=1)
    _, _, state = combined(method, method.init(3), SCALARS["losses"][0])
    for losses, golden in zip(SCALARS["losses"], SCALARS["stch"], strict=True):
        value, _, _ = combined(method, state, losses)
        close(value, 3 * golden)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("uncertainty", UncertaintyWeighting(learning_rate=0.1)),
        ("imtl-l", IMTLL(learning_rate=0.1)),
    ],
)
def test_learned_scales_are_torchjds(name, method):
    state = method.init(3)
    for losses, golden in zip(SCALARS["losses"], SCALARS[name], strict=True):
        value, weights, state = combined(method, state, losses)
        close(value, golden["value"])
        close(weights, golden["weights"])
        close(state.values, golden["learned"])


def test_dwa_is_torchjds():
    method = DWA(temperature=2.0, epoch=2)
    state = method.init(3)
    for i, golden in enumerate(SCALARS["dwa"]):
        losses = np.asarray(SCALARS["losses"][i % 4], np.float32) * (1 + i)
        _, weights, state = combined(method, state, losses)
        close(weights, golden)


def test_famo_is_torchjds_over_steps():
    method = FAMO()
    state = method.init(3)
    for i, golden in enumerate(SCALARS["famo"]):
        losses = SCALARS["losses"]
        value, weights, state = combined(method, state, losses[i % 4])
        close(value, golden["value"])
        close(weights, golden["weights"])
        state = method.observe(state, jnp.asarray(losses[(i + 1) % 4]))
        close(state.logits.values, golden["learned"], 1e-3)


def test_rlw_weighs_by_a_softmax_of_normal_numbers_as_torchjd(monkeypatch):
    from evojax_mtl.balancing.rlw import RLW

    golden = SCALARS["rlw"]
    drawn = jnp.asarray(golden["drawn"][0])
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: drawn)
    value, _ = RLW().combine((), tasks_of(SCALARS["losses"][0]))
    close(value, golden["value"])
