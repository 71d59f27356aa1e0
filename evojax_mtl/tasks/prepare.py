"""One-time conversion of a data set into what its loader reads quickly. No JAX."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import omniglot, tfds
from evojax_mtl.tasks.files import missing, save_npz
from evojax_mtl.tasks.images import resize
from evojax_mtl.tasks.request import data_folder, search_folders, tfds_folder
from evojax_mtl.tasks.sources import SOURCES, parse_spec

_ZIPS = ("images_background.zip", "images_evaluation.zip")


def prepare(source: str, data_dir: Path | None = None) -> list[Path]:
    """Converts one data set.

    Args:
      source: ``omniglot`` or ``omniglot:N`` (official folders or zip files to the
        ``.npz`` files of its loader), or ``tfds:NAME+NAME`` (downloads and writes
        array_record, with the extra ``tfds-prepare``).
      data_dir: where the originals are looked for and the results are written. None
        looks in the usual folders and writes to ``$EVOJAX_MTL_DATA`` or the user's
        cache folder (``tfds``: to TFDS's own folder).

    Returns:
      The files or folders that are ready, those that were there before included.

    Raises:
      UserError: there is nothing to prepare, or an original is missing or damaged.
    """
    parsed = parse_spec(source)
    if len(parsed) != 1:
        raise UserError(f"data prepare {source!r}: allowed: one source")
    found, argument = parsed[0]
    if found.name == "omniglot":
        return _prepare_omniglot(omniglot.parse_count(argument), data_dir)
    if found.name == "tfds":
        if argument is None:
            raise UserError("data prepare 'tfds': no name; allowed: tfds:NAME+NAME")
        names = [name.partition("@")[0] for name in argument.split("+")]
        target = tfds_folder() if data_dir is None else data_dir
        return [_prepare_tfds(name, target) for name in dict.fromkeys(names)]
    allowed = ", ".join(SOURCES[name].usage for name in ("omniglot", "tfds"))
    raise UserError(
        f"data prepare {source!r}: {found.name} needs no preparation; "
        f"allowed: {allowed}"
    )


@contextmanager
def _originals(folder: Path) -> Iterator[Path]:
    """A folder that holds the official folders: ``folder``, or its zips unpacked."""
    if omniglot.official_folders(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as unpacked:
        for name in _ZIPS:
            for path in (folder / name, folder / "omniglot" / name):
                if path.is_file():
                    _unzip(path, Path(unpacked))
        yield Path(unpacked)


def _unzip(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{path}: not a complete zip file ({error})") from None


def _has_originals(folder: Path) -> bool:
    zips = [folder / sub / name for sub in ("", "omniglot") for name in _ZIPS]
    return bool(omniglot.official_folders(folder)) or any(map(Path.is_file, zips))


def _prepare_omniglot(count: int, data_dir: Path | None) -> list[Path]:
    folders = search_folders(data_dir)
    source = next((folder for folder in folders if _has_originals(folder)), None)
    if source is None:
        raise missing(" or ".join(_ZIPS), folders, omniglot.WHERE)
    alphabets = omniglot.ORDER[: 20 if count <= 20 else 50]
    with _originals(source) as folder:
        drawings = dict(omniglot.read_folders(folder, alphabets))
    sizes = [len(images) for images in drawings.values()]
    common = {
        "alphabet_names": np.array(list(drawings)),
        "alphabet": np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes),
        "char_in_alphabet": np.concatenate(
            [np.arange(n, dtype=np.uint8) for n in sizes]
        ),
    }
    images = np.concatenate(list(drawings.values()))
    large, small = omniglot.LARGE, omniglot.SMALL
    shape = images.shape[:2]
    little = resize(images.reshape(-1, large, large, 1), small, small)
    packed = np.packbits(images.reshape(*shape, -1) > 127, axis=-1)
    target = data_folder(data_dir)
    stem = f"omniglot{len(alphabets)}_"
    return [
        save_npz(
            target / f"{stem}{small}.npz",
            common | {"images": little.reshape(*shape, small, small)},
        ),
        save_npz(target / f"{stem}{large}_packed.npz", common | {"ink_packed": packed}),
    ]


def _prepare_tfds(name: str, target: Path) -> Path:
    ready = tfds.find_dataset(name, (target,))
    if ready is not None:
        tfds.open_dataset(name, (target,))
        return ready
    library = tfds.import_extra("tensorflow_datasets", "tfds-prepare")
    for module in ("array_record", "tensorflow"):
        tfds.import_extra(module, "tfds-prepare")
    try:
        builder = library.builder(
            name, data_dir=str(target), file_format="array_record"
        )
    except (library.core.registered.DatasetNotFoundError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"data prepare 'tfds:{name}': {reason}") from None
    try:
        builder.download_and_prepare()
    except AssertionError as error:  # how TFDS asks for a manual download
        reason = " ".join(str(error).split())
        raise UserError(f"data prepare 'tfds:{name}': {reason}") from None
    return Path(builder.data_path)
