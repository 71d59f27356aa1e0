"""Published genotypes against their printed form, and reading of files."""

import json

import numpy as np
import pytest

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.cells import OPERATIONS, from_code
from evojax_mtl.genomes.genotypes import (
    EMT_C10,
    GENOTYPES,
    KT_C100,
    find_genotype,
    genotype_from_json,
    read_genotype,
)
from evojax_mtl.networks.cell_network import cell_blocks, open_nodes, static_code

# operations and sources of the normal cell, its loose ends; the same of the reduction
PRINTED = {
    "emt-c10": (
        "DW5 0 DC3 0 DW3 0 DC7 0 DC7 0 DC3 1 DW5 0 DC3 1 DW5 2 DW5 2",
        (3, 4, 5, 6),
        "DW5 0 DW5 1 DC3 2 DC7 1 DW3 0 DC7 1 DW5 0 DW5 1 DW3 0 DW5 3",
        (4, 5, 6),
    ),
    "emt-c100": (
        "DW5 0 DC3 0 DW3 0 DC7 2 DW5 2 DW5 2 DC3 1 DC7 0 DW5 0 DC7 2",
        (3, 4, 5, 6),
        "DW5 0 DW5 1 DC7 2 DW5 2 DW3 0 DC7 1 DW5 0 DW5 1 DW3 0 DW7 3",
        (4, 5, 6),
    ),
    "kt-c10": (
        "Identity 1 AVG 1 MAX 1 DW3 1 DW3 1 DC7 2 DC5 0 MAX 4 DW3 0 DW7 4",
        (3, 5, 6),
        "MAX 1 DC7 1 Identity 0 DC5 1 DW5 0 AVG 0 AVG 4 MAX 3 DC3 3 MAX 0",
        (2, 5, 6),
    ),
    "kt-c100": (
        "DC5 0 DC7 0 DW5 1 DW7 0 AVG 1 MAX 0 DW7 1 Identity 0 DW5 1 AVG 4",
        (2, 3, 5, 6),
        "DC7 1 DW3 1 DW3 0 DW3 1 DC5 0 AVG 2 DC3 0 DC3 4 DW3 2 DC3 1",
        (3, 5, 6),
    ),
}
SHORT = dict(
    zip(
        ("DW3", "DW5", "DW7", "DC3", "DC5", "DC7", "Identity", "MAX", "AVG"),
        OPERATIONS,
        strict=True,
    )
)


@pytest.mark.parametrize("name", PRINTED)
def test_codes_say_what_was_printed(name):
    normal, normal_ends, reduction, reduction_ends = PRINTED[name]
    blocks = cell_blocks(find_genotype(name))
    for cell, text, ends in zip(
        blocks, (reduction, normal), (reduction_ends, normal_ends), strict=True
    ):
        words = text.split()
        edges = zip(words[::2], words[1::2], strict=True)
        expected = [(SHORT[operation], int(source)) for operation, source in edges]
        found = [
            (OPERATIONS[operation], source)
            for a, b, f, g in cell
            for operation, source in ((f, a), (g, b))
        ]
        assert found == expected
        assert open_nodes(cell) == ends


def test_every_genotype_is_found_and_no_other():
    assert set(GENOTYPES) == set(PRINTED)
    with pytest.raises(UserError, match="'emt', must be one of emt-c10, emt-c100"):
        find_genotype("emt")


def test_a_code_survives_the_array_and_the_file(tmp_path):
    assert static_code(from_code(EMT_C10)) == EMT_C10
    assert static_code(np.array(EMT_C10)) == EMT_C10
    path = tmp_path / "code.json"
    path.write_text(json.dumps(EMT_C10))
    assert read_genotype(path) == EMT_C10
    networks = {"a": EMT_C10, "b": KT_C100}
    entries = [{"name": k, "code": list(v)} for k, v in networks.items()]
    path.write_text(json.dumps({"networks": entries}))
    assert read_genotype(path, "b") == KT_C100
    path.write_text(json.dumps({"networks": entries[:1]}))
    assert read_genotype(path) == EMT_C10


NETWORKS = {"networks": [{"name": "a", "code": list(EMT_C10)}, {"name": "b"}]}
TWO = {"networks": [{"name": name, "code": list(EMT_C10)} for name in "ab"]}


@pytest.mark.parametrize(
    ("parsed", "task", "message"),
    [
        (list(EMT_C10[:39]), None, "f.json: found 39 values"),
        ([9, *EMT_C10[1:]], None, "input 9 in block 0 of the reduction cell"),
        ([*EMT_C10[:39], 9], None, "operation 9 in block 4 of the normal cell"),
        ([0.0, *EMT_C10[1:]], None, "found no list of integers"),
        ([True, *EMT_C10[1:]], None, "found no list of integers"),
        ("emt-c10", None, "found no list of integers"),
        ({"method": "ctr"}, "a", "found no network with a code"),
        ({"networks": [{"name": "a"}]}, "a", "found no network with a code"),
        ({"searches": []}, "a", "found several searches"),
        (NETWORKS, "b", "found no task 'b', must be one of a"),
        (TWO, None, "found several networks, name one task of a, b"),
        ({"networks": [{"name": "a", "code": [1]}]}, "a", "f.json, network 'a': found"),
    ],
)
def test_what_is_wrong_is_one_clear_line(parsed, task, message):
    with pytest.raises(UserError) as caught:
        genotype_from_json(parsed, task, "f.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "[1, 2"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "code.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"code\.json: cannot read a genotype"):
        read_genotype(path)
