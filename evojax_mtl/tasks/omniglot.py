"""``omniglot``: 1,623 characters of 50 alphabets, by 20 drawers each (Lake et al.).

One alphabet is one task, its characters are the classes. The 20 tasks of the multitask
literature are the first 20 of ``ORDER``. Of each character's 20 drawings, 10 train, 4
validate and 6 test, shuffled by the alphabet's place in ``ORDER``: always the same.
Ink is 255. Images are 28x28 unless another size is asked for; 105x105 is the original.

Read from whichever a data folder has, the first folder first:

* ``omniglot20_28*.npz`` with ``images`` uint8 ``(characters, 20, 28, 28)``, or
  ``omniglot20_105_packed*.npz`` with ``ink_packed`` uint8 ``(characters, 20, 1379)``,
  the bits of 105x105 pixels; both with ``alphabet_names``, ``alphabet`` (each
  character's index into them) and ``char_in_alphabet``. ``omniglot50_...`` holds all
  50. ``evojax-mtl data prepare omniglot`` writes them.
* the official folders ``images_background/ALPHABET/characterNN/*.png`` and
  ``images_evaluation/...``, here or in a folder ``omniglot``.
* ``omniglot`` of TensorFlow Datasets, prepared as array_record (extra ``tfds``). It
  does not say who drew what, so its splits differ from those of the other two.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import tfds
from evojax_mtl.tasks.build import split_task
from evojax_mtl.tasks.files import Arrays, find_npz, missing
from evojax_mtl.tasks.folder import subfolders
from evojax_mtl.tasks.images import read_image, resize
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import Task

# The order that work on multitask Omniglot has used since Liang et al. (2018).
_ORDER = """
Gujarati Sylheti Arcadian Tibetan Old_Church_Slavonic_(Cyrillic) Angelic
Malay_(Jawi_-_Arabic) Sanskrit Cyrillic Anglo-Saxon_Futhorc Syriac_(Estrangelo)
Ge_ez Japanese_(katakana) Keble Manipuri Alphabet_of_the_Magi Gurmukhi Korean
Early_Aramaic Atemayar_Qelisayer Tagalog Mkhedruli_(Georgian)
Inuktitut_(Canadian_Aboriginal_Syllabics) Tengwar Hebrew N_Ko Grantha Latin
Syriac_(Serto) Tifinagh Balinese Mongolian ULOG Futurama Malayalam Oriya
Ojibwe_(Canadian_Aboriginal_Syllabics) Avesta Kannada Bengali Japanese_(hiragana)
Armenian Aurek-Besh Glagolitic Asomtavruli_(Georgian) Greek Braille
Burmese_(Myanmar) Blackfoot_(Canadian_Aboriginal_Syllabics) Atlantean
"""
ORDER = tuple(_ORDER.split())
DRAWERS = 20
SMALL, LARGE = 28, 105
WHERE = (
    "get images_background.zip and images_evaluation.zip from "
    "https://github.com/brendenlake/omniglot/tree/master/python, put them there and "
    "run 'evojax-mtl data prepare omniglot'"
)
_FOLDERS = ("images_background", "images_evaluation")


def parse_count(argument: str | None) -> int:
    """How many alphabets ``omniglot:N`` asks for; 20 by default."""
    if argument is None:
        return 20
    if argument.isdecimal() and 1 <= int(argument) <= len(ORDER):
        return int(argument)
    raise UserError(
        f"tasks 'omniglot:{argument}': found {argument!r}; allowed: a number of "
        f"alphabets, 1 to {len(ORDER)}"
    )


def load(argument: str | None, request: Request) -> list[Task]:
    """The first alphabets; ``argument`` says how many there are (20 by default)."""
    count = parse_count(argument)
    wanted = ORDER[: request.first(count)]
    size = request.image_size or SMALL
    for folder in request.folders:
        file = _find_file(folder, count, size)
        if file is not None:
            drawings = _read_file(file, wanted)
        elif official_folders(folder):
            drawings = read_folders(folder, wanted, request.max_classes)
        elif tfds.find_dataset("omniglot", (folder,)) is not None:
            drawings = _read_tfds(folder, wanted)
        else:
            continue
        return [_task(name, images, size) for name, images in drawings]
    file = f"omniglot{20 if count <= 20 else 50}_{SMALL}*.npz"
    raise missing(f"{file} or {_FOLDERS[0]}/", request.folders, WHERE)


def _task(name: str, images: np.ndarray, size: int) -> Task:
    """The task of an alphabet's drawings ``(characters, 20, H, W)``."""
    labels = np.repeat(np.arange(len(images), dtype=np.int32), images.shape[1])
    flat = resize(images.reshape(-1, *images.shape[2:], 1), size, size)
    return split_task(name, flat, labels, ORDER.index(name), f"omniglot {name}")


