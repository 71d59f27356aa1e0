"""Tables of measured architectures: spaces, files in official layouts, wrong ones."""

import sys
import types

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import nasbench201, transnasbench101
from evojax_mtl.tasks.sources import load_tasks

SPLIT_NAMES = ("train", "valid", "test")


def nasbench201_arrays(seed=0):
    """Fields of ``nasbench201.npz``, rows in an order of their own."""
    rng = np.random.default_rng(seed)
    cells = nasbench201.space()
    order = rng.permutation(len(cells))
    fields = {"arch_str": np.array(cells.strings)[order]}
    quality = 10 + 10 * cells.genes[order].sum(1) / 24
    for k, (prefix, _) in enumerate(nasbench201.DATASETS.values()):
        for metric in nasbench201.METRICS:
            noise = rng.random(len(cells))
            fields[f"{prefix}_{metric}"] = (quality + k + noise).astype(np.float32)
        fields[f"{prefix}_flops_M"] = quality.astype(np.float32)
        fields[f"{prefix}_params_M"] = quality.astype(np.float32) / 100
    return fields, order


@pytest.fixture(scope="module")
def arrays():
    return nasbench201_arrays()


@pytest.fixture
def write(tmp_path):
    def save(name, fields):
        np.savez(tmp_path / f"{name}.npz", **fields)
        return tmp_path

    return save


SPACES = [
    (nasbench201.space(), 15_625, 24),
    (transnasbench101.micro(), 4_096, 18),
    (transnasbench101.macro(), 3_256, 24),
]


@pytest.mark.parametrize(("space", "size", "edits"), SPACES)
def test_spaces_and_their_neighbours(space, size, edits):
    assert len(space) == size == len(set(space.strings))
    assert space.neighbours.shape == (size, edits)
    rows, places = np.nonzero(space.neighbours >= 0)
    near = space.genes[space.neighbours[rows, places]]
    assert ((near != space.genes[rows]).sum(1) == 1).all()
    # every pair that differs in one gene is there, once from each side
    some = np.random.default_rng(0).integers(0, size, 40)
    apart = (space.genes[some][:, None] != space.genes).sum(2)
    for row, differ in zip(some, apart, strict=True):
        found = space.neighbours[row]
        assert sorted(found[found >= 0]) == np.flatnonzero(differ == 1).tolist()


def test_real_nasbench201_has_the_published_optima(real_data):
    if not list(real_data.glob("nasbench201*.npz")):
        pytest.skip(f"{real_data} has no nasbench201*.npz")
    best = [t.validation.max() for t in load_tasks("nasbench201:test_200")]
    np.testing.assert_allclose(best, [0.94373, 0.73513, 0.47311], atol=1e-5)
    raw = np.load(next(real_data.glob("nasbench201*.npz")))
    tasks = load_tasks("nasbench201")
    cells = tasks[0].space
    rows = {string: k for k, string in enumerate(raw["arch_str"])}
    where = [rows[string] for string in cells.strings]
    np.testing.assert_array_equal(raw["ops"][where], cells.genes)
    np.testing.assert_allclose(tasks[1].validation * 100, raw["c100_val_200"][where])
    np.testing.assert_allclose(tasks[1].test * 100, raw["c100_test_200"][where])


def test_real_transnasbench101_has_its_optima(real_data):
    if not list(real_data.glob("transnasbench101_micro*.npz")):
        pytest.skip(f"{real_data} has no transnasbench101_micro*.npz")
    best = {t.name: t.validation.max() for t in load_tasks("transnasbench101")}
    assert best["class_object"] == pytest.approx(0.45586, abs=1e-5)
    assert best["class_scene"] == pytest.approx(0.54936, abs=1e-5)
    assert best["room_layout"] == pytest.approx(-0.6010, abs=1e-4)
    raw = np.load(next(real_data.glob("transnasbench101_micro*.npz")))
    cells = transnasbench101.micro()
    rows = {string: k for k, string in enumerate(raw["arch_str"])}
    where = [rows[string] for string in cells.strings]
    np.testing.assert_array_equal(raw["ops"][where], cells.genes)


def test_rows_are_found_by_their_strings(arrays, write):
    fields, order = arrays
    (task,) = load_tasks("nasbench201:cifar100", data_dir=write("nasbench201", fields))
    expected = np.empty(len(order))
    expected[order] = fields["c100_val_200"]
    np.testing.assert_allclose(task.validation * 100, expected, rtol=1e-6)
    assert (task.metric, task.image) == ("accuracy", (100, 32))


