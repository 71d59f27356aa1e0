"""The final training of networks of small searches."""

import dataclasses
from functools import cached_property, lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from evojax_mtl.evaluation.augmented import Augmentation
from evojax_mtl.final_configs import epochs_between_falls, final_preset
from evojax_mtl.genomes.graphs import FIXED
from evojax_mtl.networks.preprocessing import IMAGES as WAYS
from evojax_mtl.search.final_training import after
from evojax_mtl.tasks.dataset import TEST, VALIDATION
from tests.networks.reference import plain_images
from tests.search.cases import LABELS, assert_same_bits, compiled, entry_of, host

CHANGES = {
    # 80 examples a generation of the 108 that a task trains on
    "cmtr": {
        "widen": 1.5,
        "iterations": 20,
        "schedule": "decay",
        "decay_epochs": 1,
    },
    "leaf@images": {"test_copies": 3, "patience": 1},
}
IMAGES = "leaf@images"
READ = "imagenet"
"""Preprocessing of its network."""


class Final:
    """A final training of the largest network that a search begins with."""

    def __init__(self, label, **changes):
        self.case = case = compiled(label)
        networks = jax.device_get(case.init().assembled.network)
        one = networks.chain if label == "cmtr" else networks
        largest = int(one.architecture.active.sum(-1).argmax())
        found = jax.tree.map(lambda x: x[largest], networks)
        if label == IMAGES:
            found = found.replace(preprocessing=np.int32(list(WAYS).index(READ)))
        self.found = found
        searched = case.search.config
        if label == "cmtr":
            # quick to compile; the genes of modules are for any kernels
            searched = dataclasses.replace(searched, largest_kernel=1)
        config = dataclasses.replace(final_preset(searched, "tiny"), **changes)
        kind = after(type(case.search))
        self.search = kind(config, searched, self.found, case.data)
        self.rates = host(self.search.hyperparameters())
        self.ticks = self.search.ticks(case.data)
        self._advance = jax.jit(self.search.advance)

    def advance(self, state, start=0, stop=None):
        stop = self.ticks if stop is None else stop
        ends = np.int32(start), np.int32(stop)
        return self._advance(state, self.rates, self.case.data, *ends)

    @cached_property
    def states(self):
        """The states before, between and after the generations; their metrics."""
        key, data = jax.random.key(0), self.case.data
        state = jax.jit(self.search.init)(key, self.rates, data)
        states, metrics = [state], []
        for _ in range(self.search.training_config.generations):
            state, told = self.advance(self.search.grow(state))
            states.append(state)
            metrics.append(jax.device_get(told))
        return states, metrics


@lru_cache
def final(label):
    return Final(label, **CHANGES[label])


@pytest.fixture(params=CHANGES)
def trained(request):
    return final(request.param)


def test_the_best_measured_snapshot_is_kept_and_tested(trained):
    states, metrics = trained.states
    measured = [told["mean_validation"] for told in metrics]
    assert len(set(np.round(measured, 6))) > 1
    np.testing.assert_allclose(metrics[-1]["kept"].mean(), max(measured), rtol=1e-6)
    best = states[1 + int(np.argmax(measured))]
    held = states[-1].best
    assert_same_bits(held.params, best.params)
    assert_same_bits(held.routing, best.routing)


def test_it_starts_from_scratch_and_goes_on(trained):
    (begun, *states), metrics = trained.states
    iterations = trained.search.iterations
    for number, state in enumerate(states, 1):
        count = jax.tree.leaves(state.optimizer)[0]
        assert count == number * iterations
        assert_same_bits(state.network, begun.network)
    assert not {"species", "final_training"} & metrics[0].keys()
    assert trained.search.finished(states[-1]) is False


def test_a_generation_cut_in_pieces_has_the_same_bits():
    trained = final(IMAGES)
    states, metrics = trained.states
    state = states[1]
    cuts = (0, 7, trained.search.iterations + 2, trained.ticks)
    for start, stop in pairwise(cuts):
        state, told = trained.advance(state, start, stop)
    assert_same_bits(state, states[2])
    assert_same_bits(told, metrics[1])


