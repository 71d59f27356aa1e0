"""The peer of ``balancing`` against ours on a tiny case."""

import jax
import numpy as np
import pytest

from evojax_mtl.balancing.registry import BALANCING
from experiments.benchmarks import balancing


@pytest.fixture(scope="module")
def ours():
    pytest.importorskip("torchjd", reason="only the bench extra installs torchjd")
    return balancing.Ours(balancing.Size(height=16, batch=2, width=4))


def trainer(ours, name, **form):
    from experiments.benchmarks.torch_dense import Trainer

    methods = balancing.peer_methods(len(ours.names))
    images = np.asarray(ours.batch.images)
    labels = {name: np.asarray(array) for name, array in ours.batch.labels.items()}
    weights = ours.network.trees(ours.weights)
    return Trainer(weights, images, labels, methods[name](), **form)


def test_every_method_has_a_peer(ours):
    names = {*balancing.ON_LOSSES, *balancing.ON_GRADIENTS}
    assert set(balancing.peer_methods(3)) == names
    for name in names:
        on_losses = name in balancing.ON_LOSSES
        assert (BALANCING[name].kind == "losses") == on_losses


def test_the_peer_has_the_same_losses_and_the_same_step(ours):
    peer = trainer(ours, "equal", chunk=None, channels_last=False)
    balancer, system = ours.start("equal")
    after, metrics = jax.jit(ours.program(balancer))(
        system, ours.batch, jax.random.key(0)
    )
    losses = [loss.item() for loss in peer.gradients()]
    np.testing.assert_allclose(metrics["losses"], losses, rtol=1e-5)
    kernel = peer.encoder[0].weight
    slope = kernel.grad.permute(2, 3, 1, 0).numpy()
    peer.optimizer.step()
    # Adam's first step is the sign of the gradient, but where that is next to nothing
    trees = ours.network.trees(after.weights)
    moved = trees.encoder["stages"]["stem"]["conv"]["kernel"]
    sure = np.abs(slope) > 1e-4 * np.abs(slope).max()
    theirs = kernel.detach().permute(2, 3, 1, 0).numpy()
    np.testing.assert_allclose(moved[sure], theirs[sure], rtol=1e-4, atol=1e-6)
    layout = ours.network.stages[0].weights
    moments = layout.unravel(after.moments.mu["encoder"]["stages"]["stem"])
    moments = moments["conv"]["kernel"]
    np.testing.assert_allclose(10 * moments, slope, rtol=1e-3, atol=1e-5)


def test_kernels_change_nothing_until_they_are_active(ours):
    def losses(one):
        return np.asarray(one.work("equal")()["losses"])

    plain = losses(ours)
    np.testing.assert_allclose(losses(ours.mediative(False)), plain, rtol=1e-5)
    assert (np.abs(losses(ours.mediative(True)) - plain) > 1e-3).all()


@pytest.mark.parametrize("chunk", [None, 1])
def test_gradients_task_by_task_or_together_are_the_same(ours, chunk):
    import torch

    torch.manual_seed(0)
    peer = trainer(ours, "mgda", chunk=chunk, channels_last=chunk is None)
    values = peer.gradients()
    shared = list(peer.encoder.parameters())
    assert all(torch.isfinite(p.grad).all() for p in shared)
    # the least norm in the hull: no task's gradient opposes it
    update = torch.cat([p.grad.flatten() for p in shared])
    _, again = peer.forward()
    for value in again:
        own = torch.cat(
            [g.flatten() for g in torch.autograd.grad(value, shared, retain_graph=True)]
        )
        assert own @ update > -1e-3 * update.norm() * own.norm()
    assert len(values) == 3
