import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from evojax_mtl.cli import main
from evojax_mtl.commands.listing import CATEGORIES
from evojax_mtl.methods import METHODS
from evojax_mtl.runs.retrain.settings import NETWORKS, preset

ROOT = Path(__file__).parents[1]

BAD = [
    ("nosuch", "unknown 'nosuch'"),
    ("rum ctr", "did you mean 'run'"),
    ("run nosuch", "allowed: single-task"),
    ("run crt", "did you mean 'ctr'"),
    ("run --seed 3", "METHOD comes first"),
    ("run ctr --tasks nosuch", "nosuch"),
    ("run ctr --tasks npz:/nowhere.npz", "/nowhere.npz"),
    ("run ctr --tasks npz:{tmp}/broken.npz --out {tmp}/new", "broken.npz"),
    ("run ctr --scale huge", "allowed: smoke, laptop, study, paper"),
    ("run ctr --no-such-field 3", "unknown option --no-such-field"),
    ("run ctr --learnin-rate 3", "did you mean --learning-rate"),
    ("run ctr --filters many", "--filters"),
    ("run ctr --filters 0", "--filters: found 0, must be at least 1"),
    ("run ctr --filters", "--filters"),
    ("run ctr --kernel 4", "--kernel: found 4, must be odd"),
    ("run ctr --dropout 1", "below 1.0"),
    ("run ctr --learning-rate nan", "--learning-rate: found nan"),
    ("run ctr --optimizer lion", "adamw"),
    ("run ctr --seed -1", "--seed: found -1"),
    ("run ctr --seed 4294967296", "--seed: found 4294967296"),
    ("run ctr --seeds 0", "--seeds: found 0"),
    ("run ctr --seeds 99999999999", "--seeds: found 99999999999"),
    ("run ctr extra", "unexpected word 'extra'"),
    ("run ctr --mesh population=3000", "must be at most the number of devices"),
    ("run ctr --mesh populatoin=1", "did you mean 'population'"),
    ("run ctr --mesh data=2", "cannot spread over 'data'"),
    ("run ctr --mesh population", "FIELD=VALUE"),
    ("run ctr --mesh population=two", "population=two"),
    ("run ctr --sweep filters=1,2", "allowed: learning_rate, dropout, alpha"),
    ("run ctr --sweep alpha=a,b", "--alpha: found 'a', must be a number"),
    ("run ctr --sweep alpha=0.1,2", "--alpha: found 2.0"),
    ("run ctr --sweep alpha=0.1,", "--alpha: found ''"),
    (
        "run ktnas --tasks digits,nasbench-toy",
        "digits gives images and nasbench-toy tables",
    ),
    ("run ktnas --tasks digits --proxy none", "unknown option --proxy"),
    ("run ktnas --tasks digits --transferred 7", "found 7, must be at most the pop"),
    ("run emt-nas --tasks nasbench-toy --channels 4", "unknown option --channels"),
    ("run ctr --out {tmp}/full", "already holds a run (summary.json)"),
    ("run ctr --out {tmp}/broken.npz", "is a file"),
    ("run ctr --data-dir {tmp}/nowhere", "nowhere"),
    ("resume", "no run given"),
    ("resume {tmp}/none", "no such folder"),
    ("resume {tmp}/full", "has no config.json"),
    ("resume {tmp}/odd", "config.json"),
    ("resume {tmp}/old", "found format 0"),
    ("report", "no run given"),
    ("report {tmp}/none", "no such folder"),
    ("report {tmp}/full", "has no config.json"),
    ("list nosuch", "allowed: methods, tasks"),
    ("list --xml", "unknown option --xml"),
    ("data", "prepare SOURCE"),
    ("data clean x", "allowed: prepare"),
    ("data prepare", "exactly one"),
    ("data prepare nosuch", "nosuch"),
]


@pytest.fixture
def folder(tmp_path):
    for name in ("full", "odd", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "summary.json").touch()
    (tmp_path / "odd" / "config.json").write_text("{")
    (tmp_path / "old" / "config.json").write_text('{"format": 0}')
    (tmp_path / "broken.npz").write_text("not an npz")
    return tmp_path


