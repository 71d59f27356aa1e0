"""What the papers say of their updates, on gradients of several ranks and scales."""

import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.balancing.aligned_mtl import AlignedMTL
from evojax_mtl.balancing.cagrad import CAGrad
from evojax_mtl.balancing.conal import ConflictZeroing
from evojax_mtl.balancing.conflict_free import ConFIG
from evojax_mtl.balancing.db_mtl import DBMTL
from evojax_mtl.balancing.dualproj import DualProj
from evojax_mtl.balancing.fairgrad import FairGrad
from evojax_mtl.balancing.imtl_g import IMTLG
from evojax_mtl.balancing.mgda import MGDA
from evojax_mtl.balancing.moco import MoCo, on_simplex
from evojax_mtl.balancing.nash_mtl import NashMTL
from evojax_mtl.balancing.pcgrad import PCGrad
from evojax_mtl.balancing.upgrad import UPGrad
from tests.balancing.toys import stepped, updated, weigh


def jacobian(tasks, rank, seed=0):
    """Gradients of several norms; conflicts, as their directions are random."""
    draw = np.random.default_rng(100 * tasks + rank + seed)
    rows = draw.normal(size=(tasks, rank)) @ draw.normal(size=(rank, 12))
    return rows * np.exp(0.5 * draw.normal(size=(tasks, 1)))


def cone(tasks, seed=0):
    """Gradients with a common direction of descent, some of them in conflict."""
    draw = np.random.default_rng(tasks + seed)
    rows = draw.normal(size=(tasks, 12))
    rows[:, 0] = 0.5 + np.abs(rows[:, 0])
    return rows * np.exp(0.5 * draw.normal(size=(tasks, 1)))


SHAPES = [(2, 2), (3, 1), (3, 2), (3, 3), (5, 3), (8, 8)]
shapes = pytest.mark.parametrize(("tasks", "rank"), SHAPES)
scales = pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])


@shapes
@scales
@pytest.mark.parametrize("method", [UPGrad(), DualProj(), MGDA()], ids=type)
def test_the_update_conflicts_with_no_task(tasks, rank, scale, method):
    rows = scale * jacobian(tasks, rank)
    weights = np.asarray(weigh(method, rows)[0], np.float64)
    trace = np.linalg.norm(rows) ** 2
    ridge = getattr(method, "ridge", 0) * trace
    inner = rows @ (weights @ rows) + ridge * weights
    assert inner.min() >= -1e-5 * trace


@pytest.mark.parametrize("tasks", [2, 3, 6])
@pytest.mark.parametrize(
    "method", [ConFIG(), NashMTL(), FairGrad(2.0), IMTLG()], ids=type
)
def test_the_update_descends_all_where_it_can(tasks, method):
    rows = cone(tasks)
    assert (rows @ updated(method, rows) > 0).all()


@scales
@pytest.mark.parametrize(
    "method",
    [
        MGDA(),
        MGDA("l2"),
        PCGrad(),
        CAGrad(),
        IMTLG(),
        AlignedMTL("min"),
        AlignedMTL("median"),
        AlignedMTL("rmse"),
        UPGrad(),
        DualProj(),
        ConFIG(),
        ConflictZeroing(),
    ],
    ids=repr,
)
def test_the_update_scales_with_the_gradients(scale, method):
    rows = jacobian(4, 4)
    expected = updated(method, rows)
    found = updated(method, scale * rows) / scale
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.linalg.norm(expected))


@pytest.mark.parametrize("tasks", [1, 2, 3, 6, 20])
@scales
def test_nash_solves_the_bargaining_equation(tasks, scale):
    rows = scale * cone(tasks)
    weights, _ = weigh(NashMTL(max_norm=1e9), rows)
    weights = np.asarray(weights, np.float64)
    np.testing.assert_allclose(rows @ (weights @ rows) * weights, 1, rtol=1e-3)


