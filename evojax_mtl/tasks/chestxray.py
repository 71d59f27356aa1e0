"""``chestxray``: NIH's chest X-rays and the fourteen findings on them (Wang 2017).

In the folder ``chestxray`` of a data folder lie ``Data_Entry_2017*.csv`` and, in
folders whose names begin with ``images``, the pictures that its rows name; a file with
some of the rows is a smaller data set. A picture may have several findings, or none
(``No Finding``); a row whose ``Finding Labels`` are empty is not labelled and does not
count. One task decides on all findings; ``chestxray:Mass+Hernia`` makes one of each,
two classes, of the same pictures.

70 % of the patients train, 10 % validate and 20 % test, all pictures of a patient in
one split, by a fixed order. With ``chestxray:official`` the test split is that of the
file ``test_list.txt``, and an eighth of the patients in ``train_val_list.txt``
validates.

Pictures are decoded once, grey, to squares of 224 pixels or the image size asked for,
into ``chestxray-squares`` of the first data folder (5.6 GB for all 112,120), and mapped
from there. MedMNIST's ``medmnist:chest`` is the same data at 28 pixels.

Where the paper leaves room (Liang 2019, 4.2): it does not say whether patients are kept
apart; as in CheXNet they are.
"""

import csv
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.build import build_task, require_every_class
from evojax_mtl.tasks.files import missing
from evojax_mtl.tasks.multi_label import multi_label_task
from evojax_mtl.tasks.pictures import squares
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.task import SPLITS, Split, Task

NAME, OFFICIAL, NONE = "chestxray", "official", "No Finding"
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
SIDE = 224
TABLE = "Data_Entry_2017"
TRAINING, TEST = "train_val_list.txt", "test_list.txt"
WHERE = (
    "get Data_Entry_2017_v2020.csv and the pictures from "
    "https://nihcc.app.box.com/v/ChestXray-NIHCC"
)
_IMAGE, _LABELS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"
_SPLIT_SEED = 0


def load(argument: str | None, request: Request) -> list[Task]:
    """One task of all findings, or one of each that ``argument`` names.

    Raises:
      UserError: an unknown finding; a file or picture is missing or not as published;
        a split without a label.
    """
    words = argument.split("+") if argument is not None else []
    for word in words:
        if word not in (*FINDINGS, OFFICIAL):
            raise UserError(
                f"tasks 'chestxray:{argument}': found {word!r}; allowed: {OFFICIAL}, "
                f"{', '.join(FINDINGS)}, joined by +"
            )
    root, table = _find(request)
    images, bits, patients = _read(table)
    rows = _official(root, images, patients) if OFFICIAL in words else _split(patients)
    names = [word for word in words if word != OFFICIAL]
    make = _maker(root, table, images, bits, rows, request)
    if not names:
        return [
            multi_label_task(
                NAME, make(lambda own: own), len(FINDINGS), f"{table}: {NAME}"
            )
        ]
    return [_one(make, name, str(table)) for name in names[: request.max_tasks]]


Make = Callable[[Callable[[np.ndarray], np.ndarray]], dict[str, Split]]


def _one(make: Make, name: str, origin: str) -> Task:
    """The task of one finding."""
    place = FINDINGS.index(name)
    splits = make(lambda bits: bits >> place & 1)
    task = build_task(f"{NAME}-{name.lower()}", splits, 2, f"{origin}: {name}")
    require_every_class(task, f"{origin}: {name}")
    return task


def _maker(
    root: Path,
    table: Path,
    images: list[str],
    bits: np.ndarray,
    rows: dict[str, np.ndarray],
    request: Request,
) -> Make:
    """What makes the splits of a task from its part of the bits; decodes once."""
    places = _pictures(root)
    for number, name in enumerate(images, 1):
        if name not in places:
            raise UserError(
                f"{table}: row {number}: no picture {name} in {root}/images*; {WHERE}"
            )
    side = request.image_size or SIDE
    parts = {split: [places[images[row]] for row in rows[split]] for split in SPLITS}
    every = (str(root.resolve()), *(name for part in parts.values() for name in part))
    digest = hashlib.sha256("\n".join(every).encode()).hexdigest()[:16]
    kept = request.folders[0] / "chestxray-squares" / f"{side}-{digest}"
    decoded = {
        split: squares(root, files, side, kept / f"{split}.npy", grey=True)
        for split, files in parts.items()
        if files
    }

    def make(labels: Callable[[np.ndarray], np.ndarray]) -> dict[str, Split]:
        splits = {}
        for split in SPLITS:
            own = bits[rows[split]]
            known = own >= 0
            pixels = decoded.get(split, np.empty((0, side, side, 1), np.uint8))
            found = np.where(known, labels(np.maximum(own, 0)), 0).astype(np.int32)
            splits[split] = Split(pixels, found, known)
        return splits

    return make


