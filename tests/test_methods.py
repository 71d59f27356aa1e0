"""The registry: names, and which search a name stands for on which tasks."""

from pathlib import Path

import pytest

from evojax_mtl.cell_configs import EMTNASConfig, KTNASCellConfig, MTNASCellConfig
from evojax_mtl.commands import run
from evojax_mtl.errors import UserError
from evojax_mtl.leaf_configs import LEAFConfig, LEAFImageConfig
from evojax_mtl.methods import METHODS, find_method, method_on
from evojax_mtl.runs.settings import Settings
from evojax_mtl.tabular_configs import EMTNASTableConfig, KTNASConfig, MTNASConfig

TWO = {
    "emt-nas": (EMTNASConfig, EMTNASTableConfig),
    "ktnas": (KTNASCellConfig, KTNASConfig),
    "mtnas": (MTNASCellConfig, MTNASConfig),
}


@pytest.mark.parametrize("name", TWO)
def test_the_tasks_pick_the_search(name):
    on_images, on_tables = TWO[name]
    assert method_on(name, "digits").config is on_images
    assert method_on(name, "nasbench-toy,nasbench201").config is on_tables


def test_a_name_alone_stands_for_one_search():
    several = {name for name, method in METHODS.items() if method.other}
    assert several == {*TWO, "leaf"}
    for method in METHODS.values():
        assert all(form.name == method.name for form in method.forms)
        kinds = {(form.data, form.search) for form in method.forms}
        assert len(kinds) == len(method.forms)
        assert method_on(method.name, method.tasks) is method
    assert method_on("ctr", "nasbench-toy") is METHODS["ctr"]


@pytest.mark.parametrize("search", ["architecture", "hyperparameters"])
def test_what_is_searched_picks_among_searches_on_texts(search):
    words = ["--scale", "tiny", "--search", search]
    settings, _ = run.read(find_method("leaf"), words)
    assert settings.form.search == settings.config.search == search
    assert method_on("leaf", "remarks", search).config is type(settings.config)
    assert Settings.from_json(settings.to_json()) == settings


def test_leaf_is_on_images_too():
    words = ["--scale", "tiny", "--tasks", "digits"]
    settings, _ = run.read(find_method("leaf"), words)
    assert type(settings.config) is LEAFImageConfig
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(UserError, match="--search: found hyperparameters, must be"):
        run.read(find_method("leaf"), [*words, "--search", "hyperparameters"])


def test_tasks_that_none_of_several_searches_takes_are_told_all_that_there_are():
    with pytest.raises(UserError) as told:
        method_on("leaf", "rooms")
    line = str(told.value)
    assert "found rooms, which are scenes" in line
    assert "must be texts: remarks, wikidetox; or images: glyphs, digits" in line


def test_another_search_than_those_there_are_is_named():
    with pytest.raises(UserError, match="hyperparameters"):
        run.read(find_method("leaf"), ["--search", "weights"])
    with pytest.raises(UserError, match="--search: found hyperparameters, must be"):
        LEAFConfig(search="hyperparameters")


@pytest.mark.parametrize("tasks", ["digits", "nasbench-toy"])
def test_a_run_is_read_back_as_the_search_it_was(tasks):
    words = ["--tasks", tasks, "--seed", "3", "--scale", "tiny"]
    settings, out = run.read(find_method("ktnas"), [*words, "--out", "there"])
    assert out == Path("there")
    again = Settings.from_json(settings.to_json())
    assert again == settings
    assert again.form is method_on("ktnas", tasks)
