"""Retraining: its schedule and steps against PyTorch's rules, and that it learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evojax_mtl.configs import flag
from evojax_mtl.errors import UserError
from evojax_mtl.evaluation import retrain_records
from evojax_mtl.evaluation.retrain_config import RetrainConfig
from evojax_mtl.evaluation.retrain_data import examples
from evojax_mtl.evaluation.retrain_records import Examples, Training, no_steps
from evojax_mtl.evaluation.retraining import Retraining, retrain
from evojax_mtl.networks.cell_network import CellNetwork
from evojax_mtl.tasks.task import Split

PROTOTYPES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1))
IDENTITIES = (0, 1, 6, 6) * 10


def split(seed, n):
    """Noisy copies of three images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)
    images = PROTOTYPES[labels] + rng.normal(0, 50, (n, 8, 8, 1))
    images = np.clip(images, 0, 255).astype(np.uint8)
    return Split(images, labels, np.ones(n, bool))


class Linear(nn.Module):
    """A linear layer with what else a plain network has: statistics, a second head."""

    auxiliary: bool = False

    @nn.compact
    def __call__(self, images, drop_path=0.0, *, train=False):
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if train:
            mean.value = 0.9 * mean.value + 0.1 * images.mean()
        flat = images.reshape(len(images), -1)
        logits, second = nn.Dense(3)(flat), nn.Dense(3)(flat)
        return logits, second if self.auxiliary and train else None


def test_it_learns_and_does_not_compile_anew():
    config = RetrainConfig(epochs=10, batch=16, test_batch=32, learning_rate=0.1)
    network = CellNetwork(IDENTITIES, 4, 1, 3)
    seen = []
    done = retrain(
        network,
        split(1, 100),
        split(2, 50),
        config,
        jax.random.key(0),
        normalise=lambda images: (images - 0.5) / 0.25,
        report=seen.append,
    )
    assert seen == done.history
    assert [metrics.epoch for metrics in seen] == list(range(1, 11))
    assert seen[-1].loss < seen[0].loss / 2
    assert done.last.accuracy > 0.7
    assert done.best.accuracy == max(metrics.accuracy for metrics in seen)
    for tested in (done.last, done.best):
        counts = np.bincount(split(2, 50).labels, minlength=3)
        np.testing.assert_array_equal(tested.confusion.sum(1), counts)
        assert np.trace(tested.confusion) / 50 == pytest.approx(tested.accuracy)
    moved = jax.tree.leaves(done.variables["batch_stats"])
    assert all(np.isfinite(leaf).all() for leaf in moved)


def test_epochs_run_one_program_and_depend_on_key_and_epoch_alone():
    part = Retraining(Linear(), RetrainConfig(epochs=4, batch=16))
    data = examples(split(1, 40))

    def run(key):
        state = part.init(jax.random.key(0), data.images)
        losses = []
        for epoch in range(3):
            state, metrics = part.epoch(state, data, epoch, jax.random.key(key))
            losses.append(metrics.loss)
            assert metrics.skipped == 0
        return losses

    assert run(1) == run(1) != run(2)
    assert part.advance._cache_size() == 1


def test_an_epoch_in_parts_is_the_epoch():
    part = Retraining(Linear(), RetrainConfig(epochs=4, batch=16))
    data, key = examples(split(1, 60)), jax.random.key(1)
    whole, metrics = part.epoch(part.init(key, data.images), data, 1, key)
    part.compile(key, data, data)
    state = part.init(key, data.images)
    for start, stop in ((0, 1), (1, 3)):
        limits = np.array([1, start, stop], np.int32)
        state = part.advance(state, data, *limits, key)
    jax.tree.map(np.testing.assert_array_equal, whole, state)
    assert part.metrics(state, data, 1) == metrics
    assert 0 < metrics.train_accuracy < 1


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("clip", [0.05, 5.0])
def test_steps_are_those_of_pytorch(nesterov, clip):
    torch = pytest.importorskip("torch")
    config = RetrainConfig(
        epochs=3,
        batch=16,
        clip=clip,
        weight_decay=0.05,
        nesterov=nesterov,
        auxiliary_weight=0.4,
    )
    part = Retraining(Linear(auxiliary=True), config)
    data = examples(split(1, 16))  # one batch an epoch, in any order
    state = part.init(jax.random.key(0), data.images)
    heads = []
    for name in ("Dense_0", "Dense_1"):
        own = state.params[name]
        head = torch.nn.Linear(64, 3)
        with torch.no_grad():
            head.weight.copy_(torch.tensor(np.asarray(own["kernel"]).T))
            head.bias.copy_(torch.tensor(np.asarray(own["bias"])))
        heads.append(head)
    both = torch.nn.ModuleList(heads)
    sgd = torch.optim.SGD(
        both.parameters(), 0.025, momentum=0.9, weight_decay=0.05, nesterov=nesterov
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 3)
    x = torch.tensor(np.asarray(data.images, np.float32).reshape(16, -1) / 255)
    y = torch.tensor(np.asarray(data.labels)).long()
    entropy = torch.nn.CrossEntropyLoss()
    for epoch in range(3):
        state, metrics = part.epoch(state, data, epoch, jax.random.key(1))
        sgd.zero_grad()
        own = entropy(both[0](x), y)
        (own + 0.4 * entropy(both[1](x), y)).backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), clip)
        sgd.step()
        cosine.step()
        assert metrics.loss == pytest.approx(own.item(), rel=1e-4)
    for name, head in zip(("Dense_0", "Dense_1"), both, strict=True):
        kernel = state.params[name]["kernel"]
        expected = head.weight.detach().numpy().T
        np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-5)