def test_the_argument_names_sets_and_a_metric(arrays, write):
    folder = write("nasbench201_mine", arrays[0])
    tasks = load_tasks("nasbench201:cifar10+test_12+cifar100", data_dir=folder)
    assert [task.name for task in tasks] == ["cifar10", "cifar100"]
    assert (tasks[0].validation == tasks[0].test).all()
    assert len(load_tasks("nasbench201", data_dir=folder, max_tasks=2)) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nasbench201:cifar", "found 'cifar'; allowed: cifar10, cifar100"),
        ("nasbench201:val_12+val_200", "found 2 metrics; allowed: at most one"),
        ("transnasbench101:scene", "found 'scene'; allowed: class_object"),
        ("transnasbench101:micro+macro", "found 2 spaces; allowed: at most one"),
        ("nasbench-toy:9", "found '9'; allowed: 1 to 8"),
        ("nasbench-toy,digits", "nasbench-toy gives tables of .* and digits images"),
        ("nasbench201", r"nasbench201.npz not found in .*NATS-Bench"),
        ("transnasbench101", r"transnasbench101_micro.npz not found .*TransNASBench"),
        ("transnasbench101:macro", "transnasbench101_macro.npz not found"),
    ],
)
def test_bad_specifications(spec, message, tmp_path):
    with pytest.raises(UserError, match=message):
        load_tasks(spec, data_dir=tmp_path)


def _without(fields, rows):
    return {name: np.delete(values, rows) for name, values in fields.items()}


def _with(fields, name, row, value):
    values = np.array(fields[name]).copy()
    values[row] = value
    return fields | {name: values}


WRONG = [
    (lambda f: _without(f, [5, 9]), "2 of 15625 architectures of NAS-Bench-201 are mi"),
    (
        lambda f: _with(f, "arch_str", 3, f["arch_str"][8]),
        r"rows 3 and 8 are both architecture '\|.*allowed: each once",
    ),
    (lambda f: _with(f, "arch_str", 3, "|x~0|"), r"row 3: found architecture '\|x~0\|"),
    (lambda f: _with(f, "c10_val_200", 7, np.nan), "c10_val_200: found nan at row"),
    (lambda f: _with(f, "c100_test_200", 7, np.inf), "c100_test_200: found inf at row"),
    (lambda f: _with(f, "in16_val_200", 7, 101), "found 101 at row .*: 0 to 100"),
    (
        lambda f: f | {"c10_val_200": 100 - f["c10_val_200"]},
        "passes nothing on, above the median .* of which higher is better",
    ),
    (lambda f: f | {"c10_val_200": f["c10_val_200"][1:]}, "c10_val_200: found shape"),
    (
        lambda f: {k: v for k, v in f.items() if k != "c10_val_200"},
        "field 'c10_val_200' is missing",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_tables(change, message, arrays, write):
    folder = write("nasbench201", change(arrays[0]))
    with pytest.raises(UserError, match=message) as error:
        load_tasks("nasbench201", data_dir=folder)
    assert "\n" not in str(error.value)


def transnas_arrays(space, seed=0):
    rng = np.random.default_rng(seed)
    names = list(transnasbench101.METRICS)
    quality = space.genes.sum(1) + rng.random(len(space))
    values = np.stack([quality] * len(names), 1)
    values[:, names.index("room_layout")] -= 100
    for name in ("normal", "autoencoder"):
        values[:, names.index(name)] /= 100
    return {
        "arch_str": np.array(space.strings),
        "tasks": np.array(names),
        "val": values.astype(np.float32),
        "flops_M": np.ones_like(values),
        "params_M": np.ones_like(values),
    }


def test_macro_is_read_by_the_same_loader(write):
    space = transnasbench101.macro()
    fields = transnas_arrays(space)
    folder = write("transnasbench101_macro", fields)
    tasks = load_tasks("transnasbench101:macro+jigsaw+room_layout", data_dir=folder)
    assert [task.metric for task in tasks] == ["accuracy", "negative loss"]
    np.testing.assert_allclose(tasks[0].validation * 100, fields["val"][:, 3])
    np.testing.assert_array_equal(tasks[1].test, fields["val"][:, 2].astype(float))


def test_a_loss_that_is_not_negated_is_refused(write):
    fields = transnas_arrays(transnasbench101.micro())
    fields["val"] = np.abs(fields["val"])
    folder = write("transnasbench101_micro", fields)
    with pytest.raises(UserError, match=r"val of room_layout: found .*a loss is given"):
        load_tasks("transnasbench101", data_dir=folder)


def test_the_synthetic_table_is_always_the_same():
    first, again = load_tasks("nasbench-toy"), load_tasks("nasbench-toy:5")
    assert [task.name for task in first] == ["toy-0", "toy-1", "toy-2"]
    for a, b in zip(first, again, strict=False):
        np.testing.assert_array_equal(a.validation, b.validation)
    related = np.corrcoef([task.validation for task in again])
    assert related.min() > 0.8
    assert len({int(task.validation.argmax()) for task in again}) > 1
    assert first[0].validation.max() == pytest.approx(0.94961, abs=1e-5)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ctr --tasks nasbench-toy", "which are tables of measured architectures, mus"),
        ("rea --tasks digits", "which are images, must be tables of measured"),
        ("ktnas --tasks nasbench-toy:1", "ktnas: found 1 task, must be at least 2"),
        ("ktnas --transferred 11", "--transferred: found 11, must be at most the popu"),
        ("ktnas --transferred 0", "--transferred: found 0, must be at least 1"),
        ("ktnas --ranking-ratio 1.2", "--ranking-ratio: found 1.2, must be at least"),
        ("ktnas --saved-generations 0", "--saved-generations: found 0, must be at le"),
        ("rea --tournament 11", "--tournament: found 11, must be at most the populati"),
        ("weaknas --batch 101", "--batch: found 101, must be at most the top, 100"),
        ("gcn-predictor --layers 0", "--layers: found 0, must be at least 1"),
        ("rea --image-size 8", "unknown option --image-size"),
    ],
)
def test_wrong_commands_end_with_one_line(line, told, refused, tmp_path):
    words = ["run", *line.split(), "--scale", "tiny", "--out", str(tmp_path / "new")]
    assert told in refused(words)
    assert not (tmp_path / "new").exists()