def _find(request: Request) -> tuple[Path, Path]:
    """The folder of the data set and its table."""
    for folder in request.folders:
        found = sorted((folder / NAME).glob(f"{TABLE}*.csv"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UserError(
                f"{folder / NAME}: found {len(found)} files {TABLE}*.csv ({names}); "
                "allowed: one, so move the others away"
            )
        if found:
            return folder / NAME, found[0]
    raise missing(f"{NAME}/{TABLE}*.csv", request.folders, WHERE)


def _read(table: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the pictures, findings as bits (-1 not labelled), and patients."""
    images, bits, patients = [], [], []
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for column in (_IMAGE, _LABELS, _PATIENT):
                if column not in (reader.fieldnames or ()):
                    raise UserError(f"{table}: column {column!r} is missing")
            for number, row in enumerate(reader, 1):
                images.append(row[_IMAGE])
                bits.append(_bits(table, number, row[_LABELS] or ""))
                patients.append(_patient(table, number, row[_PATIENT]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{table}: not a readable table ({reason})") from None
    return images, np.array(bits, np.int32), np.array(patients, np.int64)


def _patient(table: Path, number: int, found: str | None) -> int:
    try:
        return int(found or "")
    except ValueError:
        raise UserError(
            f"{table}: row {number}: found {_PATIENT} {found!r}; allowed: a number"
        ) from None


def _bits(table: Path, number: int, found: str) -> int:
    if not found.strip():
        return -1
    names = {name.strip() for name in found.split("|")} - {NONE}
    strange = sorted(names - set(FINDINGS))
    if strange:
        raise UserError(
            f"{table}: row {number}: found {strange[0]!r}; allowed: {NONE}, "
            f"{', '.join(FINDINGS)}, joined by |"
        )
    return sum(1 << FINDINGS.index(name) for name in names)


def _pictures(root: Path) -> dict[str, str]:
    """Place of each picture, relative to ``root``, by its name."""
    found = {}
    for folder in sorted(root.glob("images*")):
        for place, _, names in os.walk(folder):
            relative = os.path.relpath(place, root)
            found.update({name: os.path.join(relative, name) for name in names})
    return found


def _by_patient(patients: np.ndarray, *ends: float) -> list[np.ndarray]:
    """Rows of parts that end at these shares of the patients, in a fixed order."""
    each = np.random.default_rng(_SPLIT_SEED).permutation(np.unique(patients))
    cuts = [round(end * len(each)) for end in ends]
    return [np.flatnonzero(np.isin(patients, part)) for part in np.split(each, cuts)]


def _split(patients: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(SPLITS, _by_patient(patients, 0.7, 0.8), strict=True))


def _official(
    root: Path, images: list[str], patients: np.ndarray
) -> dict[str, np.ndarray]:
    """Rows by the published lists; a picture in neither is left out."""
    listed = {}
    for name in (TRAINING, TEST):
        path = root / name
        if not path.is_file():
            raise UserError(f"{path}: no such file; {WHERE}")
        listed[name] = set(path.read_text(encoding="utf-8").split())
    both = listed[TRAINING] & listed[TEST]
    if both:
        raise UserError(f"{root}: {min(both)} is in {TRAINING} and in {TEST}")
    inside, test = (
        np.array(
            [row for row, image in enumerate(images) if image in listed[name]], int
        )
        for name in (TRAINING, TEST)
    )
    train, validation = _by_patient(patients[inside], 7 / 8)
    return {"train": inside[train], "validation": inside[validation], "test": test}