def _find_file(folder: Path, count: int, size: int) -> Path | None:
    sizes = [f"_{LARGE}_packed", f"_{SMALL}"]
    if size == SMALL:
        sizes.reverse()
    alphabets = [20, 50] if count <= 20 else [50]
    names = [f"omniglot{number}{end}" for end in sizes for number in alphabets]
    for name in names:
        file = find_npz(name, (folder,))
        if file is not None:
            return file
    return None


def _read_file(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    arrays = Arrays(path)
    packed = "ink_packed" in arrays
    field = "ink_packed" if packed else "images"
    arrays.require(field, "alphabet_names", "alphabet", "char_in_alphabet")
    images = arrays.read(field)
    shape = (DRAWERS, -(-LARGE * LARGE // 8)) if packed else (DRAWERS, SMALL, SMALL)
    if images.shape[1:] != shape or images.dtype != np.uint8:
        raise UserError(
            f"{path}: field {field!r} is {images.dtype} {images.shape}; allowed: uint8 "
            f"(characters, {', '.join(map(str, shape))})"
        )
    names = [str(name) for name in arrays.read("alphabet_names")]
    alphabet, place = arrays.read("alphabet"), arrays.read("char_in_alphabet")
    for index in (alphabet, place):
        if index.shape != images.shape[:1]:
            raise UserError(
                f"{path}: fields 'alphabet' and 'char_in_alphabet' are "
                f"{alphabet.shape} and {place.shape}; allowed: {images.shape[:1]}"
            )
    for name in wanted:
        if name not in names:
            raise UserError(
                f"{path}: alphabet {name!r} is missing; found {len(names)} alphabets"
            )
        rows = np.flatnonzero(alphabet == names.index(name))
        rows = rows[np.argsort(place[rows], kind="stable")]
        yield name, _unpack(images[rows]) if packed else images[rows]


def _unpack(packed: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(packed, axis=-1, count=LARGE * LARGE)
    return bits.reshape(*packed.shape[:-1], LARGE, LARGE) * np.uint8(255)


def official_folders(folder: Path) -> list[Path]:
    """The official image folders in a data folder."""
    return [
        path
        for base in (folder, folder / "omniglot")
        for name in _FOLDERS
        if (path := base / name).is_dir()
    ]


def read_folders(
    folder: Path, wanted: Sequence[str], max_classes: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and drawings ``(characters, 20, 105, 105)`` of each wanted alphabet."""
    roots = official_folders(folder)
    for name in wanted:
        found = [root / name for root in roots if (root / name).is_dir()]
        if len(found) != 1:
            raise UserError(
                f"{folder}: alphabet {name!r} found {len(found)} times in "
                f"{', '.join(root.name for root in roots)}; allowed: once. {WHERE}"
            )
        characters = subfolders(found[0])[:max_classes]
        drawings = [_read_character(character) for character in characters]
        if not drawings:
            raise UserError(f"{found[0]}: found no folder; allowed: characterNN")
        yield name, np.stack(drawings)


def _read_character(folder: Path) -> np.ndarray:
    files = sorted(folder.glob("*.png"))
    if len(files) != DRAWERS:
        raise UserError(f"{folder}: found {len(files)} images; allowed: {DRAWERS}")
    drawings = []
    for file in files:
        pixels = read_image(file)
        if pixels.shape != (LARGE, LARGE, 1):
            raise UserError(
                f"{file}: {pixels.shape} pixels; allowed: {LARGE}x{LARGE} in black and "
                "white"
            )
        drawings.append(255 - pixels[..., 0])
    return np.stack(drawings)


def _read_tfds(folder: Path, wanted: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The same from TensorFlow Datasets, whose order of drawers is arbitrary."""
    dataset = tfds.open_dataset("omniglot", (folder,))
    names = dataset.class_names("alphabet")
    found: dict[str, dict[int, list[np.ndarray]]] = {name: {} for name in wanted}
    for part in ("train", "test"):
        for example in dataset.examples(part):
            name = names[int(example["alphabet"])]
            if name in found:
                image = 255 - np.asarray(example["image"])[..., 0]
                character = int(example["alphabet_char_id"])
                found[name].setdefault(character, []).append(image)
    for name, characters in found.items():
        counts = {len(drawings) for drawings in characters.values()}
        if counts != {DRAWERS}:
            raise UserError(
                f"{folder}: omniglot of TFDS has {sorted(counts)} drawings a character "
                f"of {name!r}; allowed: {DRAWERS}"
            )
        yield name, np.stack([np.stack(characters[key]) for key in sorted(characters)])