class FakeNATS:
    """Answers as an API of NATS-Bench does, for the cells that it is told."""

    def __init__(self, strings):
        self.strings = strings

    def __len__(self):
        return len(self.strings)

    def arch(self, index):
        return self.strings[index]

    def get_cost_info(self, index, dataset):
        return {"flops": 1.0 + index, "params": 0.5}

    def get_more_info(self, index, dataset, hp, is_random):
        assert not is_random
        good = sum(self.strings[index].count(name) for name in ("3x3", "1x1", "skip"))
        shift = {"cifar10-valid": 1, "cifar10": 2, "cifar100": 3}.get(dataset, 4)
        accuracy = 10 * good + shift + int(hp) / 1000
        return {"test-accuracy": accuracy, "valid-accuracy": accuracy / 2}


def test_nats_bench_is_read_through_its_own_reader(tmp_path, monkeypatch):
    cells = nasbench201.space()
    shuffled = list(np.random.default_rng(0).permutation(cells.strings))
    module = types.ModuleType("nats_bench")
    opened = []

    def create(path, kind, fast_mode, verbose):
        opened.append((path, kind, fast_mode))
        return FakeNATS(shuffled)

    module.create = create
    monkeypatch.setitem(sys.modules, "nats_bench", module)
    archive = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    archive.mkdir()
    ten, hundred = load_tasks("nasbench201:cifar10+cifar100", data_dir=tmp_path)
    assert opened == [(str(archive), "tss", True)]
    row = shuffled.index(cells.strings[777])
    expected = FakeNATS(shuffled).get_more_info(row, "cifar10-valid", "200", False)
    assert ten.validation[777] * 100 == pytest.approx(expected["valid-accuracy"])
    assert ten.test[777] * 100 == pytest.approx(expected["test-accuracy"] + 1)
    assert hundred.multiply_adds[777] == pytest.approx((row + 1) * 1e6)
    (tmp_path / "NATS-tss-v1_1-x-simple").mkdir()
    with pytest.raises(UserError, match="found 2 archives of NAS-Bench-201"):
        load_tasks("nasbench201", data_dir=tmp_path)


def test_a_reader_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nas_201_api", None)
    (tmp_path / "NAS-Bench-201-v1_1-096897.pth").touch()
    with pytest.raises(UserError, match="pip install nas-bench-201"):
        load_tasks("nasbench201", data_dir=tmp_path)


def test_the_archive_of_transnasbench101(tmp_path):
    torch = pytest.importorskip("torch")
    space = transnasbench101.macro()
    rng = np.random.default_rng(0)

    def result(metric):
        metrics = {f"{part}_{metric}": rng.random(3).tolist() for part in SPLIT_NAMES}
        return {
            "metrics": metrics,
            "model_info": {"model_FLOPs": 2.0, "model_params": 1},
        }

    data = {
        text: {"class_scene": result("top1"), "normal": result("ssim")}
        for text in rng.permutation(space.strings).tolist()
    }
    path = tmp_path / "transnas-bench_v10141024.pth"
    torch.save({"data": {"macro": data}}, path)
    spec = "transnasbench101:macro+class_scene+normal"
    scene, normal = load_tasks(spec, data_dir=tmp_path)
    own = data[space.strings[100]]
    assert scene.validation[100] * 100 == own["class_scene"]["metrics"]["valid_top1"][2]
    assert normal.test[100] == own["normal"]["metrics"]["test_ssim"][2]
    assert normal.multiply_adds[100] == 2e6
    with pytest.raises(UserError, match="val of room_layout cannot be read"):
        load_tasks("transnasbench101:macro+room_layout", data_dir=tmp_path)
    del data[space.strings[5]]
    torch.save({"data": {"macro": data}}, path)
    with pytest.raises(UserError, match="1 of 3256 architectures"):
        load_tasks(spec, data_dir=tmp_path)
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="not a readable archive"):
        load_tasks(spec, data_dir=tmp_path)
