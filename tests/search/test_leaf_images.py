"""LEAF on images: what it is measured by, where its blueprints grow, how it ends."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evojax_mtl.errors import UserError
from evojax_mtl.search.leaf_images import LEAFImages
from evojax_mtl.tasks.dataset import VALIDATION
from tests.networks.reference import plain_images
from tests.search.cases import LABELS, assert_same_bits, compiled


@pytest.fixture(scope="module")
def case():
    return compiled("leaf@images")


def test_fitness_is_the_area_where_an_image_may_have_several_labels(case):
    search, (state, metrics) = case.search, case.run()
    assert search.metrics == ("auroc", "accuracy")
    final = search.final_state(state)
    # what the network reads is preprocessed here
    model = dataclasses.replace(
        search.model(state.rows, state.weights), preprocessing=()
    )
    name = search.preprocessing[int(final.network.preprocessing)]
    batch = case.data.batch_at(VALIDATION, 0, search.counted)

    @jax.jit
    def outputs(state, images):
        lists = model.lists(state.network)
        return model.apply(state.params, lists, images, state.key, 0.0)

    images = plain_images(name, batch.images).astype(np.float32)
    logits = np.asarray(outputs(final, images))
    known = np.asarray(batch.mask[0])
    there = np.asarray(batch.labels[0])[known, None] >> np.arange(LABELS) & 1
    area = roc_auc_score(there, logits[0, known, :LABELS])
    right = (logits[1].argmax(-1) == batch.labels[1])[np.asarray(batch.mask[1])]
    np.testing.assert_allclose(metrics["kept"], [area, right.mean()], rtol=1e-5)
    again = jax.jit(search.measure)(state, case.rates, case.data.only(VALIDATION))
    np.testing.assert_allclose(again["score"], metrics["kept"], rtol=1e-5)
    assert area not in (0, 0.5, 1)


def test_blueprints_grow_at_rates_of_their_own(case):
    still = {"add_node": 0.0, "add_connection": 0.0, "add_blueprint_connection": 0.0}
    rates = dict(case.rates) | {k: np.float32(v) for k, v in still.items()}
    rates["add_blueprint_node"] = np.float32(1)
    begun = case.init()
    _, metrics = case.advance(begun, rates)
    assert metrics["module_nodes"] == 1
    assert metrics["table_nodes"] > 1
    swapped = {"add_node": np.float32(1), "add_blueprint_node": np.float32(0)}
    _, metrics = case.advance(begun, rates | swapped)
    assert metrics["module_nodes"] > 1
    assert metrics["table_nodes"] == 1


def test_what_is_trained_longer_is_on_no_front(case):
    state, metrics = case.run(0, case.search.config.generations - 1)
    assert metrics["final_training"] == 0
    last, metrics = case.advance(case.search.grow(state))
    assert metrics["final_training"] == 1
    assert_same_bits(last.front, state.front)
    assert metrics["kept"].mean() >= state.best.fitness.mean()


def test_the_first_batches_alone_may_give_fitness(case):
    whole = case.search
    config = dataclasses.replace(whole.config, validation_batches=2)
    some = LEAFImages(config, case.data)
    span = some.ticks(case.data) // config.networks
    assert span == some.iterations + 2
    assert some.counted == 2 * config.batch


def test_areas_need_examples_of_both_kinds(case):
    config = case.search.config
    # the first three of the validation examples
    few = dataclasses.replace(config, batch=3, validation_batches=1, fitness="auroc")
    task = case.data.replace(labels=np.zeros_like(case.data.labels))
    with pytest.raises(
        UserError, match=r"--fitness: found auroc, but of the .*findings"
    ):
        LEAFImages(few, task)
    assert LEAFImages(dataclasses.replace(few, fitness="accuracy"), task)