def test_nash_is_no_longer_than_its_norm():
    np.testing.assert_allclose(
        np.linalg.norm(updated(NashMTL(max_norm=0.5), cone(3))), 0.5, rtol=1e-3
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("tasks", [2, 5, 20])
def test_fairgrad_solves_its_equation(tasks, alpha):
    rows = cone(tasks)
    weights, _ = weigh(FairGrad(alpha), rows)
    weights = np.asarray(weights, np.float64)
    inner = rows @ (weights @ rows)
    np.testing.assert_allclose(inner * weights ** (1 / alpha), 1, rtol=2e-3)


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_imtl_g_projects_equally_on_all(tasks):
    rows = jacobian(tasks, 12)
    weights, _ = weigh(IMTLG(), rows)
    update = np.asarray(weights, np.float64) @ rows
    projections = rows @ update / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(projections, projections[0], rtol=2e-3)
    np.testing.assert_allclose(np.sum(weights), 1, rtol=1e-4)


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_config_has_one_cosine_with_all(tasks):
    rows = jacobian(tasks, 12)
    update = updated(ConFIG(), rows)
    cosines = rows @ update / np.linalg.norm(rows, axis=1) / np.linalg.norm(update)
    np.testing.assert_allclose(cosines, cosines[0], rtol=2e-3)
    projections = rows @ update / np.linalg.norm(update)
    np.testing.assert_allclose(projections.sum(), np.linalg.norm(update), rtol=1e-3)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_cagrad_is_the_best_for_the_worst_task(tasks, c):
    rows = cone(tasks)
    mean = rows.mean(0)
    update = updated(CAGrad(c, rescale=0), rows)
    radius = c * np.linalg.norm(mean)
    np.testing.assert_allclose(
        np.linalg.norm(update - mean), radius, atol=1e-4 * np.linalg.norm(mean)
    )
    worst = (rows @ update).min()
    draw = np.random.default_rng(0)
    for _ in range(200):
        step = draw.normal(size=12)
        other = mean + radius * step / np.linalg.norm(step)
        other = update + 0.05 * (other - update)  # within the ball, which is convex
        assert (rows @ other).min() <= worst + 1e-4 * np.linalg.norm(rows) ** 2 * c


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_aligned_gradients_have_components_of_one_size(tasks):
    # B = sqrt(scale) G^(-1/2) makes B G B' a multiple of the identity
    rows = jacobian(tasks, 12)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    root = np.sqrt(values[0]) * (vectors / np.sqrt(values)) @ vectors.T
    expected = root.mean(1) @ rows
    found = updated(AlignedMTL("min"), rows)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.linalg.norm(expected))


def test_pcgrad_leaves_gradients_without_conflict_alone():
    rows = np.abs(jacobian(3, 12))
    np.testing.assert_allclose(weigh(PCGrad(), rows)[0], np.ones(3))


def test_conal_stops_a_layer_in_conflict_alone():
    conflict = np.array([[1.0, 0.0], [-1.0, 1.0]])
    peace = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert not updated(ConflictZeroing(), conflict).any()
    np.testing.assert_allclose(updated(ConflictZeroing(), peace), [1.0, 0.5])


@pytest.mark.parametrize("normalizer", ["none", "l2", "loss", "loss+"])
def test_normalised_mgda_has_the_least_norm_of_its_gradients(normalizer):
    rows, losses = cone(3), np.array([0.5, 2.0, 1.0])
    norms = np.linalg.norm(rows, axis=1)
    sizes = {
        "none": np.ones(3),
        "l2": norms,
        "loss": losses,
        "loss+": losses * norms,
    }[normalizer]
    normal = rows / sizes[:, None]
    rescaled = updated(MGDA(normalizer, rescaled=True), rows, losses)
    weights, _ = weigh(MGDA(normalizer), rows, losses)
    weights = np.asarray(weights, np.float64)
    np.testing.assert_allclose(rescaled, weights @ normal, rtol=1e-4, atol=1e-5)
    inner = normal @ rescaled
    assert inner.min() >= rescaled @ rescaled - 1e-5 * (normal**2).sum(1).max()


def test_db_mtl_gives_smoothed_log_gradients_one_norm():
    first, second = jacobian(3, 12), jacobian(3, 12, seed=1)
    losses = np.array([0.5, 2.0, 1.0])
    state, smooth = None, np.zeros_like(first)
    for step, rows in enumerate((first, second), 1):
        found = stepped(DBMTL(beta=0.9, sigma=0.5), rows, losses, state)
        state = found.state
        log_gradients = rows / losses[:, None]
        past = 0.9 / step**0.5
        smooth = log_gradients + past * (smooth - log_gradients)
        norms = np.linalg.norm(smooth, axis=1)
        expected = (norms.max() / norms) @ smooth
        np.testing.assert_allclose(found.update, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_moco_follows_its_equations(variant):
    losses = np.array([0.5, 2.0, 1.0])
    state, tracked, weights = None, np.zeros((3, 12)), np.ones(3) / 3
    for step in (1, 2, 3):
        rows = jacobian(3, 12, seed=step)
        found = stepped(MoCo(rho=0.1, variant=variant), rows, losses, state)
        state = found.state
        if variant == "code":
            rows = rows / np.linalg.norm(rows, axis=1)[:, None] * losses[:, None]
        tracked = tracked - 0.5 / step**0.5 * (tracked - rows)
        pull = (tracked @ tracked.T + 0.1 * np.eye(3)) @ weights
        moved = weights - 0.1 / step**0.5 * pull
        if variant == "code":
            weights = np.exp(moved) / np.exp(moved).sum()
        else:
            low, high = -100.0, 100.0  # the offset of the projection, by bisection
            for _ in range(100):
                middle = (low + high) / 2
                over = np.maximum(moved - middle, 0).sum() > 1
                low, high = (middle, high) if over else (low, middle)
            weights = np.maximum(moved - middle, 0)
        np.testing.assert_allclose(found.update, weights @ tracked, atol=2e-4)


def test_the_projection_on_the_simplex_is_the_nearest_point():
    point = jnp.asarray([0.9, 0.4, -0.5])
    found = on_simplex(point, jnp.ones(3, bool))
    np.testing.assert_allclose(found, [0.75, 0.25, 0.0], atol=1e-6)
    found = on_simplex(point, jnp.asarray([False, True, True]))
    np.testing.assert_allclose(found, [0.0, 0.95, 0.05], atol=1e-6)