def test_the_rate_falls_after_so_many_epochs():
    trained = final("cmtr")
    states, metrics = trained.states
    size = trained.search.mean_train
    assert 80 < size < 120
    shares = [told["learning_rate_share"] for told in metrics]
    np.testing.assert_allclose(shares, [1, 0.1, 0.01], rtol=1e-6)
    kernels = [s.params["layers"]["kernels"] for s in states[1:]]
    steps = [np.abs(b - a).max() for a, b in pairwise(kernels)]
    rate = trained.rates["learning_rate"] * states[-1].network.learning_rate
    # of 20 iterations 7 are left at the whole rate, and Adam's steps are no larger
    assert 2 * rate < steps[0] < 10 * rate
    assert steps[1] < 20 * 0.12 * rate


def test_a_plateau_lowers_the_rate():
    trained = final(IMAGES)
    states, metrics = trained.states
    measured = np.array([told["mean_validation"] for told in metrics])
    expected, best = [1.0], 1 - measured[0]
    for fitness in measured[1:]:
        better = 1 - fitness < best * (1 - 1e-4)
        best = min(best, 1 - fitness) if better else best
        expected.append(expected[-1] * (1 if better else 0.1))
    shares = [told["learning_rate_share"] for told in metrics]
    np.testing.assert_allclose(shares, expected, rtol=1e-6)
    # without progress, as if the best had been measured before
    plateau = states[2].plateau._replace(best_value=jnp.float32(0))
    _, told = trained.advance(states[2].replace(plateau=plateau))
    share = told["learning_rate_share"] / states[2].plateau.scale
    np.testing.assert_allclose(share, 0.1, rtol=1e-6)


def test_every_layer_has_more_filters():
    trained = final(IMAGES)
    states, _ = trained.states
    assert trained.search.training_config.widen == 2
    network = trained.search.found
    computes = network.architecture.active & (network.architecture.operation > 0)
    old, new = trained.found.layers, network.layers
    convolves = (
        computes & (np.array(trained.search.maps.kernels) != "dropout")[new.kernel]
    )
    assert convolves.any()
    np.testing.assert_array_equal(new.filters[convolves], 2 * old.filters[convolves])
    weights = 0
    for node in np.flatnonzero(convolves):
        side = int(trained.search.maps.kernels[new.kernel[node]].split("x")[-1])
        if network.architecture.slot[node] == node:
            weights += int(new.filters[node]) * (side**2 * int(new.inputs[node]) + 1)
    heads = states[-1].best.params["heads"]["kernel"]
    # three pixels a side, of all channels
    assert heads.shape[1] == 3 * 3 * 8
    weights += (heads.shape[1] + 1) * sum(trained.search.classes)
    found = trained.search.describe(jax.device_get(states[-1]))
    scales = trained.case.data.tasks * trained.search.links()
    assert 0 <= found["parameters"] - weights <= scales
    layers = [n for m in found["modules"] for n in m["nodes"] if "filters" in n]
    assert max(n["filters"] for n in layers) <= trained.search.config.filters == 8


def test_the_modules_of_a_set_have_more_filters():
    trained = final("cmtr")
    states, metrics = trained.states
    members = states[-1].best.network
    old, new = trained.found, jax.device_get(members)
    computes = np.asarray(old.chain.architecture.active) & (
        np.asarray(old.chain.architecture.operation) > 0
    )
    before, now = old.chain.layers.filters[computes], new.chain.layers.filters[computes]
    np.testing.assert_array_equal(now, np.floor(1.5 * before + 0.5))
    assert (now > before).any()
    for name in ("activation", "dropout", "decay"):
        pair = (getattr(x.chain.layers, name)[computes] for x in (old, new))
        np.testing.assert_array_equal(*pair)
    # routings begin as chains and gain a node at most a meta-iteration
    chain = FIXED + trained.search.config.depth
    assert (states[0].routing.nodes == chain).all()
    for number, state in enumerate(states):
        assert (state.routing.nodes <= chain + number).all()
    assert metrics[-1]["nodes"].shape == (trained.case.data.tasks,)
    assert (states[1].routing.nodes[..., 1] == chain + 1).any()


