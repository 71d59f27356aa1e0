import os
import pickle
import pickletools
import resource

import numpy as np
import pytest

from evojax_mtl.tasks.unpickling import unpickle

from . import python2

BATCH = {
    b"data": np.arange(600, dtype=np.uint8).reshape(2, 300),
    b"labels": [3, 1],
    b"batch_label": b"training batch 1 of 5",
}
# The first bytes of an original batch, up to the array's class.
ORIGINAL = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq"
    b"\x04]q\x05(K\x06K\teU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07"
    b"cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x02K\x03\x86cnumpy\ndtype\n"
    b"q\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"
    b"\x00tb\x89U\x06ABCDEFtbu."
)


def same(found):
    assert set(found) == set(BATCH)
    assert np.array_equal(found[b"data"], BATCH[b"data"])
    assert found[b"data"].dtype == np.uint8
    assert found[b"labels"] == [3, 1]
    assert found[b"batch_label"] == BATCH[b"batch_label"]


def test_a_batch_of_python_2():
    content = python2.dumps(BATCH)
    names = {arg for _, arg, _ in pickletools.genops(content) if isinstance(arg, str)}
    assert "numpy.core.multiarray _reconstruct" in names
    same(unpickle(content))


def test_bytes_as_the_original_files_have_them():
    found = unpickle(ORIGINAL)
    assert found[b"labels"] == [6, 9]
    assert found[b"data"].tolist() == [[65, 66, 67], [68, 69, 70]]


def test_names_of_todays_numpy():
    content = python2.dumps(BATCH)
    new = content.replace(b"cnumpy.core.multiarray", b"cnumpy._core.multiarray")
    assert new != content
    same(unpickle(new))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, protocol):
    content = pickle.dumps({"data": Evil(str(tmp_path / "made"))}, protocol)
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for .*mkdir"):
        unpickle(content)
    assert not (tmp_path / "made").exists()
    pickle.loads(content)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["load", "ndarray.tofile", "core.multiarray.fromfile"])
def test_other_names_of_numpy_are_refused(name):
    module, _, attribute = f"numpy.{name}".rpartition(".")
    content = f"c{module}\n{attribute}\n.".encode()
    with pytest.raises(pickle.UnpicklingError, match=f"asks for .*{attribute}"):
        unpickle(content)


@pytest.mark.parametrize(
    "array", [np.array([None, 1]), np.zeros(3), np.zeros(2, "u1,f4"), np.zeros(2, "i2")]
)
def test_arrays_of_anything_but_bytes_are_refused(array):
    with pytest.raises(pickle.UnpicklingError, match=r"an array of .*, not of bytes"):
        unpickle(python2.dumps({b"data": array}))


def test_an_array_whose_bytes_do_not_fill_its_shape():
    content = ORIGINAL.replace(b"(K\x01K\x02K\x03\x86", b"(K\x01K\x7fK\x03\x86")
    assert content != ORIGINAL
    with pytest.raises(pickle.UnpicklingError):
        unpickle(content)


def test_every_truncation_is_an_unpickling_error():
    for end in range(len(ORIGINAL)):
        with pytest.raises(pickle.UnpicklingError):
            unpickle(ORIGINAL[:end])


def test_damaged_bytes_raise_nothing_else():
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        content = bytearray(ORIGINAL)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        try:
            unpickle(bytes(content))
        except pickle.UnpicklingError:
            refused += 1
    assert refused > 500  # the rest spell other numbers and text


def test_a_damaged_memo_takes_no_memory():
    content = ORIGINAL.replace(b"\x87Rq\x0b(K", b"\x87Rr\x0b(K")  # entry 0x034b280b
    assert content != ORIGINAL
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(pickle.UnpicklingError):
        unpickle(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # KiB
