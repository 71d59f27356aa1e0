"""The benchmarks' harness, and the peer of ``ctr`` against ours on a tiny case."""

import json
import math

import jax
import numpy as np
import pytest

from evojax_mtl.evaluation.training import loss_and_gradients
from experiments.benchmarks import __main__ as command
from experiments.benchmarks import ctr, harness
from experiments.benchmarks.harness import Benchmark, BenchmarkError, Case

TINY = ctr.Size(tasks=2, side=12, filters=4, batch=2, classes=3, mutations=(2, 3))


def fake(ratio=2.0, name="fake"):
    def run(tell):
        tell("working")
        cases = [
            Case("a", 1.0, "peer", ratio, goal=1.5, max_abs_difference=1e-6),
            Case("b", 1.0, "peer", 3.0),
        ]
        return cases, [Case("c", 1.0, "ours", 0.9, goal=0.87)]

    return Benchmark(name, "nothing", run)


@pytest.fixture
def fake_command(monkeypatch):
    monkeypatch.setattr(command, "load", lambda name: fake(name=name))


def test_report_follows_the_contract():
    found = fake().report().to_json()
    assert set(found) == {"name", "cases", "ratio", "own", "work", "versions"}
    assert found["ratio"] == 2.0
    first, second = found["cases"]
    contract = {"case", "ours_seconds", "peer", "peer_seconds", "ratio"}
    assert contract | {"max_abs_difference", "goal"} <= set(first)
    assert contract <= set(second)
    assert "max_abs_difference" not in second
    assert found["versions"]["jax"] == jax.__version__


def test_json_is_all_that_standard_output_holds(fake_command, capsys):
    assert command.main(["fake", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["name"] == "fake"
    assert "working" in err


def test_table_tells_every_case(fake_command, capsys):
    assert command.main([]) == 0
    out = capsys.readouterr().out
    assert "ctr" in out
    assert "Smallest ratio against peers: 2.00" in out


def test_unknown_name_is_one_line(capsys):
    assert command.main(["nothing"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "found 'nothing', must be one of balancing, convolution, ctr" in err


def test_missing_peer_names_the_extra():
    with pytest.raises(BenchmarkError, match="bench extra"):
        harness.need("a_package_that_nobody_has")


def test_works_take_turns():
    turns = []
    works = [lambda: turns.append("ours"), lambda: turns.append("peer")]
    times = harness.interleave(works, rounds=3, budget=0.0)
    assert turns == ["ours", "peer"] * 4
    assert [len(found) for found in times] == [3, 3]


def test_fastest_peer_is_compared(monkeypatch):
    took = {"ours": 2.0, "slow": 9.0, "fast": 4.0}
    monkeypatch.setattr(harness, "seconds", lambda work: took[work()])
    case = harness.compare(
        "case",
        lambda: "ours",
        {"slow": lambda: "slow", "fast": lambda: "fast"},
        amount=(4, 2),
        rounds=2,
        budget=0.0,
    )
    assert (case.peer, case.ours_seconds, case.peer_seconds) == ("fast", 0.5, 2.0)
    assert case.ratio == 4.0
    assert case.spread == 0.0


def test_grown_networks_have_the_nodes_asked_for():
    architecture = ctr.grown(TINY)
    assert architecture.active.sum(1).tolist() == [8, 9, 9, 10]


@pytest.fixture(scope="module")
def ours():
    pytest.importorskip("torch")
    return ctr.Ours(TINY, ctr.grown(TINY), slack=1.5)


def test_peer_computes_the_same(ours):
    assert ctr.difference(ours, ours.params()) < 1e-5


def test_peer_has_the_same_gradients(ours):
    import torch

    from experiments.benchmarks.torch_ctr import Trainer

    params, key, data = ours.params(), jax.random.key(2), ours.data
    batch = data.sample(key, TINY.batch)
    evaluate = loss_and_gradients(ours.model, ours.search.inputs)
    tables = {"architecture": ours.architecture, "lists": ours.lists}
    loss, _, gradients = evaluate(params, batch, data.targets, key, 0.0, **tables)
    images = torch.tensor(np.asarray(batch.images)).permute(0, 1, 4, 2, 3)
    labels = torch.tensor(np.asarray(batch.labels), dtype=torch.long)
    kernels = np.asarray(gradients["supernet"]["operation_0"]["kernel"])
    merges = np.asarray(gradients["merge"])
    for channels_last in (False, True):
        networks = ctr.torch_networks(ours, params, channels_last).eval()
        everything = np.asarray(data.images), np.asarray(data.labels)
        trainer = Trainer(networks, *everything, batch=TINY.batch, threads=1)
        assert math.isclose(
            loss, trainer.gradients(images, labels).item(), rel_tol=1e-5
        )
        theirs = [c.weight.grad.permute(2, 3, 1, 0) for c in networks.convolutions]
        np.testing.assert_allclose(kernels, torch.stack(theirs), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            np.sort(merges[merges != 0]),
            np.sort(networks.scale.grad.numpy()),
            rtol=1e-3,
            atol=1e-4,
        )


def test_iterations_train(ours):
    work = ours.work(2)
    work()
    work()