def test_images_are_augmented_in_training_and_not_where_it_is_measured(monkeypatch):
    trained, seen = final(IMAGES), []

    def change(self, key, images):
        seen.append(images.shape)
        return images

    monkeypatch.setattr(Augmentation, "__call__", change)
    search, data = trained.search, trained.case.data
    state = trained.states[0][0]
    ends = np.int32(0), np.int32(1)
    # a function of its own, or the traced one would be found
    jax.eval_shape(lambda *x: search.advance(*x), state, trained.rates, data, *ends)
    shape = (data.tasks, search.config.batch, *data.images.shape[2:])
    assert seen == [shape]
    assert search.augmentation == Augmentation(False, 10.0, 0.1)


def test_images_are_measured_as_they_are_and_tested_in_copies():
    trained = final(IMAGES)
    search, data, copies = trained.search, trained.case.data, 3
    states, metrics = trained.states
    state, size = search.final_state(states[-1]), search.config.batch
    # what the network reads is preprocessed here, after the changes
    model = dataclasses.replace(
        search.model(state.rows, state.weights), preprocessing=()
    )
    augment = jax.jit(search.augmentation)
    told = search.describe(jax.device_get(states[-1]))
    assert (told["preprocessing"], told["optimizer"]) == (READ, "adam")

    @jax.jit
    def outputs(state, images):
        lists = model.lists(state.network)
        return model.apply(state.params, lists, images, state.key, 0.0)

    def scores(split, keys):
        """Of the mean over the changes of images by some keys; None is no change."""
        found = [], []
        for index in range(data.batches(split, size)):
            batch = data.batch_at(split, index, size)
            plain = batch.images
            images = [plain if k is None else augment(k, plain) for k in keys]
            images = [plain_images(READ, x).astype(np.float32) for x in images]
            logits = np.array([outputs(state, x) for x in images], np.float64)
            means = expit(logits[:, 0]).mean(0), softmax(logits[:, 1], -1).mean(0)
            for own, mean, known, labels in zip(
                found, means, np.asarray(batch.mask), batch.labels, strict=True
            ):
                own += zip(mean[known], np.asarray(labels)[known], strict=True)
        means, labels = (np.array(x) for x in zip(*found[0], strict=True))
        there = labels[:, None] >> np.arange(LABELS) & 1
        right = [mean.argmax() == label for mean, label in found[1]]
        return [roc_auc_score(there, means[:, :LABELS]), np.mean(right)]

    kept = scores(VALIDATION, [None])
    np.testing.assert_allclose(metrics[-1]["kept"], kept, rtol=1e-5)
    key = jax.random.fold_in(state.key, search.training_config.generations)
    expected = scores(TEST, list(jax.random.split(key, copies)))
    measured = jax.jit(search.measure)(states[-1], trained.rates, data)
    np.testing.assert_allclose(measured["score"], expected, rtol=1e-5)
    assert scores(TEST, [None]) != pytest.approx(expected, rel=1e-4)


def test_each_method_has_the_papers_training():
    told = {}
    for method in ("cm", "cmsr", "cmtr", "leaf@images", "leaf@architecture"):
        searched = entry_of(method).configure("paper")
        config = final_preset(searched, "paper")
        length = config.generations, config.iterations
        told[method] = (*length, config.schedule)
        changed = dataclasses.replace(config, schedule="decay")
        told[method] += (epochs_between_falls(searched, changed),)
    assert told == {
        "cm": (30, 1000, "decay", 10),
        "cmsr": (30, 1000, "decay", 10),
        "cmtr": (120, 250, "fixed", 10),
        "leaf@images": (100, None, "plateau", 20),
        "leaf@architecture": (10, None, "fixed", 10),
    }
    images = final_preset(entry_of("leaf@images").configure("paper"), "paper")
    assert (images.flip, images.test_copies) == (True, 20)
    assert min(images.widen - 1, images.rotation, images.translation) > 0