def test_rates_fall_by_a_cosine_and_rise_linearly():
    part = Retraining(Linear(), RetrainConfig(epochs=4))
    rates = [part.rates(jnp.int32(epoch)) for epoch in range(4)]
    fall = 0.025 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose([rate for rate, _ in rates], fall, rtol=1e-6)
    rise = [0, 0.075, 0.15, 0.225]
    np.testing.assert_allclose([path for _, path in rates], rise, rtol=1e-6)


def test_rates_fall_by_a_factor():
    part = Retraining(Linear(), RetrainConfig(learning_rate=0.1, decay=0.97))
    rates = [float(part.rates(jnp.int32(epoch))[0]) for epoch in (0, 1, 2, 249)]
    expected = [0.1, 0.097, 0.09409, 0.1 * 0.97**249]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_smoothed_labels_are_those_of_optax():
    config = RetrainConfig(label_smoothing=0.1, auxiliary_weight=0.4)
    part = Retraining(Linear(auxiliary=True), config)
    data = examples(split(1, 16))
    state = part.init(jax.random.key(0), data.images)
    images, labels = data.take(jnp.arange(16))
    arguments = (images, labels, 0.0, jax.random.key(1))
    total, (own, *_) = part._loss(state.params, state.batch_stats, *arguments)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 3), 0.1)
    expected = []
    for name in ("Dense_0", "Dense_1"):
        head = state.params[name]
        logits = images.reshape(16, -1) @ head["kernel"] + head["bias"]
        expected.append(float(optax.softmax_cross_entropy(logits, targets).mean()))
    assert float(own) == pytest.approx(expected[0], rel=1e-5)
    assert float(total) == pytest.approx(expected[0] + 0.4 * expected[1], rel=1e-5)


class Pixels(nn.Module):
    """The pixels are the logits."""

    @nn.compact
    def __call__(self, images, drop_path=0.0, *, train=False):
        return images.reshape(len(images), -1), None


def test_counts_of_a_test_are_numpys_and_leave_out_what_does_not_count():
    rng = np.random.default_rng(0)
    images = rng.permuted(np.tile(np.arange(7), (40, 1)), axis=1).astype(np.uint8)
    labels = rng.integers(0, 7, 40).astype(np.int32)
    labels[rng.permutation(40)[:5]] = -1
    data = Examples(jnp.asarray(images[:, None, :, None]), jnp.asarray(labels))
    part = Retraining(Pixels(), RetrainConfig(test_batch=16))
    state = Training({}, {}, {}, no_steps())
    done = retrain_records.Tested.of(3, part.test(state, data))
    own, order = labels >= 0, np.argsort(-images.astype(int), 1)
    hits = order[own] == labels[own, None]
    assert done.accuracy == pytest.approx(hits[:, 0].mean())
    assert done.top_five == pytest.approx(hits[:, :5].any(1).mean())
    assert 0 < done.accuracy < done.top_five < 1
    counts = np.bincount(labels[own], minlength=7)
    np.testing.assert_array_equal(done.confusion.sum(1), counts)
    # five classes: all of them are among the five likeliest
    few = Examples(data.images[:, :, :5], jnp.minimum(data.labels, 4))
    assert retrain_records.Tested.of(3, part.test(state, few)).top_five is None


def test_a_step_that_is_not_finite_changes_nothing():
    def poison(key, images):
        return images * jnp.nan

    part = Retraining(Linear(), RetrainConfig(epochs=2, batch=8), augment=poison)
    data = examples(split(1, 16))
    state = part.init(jax.random.key(0), data.images)
    before = jax.tree.map(np.array, state)
    after, metrics = part.epoch(state, data, 0, jax.random.key(1))
    assert metrics.skipped == 2
    assert np.isnan([metrics.loss, metrics.train_accuracy]).all()
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_training_sees_augmented_images_and_the_test_normalised_ones():
    def augment(key, images):
        assert images.shape == (8, 8, 8, 1)
        return jnp.full_like(images, 3.0)

    part = Retraining(
        Linear(),
        RetrainConfig(epochs=2, batch=8),
        augment,
        normalise=lambda images: images * 0 - 1,
    )
    data = examples(split(1, 8))
    state = part.init(jax.random.key(0), data.images)
    state, _ = part.epoch(state, data, 0, jax.random.key(1))
    assert float(state.batch_stats["mean"]) == pytest.approx(0.3)
    # one image for all: one class is chosen
    counts = part.test(state, data)
    assert (np.asarray(counts.confusion).sum(0) > 0).sum() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("drop_path", 1.0),
        ("momentum", -0.1),
        ("learning_rate", 0.0),
        ("clip", 0.0),
        ("weight_decay", -1.0),
        ("test_every", 0),
        ("decay", 0.0),
        ("decay", 1.1),
        ("label_smoothing", 1.0),
    ],
)
def test_fields_have_bounds(field, value):
    with pytest.raises(UserError, match=f"{flag(field)}: found {value}, must be"):
        RetrainConfig(**{field: value})
