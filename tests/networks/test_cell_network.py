"""Plain networks of fixed cells: sizes as published, operations as in PyTorch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.evaluation.complexity import complexity
from evojax_mtl.genomes.cells import OPERATIONS
from evojax_mtl.genomes.genotypes import EMT_C10, EMT_C100, KT_C10, KT_C100
from evojax_mtl.networks.cell_network import (
    CellNetwork,
    ImageNetStem,
    SearchOperation,
)
from evojax_mtl.networks.darts_network import (
    AuxiliaryHead,
    DartsNetwork,
    DartsOperation,
    FactorizedReduce,
)

# one separable and one dilated convolution, a pair of equal edges; the rest is cheap
_OPEN = (1, 0, 6, 8, 2, 2, 0, 0, 0, 1, 7, 6, 3, 1, 4, 6, 0, 1, 6, 6)
CHEAP = _OPEN + _OPEN


@pytest.mark.parametrize(
    ("network", "millions"),
    [
        (DartsNetwork(KT_C10, 48, 3, 10), "2.97"),
        (DartsNetwork(KT_C100, 42, 3, 100), "2.92"),
    ],
)
def test_parameters_of_ktnas_are_those_printed(network, millions):
    assert f"{complexity(network, (32, 32, 3)).parameters / 1e6:.2f}" == millions


@pytest.mark.parametrize(
    ("code", "stack", "classes", "millions", "paper"),
    [
        (EMT_C10, 2, 10, "2.20", 2.17),
        (EMT_C10, 3, 10, "2.94", 2.91),
        (EMT_C100, 2, 100, "2.25", 2.23),
        (EMT_C100, 3, 100, "3.00", 2.97),
    ],
)
def test_parameters_of_emt_nas_are_near_those_printed(
    code, stack, classes, millions, paper
):
    network = CellNetwork(code, 48, stack, classes, shared=False)
    found = complexity(network, (32, 32, 3)).parameters / 1e6
    assert f"{found:.2f}" == millions
    assert abs(found / paper - 1) < 0.015


@pytest.mark.parametrize(
    ("code", "stack", "millions", "paper"),
    [
        (EMT_C10, 2, "2.42", 2.38),
        (EMT_C10, 3, "3.17", 3.13),
        (EMT_C100, 2, "2.45", 2.49),
        (EMT_C100, 3, "3.20", 3.25),
    ],
)
def test_parameters_on_imagenet_are_near_those_printed(code, stack, millions, paper):
    network = CellNetwork(code, 48, stack, 1000, shared=False, stem="imagenet")
    size = complexity(network, (224, 224, 3))
    found = size.parameters / 1e6
    assert f"{found:.2f}" == millions
    assert abs(found / paper - 1) < 0.02
    # the mobile setting of the field
    assert size.multiply_adds < 600e6


def test_equal_edges_of_a_block_share_their_weights():
    shared, own = (
        complexity(CellNetwork(CHEAP, 4, 1, 3, shared=s), (8, 8, 1)).parameters
        for s in (True, False)
    )
    # a 3x3 separable convolution a cell: two kernels, two affine batch norms
    widths = [4, 8, 8, 16, 16]
    assert own - shared == sum(9 * c + c * c + 4 * c for c in widths)


NEVER = np.float32(0)
NETWORKS = {
    "emt-nas": (CellNetwork(CHEAP, 4, 1, 3), 8),
    "darts": (DartsNetwork(CHEAP, 2, 1, 3), 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """A network, its variables, images, and one compiled pass of either kind."""
    network, side = NETWORKS[request.param]
    images = jax.random.normal(jax.random.key(1), (2, side, side, 1))
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def gradient(variables, drop_path, key):
        def loss(params):
            (logits, auxiliary), changed = network.apply(
                {**variables, "params": params},
                images,
                drop_path,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            both = logits if auxiliary is None else logits + auxiliary
            return jnp.sin(both).sum(), (logits, changed["batch_stats"])

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    return network, variables, images, jax.jit(network.apply), gradient


def test_training_reaches_every_weight_and_moves_the_statistics(trained):
    network, variables, images, _, gradient = trained
    (_, (logits, moved)), slopes = gradient(variables, NEVER, jax.random.key(2))
    assert logits.shape == (len(images), network.classes)
    for path, slope in jax.tree.leaves_with_path(slopes):
        assert np.isfinite(slope).all(), path
    reached = [bool(np.abs(slope).max() > 0) for slope in jax.tree.leaves(slopes)]
    assert np.mean(reached) > 0.9
    for old, new in zip(
        jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(moved), strict=True
    ):
        assert np.abs(np.asarray(new) - old).max() > 0


def test_drop_path_is_traced_and_random(trained):
    _, variables, _, _, gradient = trained
    losses = [
        float(gradient(variables, np.float32(rate), jax.random.key(seed))[0][0])
        for rate, seed in ((0.6, 2), (0.6, 2), (0.6, 3), (NEVER, 2))
    ]
    assert losses[0] == losses[1]
    assert losses[0] not in losses[2:]
    assert gradient._cache_size() == 1


def test_evaluation_is_deterministic_and_has_no_auxiliary_head(trained):
    _, variables, images, evaluate, _ = trained
    logits, auxiliary = evaluate(variables, images, NEVER)
    assert auxiliary is None
    again, _ = evaluate(variables, images, np.float32(0.9))
    np.testing.assert_array_equal(logits, again)
    beside_another, _ = evaluate(variables, images.at[1].add(1), NEVER)
    np.testing.assert_allclose(beside_another[0], logits[0], rtol=1e-4, atol=1e-5)
    assert np.abs(beside_another[1] - logits[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("network", "side", "message"),
    [
        (CellNetwork(CHEAP[:39], 4, 1, 3), 8, "found 39 values"),
        (CellNetwork(CHEAP, 0, 1, 3), 8, "channels: found 0"),
        (CellNetwork(CHEAP, 4, 0, 3), 8, "stack: found 0"),
        (DartsNetwork(CHEAP, 4, 1, 1), 8, "classes: found 1"),
        (CellNetwork(CHEAP, 4, 1, 3), 3, "images: found 3 x 3"),
        (CellNetwork(CHEAP, 4, 1, 3, stem="imagenet"), 24, "must be 25 or more"),
        (DartsNetwork(CHEAP, 4, 1, 3), 28, "auxiliary head: found a map of 7 x 7"),
    ],
)
def test_what_does_not_fit_is_told(network, side, message):
    images = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(network.init, jax.random.key(0), images)


# --- against PyTorch

CHANNELS, SIDE = 4, 9


def reference(nn, variant, name, stride):
    """The operation as PyTorch modules, and our names of those with weights."""
    c = CHANNELS
    if name == "identity":
        return nn.Identity(), []
    window = {"kernel_size": 3, "stride": stride, "padding": 1}
    pools = {
        "max_pool_3x3": nn.MaxPool2d(**window),
        "average_pool_3x3": nn.AvgPool2d(
            **window, count_include_pad=variant == "emt-nas"
        ),
    }
    if name in pools:
        first = [nn.ReLU()] if variant == "emt-nas" else []
        return nn.Sequential(*first, pools[name]), []
    kernel = int(name[-1])
    conv = partial(nn.Conv2d, c, c, bias=False)
    if name.startswith("dilated"):
        suffix = "" if variant == "emt-nas" else "_0"
        if variant == "emt-nas":
            kernel -= 2
        deep = conv(kernel, groups=c, dilation=2, padding=kernel - 1, stride=stride)
        names = [None, "depthwise" + suffix, "pointwise" + suffix, "norm" + suffix]
        return nn.Sequential(nn.ReLU(), deep, conv(1), nn.BatchNorm2d(c)), names
    pad = kernel // 2
    if variant == "emt-nas":
        deep = conv(kernel, groups=c, padding=pad)
        names = [None, "depthwise", "depthwise_norm", None, "pointwise", "norm"]
        layers = (nn.ReLU(), deep, nn.BatchNorm2d(c), nn.ReLU(), conv(1))
        return nn.Sequential(*layers, nn.BatchNorm2d(c)), names
    layers, names = [], []
    for i, step in enumerate((stride, 1)):
        deep = conv(kernel, groups=c, padding=pad, stride=step)
        layers += [nn.ReLU(), deep, conv(1), nn.BatchNorm2d(c)]
        names += [None, f"depthwise_{i}", f"pointwise_{i}", f"norm_{i}"]
    return nn.Sequential(*layers), names


def copied(torch, modules, names):
    """Our variables of PyTorch modules, after giving these random ones."""
    params, stats = {}, {}
    for module, name in zip(modules, names, strict=False):
        if name is None:
            continue
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            params[name] = {"scale": module.weight, "bias": module.bias}
            stats[name] = {"mean": module.running_mean, "var": module.running_var}
        elif isinstance(module, torch.nn.Conv2d):
            params[name] = {"kernel": module.weight.permute(2, 3, 1, 0)}
        else:
            params[name] = {"kernel": module.weight.T, "bias": module.bias}
    arrays = jax.tree.map(
        lambda v: jnp.asarray(v.detach().numpy()),
        {"params": params, "batch_stats": stats},
    )
    return arrays


def check_against(torch, module, theirs, variables, channels=CHANNELS, side=SIDE):
    """Outputs in evaluation and in training, and the running means."""
    x = np.random.default_rng(0).normal(size=(3, side, side, channels))
    x = x.astype(np.float32)
    seen = torch.from_numpy(x).permute(0, 3, 1, 2)

    def back(y):
        y = y.detach()
        return y.permute(0, 2, 3, 1).numpy() if y.ndim == 4 else y.numpy()

    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    theirs.eval()

    @jax.jit
    def outcome(variables, x):
        evaluated = module.apply(variables, x, False)
        return evaluated, module.apply(variables, x, True, mutable=["batch_stats"])

    evaluated, (y, changed) = outcome(variables, x)
    close(evaluated, back(theirs(seen)))
    theirs.train()
    close(y, back(theirs(seen)), atol=1e-4)
    means = [m.running_mean for m in theirs.modules() if hasattr(m, "running_mean")]
    found = [v for p, v in jax.tree.leaves_with_path(changed) if "mean" in str(p[-1])]
    key = lambda m: np.asarray(m).tolist()  # noqa: E731
    for ours, other in zip(sorted(found, key=key), sorted(means, key=key), strict=True):
        close(ours, other)


@pytest.mark.parametrize("operation", range(len(OPERATIONS)), ids=OPERATIONS)
@pytest.mark.parametrize(
    ("variant", "stride"), [("emt-nas", 1), ("darts", 1), ("darts", 2)]
)
def test_operations_are_those_of_pytorch(operation, variant, stride):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    name = OPERATIONS[operation]
    if name == "identity" and stride == 2:
        pytest.skip("a FactorizedReduce, tested below")
    theirs, names = reference(torch.nn, variant, name, stride)
    ours = (
        SearchOperation(operation)
        if variant == "emt-nas"
        else DartsOperation(operation, stride)
    )
    variables = copied(torch, list(theirs.children()), names)
    check_against(torch, ours, theirs, variables)


@pytest.mark.parametrize("side", [32, 27])
def test_the_stem_for_imagenet_is_that_of_pytorch(side):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn, halves = torch.nn, {"stride": 2, "padding": 1, "bias": False}
    theirs = nn.Sequential(
        nn.Conv2d(3, 3, 3, **halves),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 6, 3, **halves),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, **halves),
        nn.BatchNorm2d(6),
    )
    names = ["conv_0", "norm_0", None, "conv_1", "norm_1", None, "conv_2", "norm_2"]
    variables = copied(torch, theirs, names)
    check_against(torch, ImageNetStem(6), theirs, variables, 3, side)


def test_the_auxiliary_head_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    theirs = nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=3, padding=0, count_include_pad=False),
        nn.Conv2d(6, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        nn.BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, 3),
    )
    names = [None, None, "conv_0", "norm_0", None, "conv_1", "norm_1", None, None]
    variables = copied(torch, theirs, [*names, "classifier"])
    check_against(torch, AuxiliaryHead(3), theirs, variables, 6, 8)


def test_factorized_reduction_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn

    class Reduce(nn.Module):
        def __init__(self):
            super().__init__()
            self.even = nn.Conv2d(CHANNELS, 3, 1, stride=2, bias=False)
            self.odd = nn.Conv2d(CHANNELS, 3, 1, stride=2, bias=False)
            self.norm = nn.BatchNorm2d(6)

        def forward(self, x):
            x = torch.relu(x)
            halves = [self.even(x), self.odd(x[:, :, 1:, 1:])]
            return self.norm(torch.cat(halves, 1))

    theirs = Reduce()
    modules = [theirs.even, theirs.odd, theirs.norm]
    variables = copied(torch, modules, ["even", "odd", "norm"])
    check_against(torch, FactorizedReduce(6), theirs, variables, side=8)
    odd = FactorizedReduce(6).apply(variables, jnp.ones((1, 7, 7, CHANNELS)), False)
    assert odd.shape == (1, 4, 4, 6)