@pytest.mark.parametrize(("line", "told"), BAD, ids=[line for line, _ in BAD])
def test_wrong_input_ends_with_one_line(line, told, folder, capsys):
    assert main(line.format(tmp=folder).split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith("evojax-mtl: error: ")
    assert output.err.count("\n") == 1
    assert told in output.err
    assert output.out == ""
    assert not (folder / "new").exists()


def process(*arguments):
    """Processor seconds and output of a command that must not have imported JAX."""
    program = (
        "import sys\n"
        "from evojax_mtl.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as exit: status = exit.code\n"
        "assert 'jax' not in sys.modules, 'imports JAX'\n"
        "sys.exit(status)\n"
    )
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    return seconds, done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "list",
        "list --json",
        "list balancing --json",
        "run --help",
        "run ctr --help",
        "retrain emt-c10 --help",
    ],
)
def test_help_is_quick_and_imports_no_jax(line):
    # half a second; several of importing JAX
    seconds, _ = process(*line.split())
    assert seconds < 3


def help_of(capsys, *arguments):
    """The words of a command's help."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert not ended.value.code
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize(
    "form",
    [form for method in METHODS.values() for form in method.forms],
    ids=lambda form: f"{form.name}-{form.search or form.data}",
)
def test_help_explains_every_field(form, capsys):
    line = ("run", form.name, "--tasks", form.tasks, "--scale", "smoke")
    line += ("--search", form.search) if form.search else ()
    text = help_of(capsys, *line)
    for name, value in vars(form.configure("smoke")).items():
        assert f"--{name.replace('_', '-')}" in text
        assert f"(default: {value})" in text


@pytest.mark.parametrize("network", NETWORKS)
def test_help_of_retraining_explains_every_field(network, capsys):
    text = help_of(capsys, "retrain", "--network", network, "--scale", "paper")
    for config in preset(network, "paper", {}).values():
        for name, value in vars(config).items():
            assert f"--{name.replace('_', '-')}" in text
            assert f"(default: {value})" in text
    assert "--from" in text


def test_help_of_retraining_shows_the_recipes_defaults(capsys):
    line = ("retrain", "emt-c10", "--recipe", "imagenet", "--scale", "paper")
    text = help_of(capsys, *line)
    assert "recipe imagenet" in text
    for config in preset("emt-nas", "paper", {}, "imagenet").values():
        for value in vars(config).values():
            assert f"(default: {value})" in text


def test_list_as_json(capsys):
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed.keys() == CATEGORIES.keys()
    assert {"single-task", "soft-ordering", "ctr"} <= {
        row["name"] for row in listed["methods"]
    }
    assert all({"name", "paper", "status"} <= row.keys() for row in listed["methods"])


def test_list_of_balancing_methods_tells_kind_and_cost(capsys):
    assert main(["list", "balancing", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(listed) >= 26
    assert all({"summary", "paper", "status"} <= row.keys() for row in listed.values())
    assert listed["mgda"]["kind"] == "gramian"
    assert listed["mgda"]["representation"] == "allowed"
    assert listed["famo"]["cost"] == "1 backward pass, 1 more forward pass"
    assert listed["pcgrad"]["cost"] == "T backward passes"
    assert main(["list", "balancing"]) == 0
    assert "T backward passes" in capsys.readouterr().out


def test_list_of_strategies_is_evosaxs(capsys):
    from evosax.algorithms import algorithms

    assert main(["list", "strategies", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in listed} == set(algorithms)


def test_paper_scale_is_the_papers():
    config = METHODS["ctr"].configure("paper")
    assert (config.modules, config.filters, config.kernel) == (4, 53, 3)
    assert (config.dropout, config.optimizer, config.learning_rate) == (
        0.5,
        "adam",
        1e-3,
    )
    assert (config.alpha, config.iterations, config.generations) == (0.1, 250, 120)
    assert (config.batch, config.image_size, config.max_tasks) == (1, 105, 20)
