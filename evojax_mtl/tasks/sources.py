"""The sources of tasks, and loading a set of tasks by their names. No JAX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evojax_mtl.errors import UserError
from evojax_mtl.tasks import (
    chestxray,
    cifar,
    cityscapes,
    digits,
    folder,
    glyphs,
    imagenet,
    medmnist,
    mnist,
    nasbench201,
    nasbench_toy,
    npz,
    nyuv2,
    omniglot,
    remarks,
    rooms,
    tfds,
    transnasbench101,
    wikidetox,
)
from evojax_mtl.tasks.build import first_classes
from evojax_mtl.tasks.dense import DenseTask
from evojax_mtl.tasks.images import harmonise
from evojax_mtl.tasks.mtan import Layout
from evojax_mtl.tasks.published import Published
from evojax_mtl.tasks.request import Request, search_folders
from evojax_mtl.tasks.tabular import TableTask
from evojax_mtl.tasks.task import Task
from evojax_mtl.tasks.texts import TextTask

MAX_IMAGE_SIZE = 4096
MAX_TEXT_LENGTH = 4096

Kind = Literal["images", "scenes", "texts", "table"]
KINDS: dict[str, str] = {
    "images": "images",
    "scenes": "scenes with labels at every pixel",
    "texts": "texts",
    "table": "tables of measured architectures",
}
"""What the tasks of a source can be; a set of tasks is of one kind."""


@dataclass(frozen=True)
class Source:
    """Where tasks come from.

    Attributes:
      name: of the source.
      argument: what may follow the name and a colon; empty for nothing.
      description: one line.
      kind: whether it is part of the package, a public data set or the user's own.
      where: how to get its files; empty for an embedded source.
      load: its loader.
      data: what its tasks are, a key of ``KINDS``.
    """

    name: str
    argument: str
    description: str
    kind: Literal["embedded", "real", "own"]
    where: str
    load: Callable[
        [str | None, Request],
        Sequence[Task] | Sequence[DenseTask] | Sequence[TextTask] | Sequence[TableTask],
    ]
    data: Kind = "images"

    @property
    def usage(self) -> str:
        """How it is written on the command line."""
        return f"{self.name}{self.argument}"


def _published(data: Published, description: str) -> Source:
    return Source(data.name, "", description, "real", data.where, data.load)


def _layout(data: Layout, description: str) -> Source:
    return Source(
        data.name, "[:PATH]", description, "real", data.where, data.load, "scenes"
    )


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "glyphs",
            "[:N]",
            "N (20) procedurally drawn alphabets of 14 to 55 characters, 20 drawers, "
            "28x28 or drawn at any size to 105x105",
            "embedded",
            "",
            glyphs.load,
        ),
        Source(
            "digits",
            "[:QUESTION+QUESTION]",
            "1,797 real digits of 8x8 pixels (scikit-learn), asked several questions: "
            f"{', '.join(digits.QUESTIONS)}",
            "embedded",
            "",
            digits.load,
        ),
        Source(
            "omniglot",
            "[:N]",
            "the first N (20; up to 50) Omniglot alphabets in the order of the "
            "multitask literature, 28x28 or 105x105",
            "real",
            omniglot.WHERE,
            omniglot.load,
        ),
        Source(
            "medmnist",
            ":SET+SET",
            "2-D MedMNIST sets, official splits: "
            f"{', '.join(medmnist.CLASSES)}; and "
            f"{', '.join(medmnist.FINDINGS)}, with several labels an image",
            "real",
            medmnist.WHERE,
            medmnist.load,
        ),
        _published(cifar.CIFAR10, "CIFAR-10: 32x32 colour pictures of 10 classes"),
        _published(cifar.CIFAR100, "CIFAR-100: 32x32 colour pictures of 100 classes"),
        _published(mnist.MNIST, "MNIST: 28x28 handwritten digits"),
        _published(
            mnist.FASHION_MNIST, "Fashion-MNIST: 28x28 pictures of 10 kinds of clothes"
        ),
        Source(
            "chestxray",
            "[:FINDING+FINDING+official]",
            "NIH's 112,120 chest X-rays, 224x224: fourteen findings, any of which a "
            "picture may have, or a task each",
            "real",
            chestxray.WHERE,
            chestxray.load,
        ),
        Source(
            "imagenet",
            "[:PATH]",
            "ImageNet's pictures of 1,000 classes, or those of the classes there are, "
            "256x256 unless an image size is asked for",
            "real",
            imagenet.WHERE,
            imagenet.load,
        ),
        Source(
            "npz",
            ":PATH",
            "arrays: a file a task, a folder or a glob of them, with the fields of "
            "MedMNIST (train_images, ...) or images and labels",
            "own",
            "numpy.savez",
            npz.load,
        ),
        Source(
            "folder",
            ":PATH",
            "pictures: PATH/TASK/SPLIT/CLASS/IMAGE with splits train, validation, test",
            "own",
            "any 8-bit pictures that PIL reads",
            folder.load,
        ),
        Source(
            "tfds",
            ":NAME+NAME",
            "image classification data sets of TensorFlow Datasets",
            "own",
            "evojax-mtl data prepare tfds:NAME",
            tfds.load,
        ),
        Source(
            "rooms",
            "[:N]",
            "N (1000) rendered indoor scenes, 72x96 or of any height to 576: 13-class "
            "segmentation, depth and surface normals, exact at every pixel",
            "embedded",
            "",
            rooms.load,
            "scenes",
        ),
        _layout(
            nyuv2.NYUV2,
            "NYUv2: 13-class segmentation, depth and surface normals of 1,449 indoor "
            "scenes, 288x384",
        ),
        _layout(
            cityscapes.CITYSCAPES,
            "Cityscapes: 7-class segmentation and depth of 3,475 streets, 128x256",
        ),
        Source(
            "remarks",
            "[:N]",
            "N (2000) opinions written by procedure, asked four questions: "
            f"{', '.join(remarks.QUESTIONS)}",
            "embedded",
            "",
            remarks.load,
            "texts",
        ),
        Source(
            "wikidetox",
            "[:LABEL+LABEL]",
            "comments on Wikipedia's talk pages, whether they are toxic in any way, or "
            f"one: {', '.join(wikidetox.LABELS)}",
            "real",
            wikidetox.WHERE,
            wikidetox.load,
            "texts",
        ),
        Source(
            "nasbench-toy",
            "[:N]",
            "a synthetic table of the 15,625 cells of NAS-Bench-201 on N (3) tasks, "
            "made by a formula",
            "embedded",
            "",
            nasbench_toy.load,
            "table",
        ),
        Source(
            "nasbench201",
            "[:SET+SET+METRIC]",
            "NAS-Bench-201: 15,625 cells on "
            f"{', '.join(nasbench201.DATASETS)}; metrics: "
            f"{', '.join(nasbench201.METRICS)}",
            "real",
            nasbench201.WHERE,
            nasbench201.load,
            "table",
        ),
        Source(
            "transnasbench101",
            "[:TASK+TASK+SPACE]",
            "TransNAS-Bench-101: 4,096 cells (micro) or 3,256 networks (macro) on "
            f"{', '.join(transnasbench101.METRICS)}",
            "real",
            transnasbench101.WHERE,
            transnasbench101.load,
            "table",
        ),
    )
}


def parse_spec(spec: str) -> list[tuple[Source, str | None]]:
    """Sources and their arguments in ``SOURCE[:ARG],SOURCE[:ARG]``.

    Sources without an argument may also be joined by ``+``: ``cifar10+cifar100``.

    Raises:
      UserError: an unknown source, an argument that lacks, or one after sources that
        are joined by ``+``.
    """
    parsed = []
    for part in spec.split(","):
        joined, colon, argument = part.strip().partition(":")
        names = joined.split("+")
        for name in names:
            if name not in SOURCES:
                raise UserError(
                    f"tasks {spec!r}: unknown source {name!r}; allowed: "
                    f"{', '.join(source.usage for source in SOURCES.values())}, joined "
                    "by comma"
                )
        if colon and len(names) > 1:
            raise UserError(
                f"tasks {spec!r}: an argument after {joined!r}; allowed: sources with "
                "an argument are joined by comma"
            )
        if colon and not argument:
            raise UserError(
                f"tasks {spec!r}: nothing after {joined + ':'!r}; allowed: "
                f"{SOURCES[joined].usage}"
            )
        parsed += [(SOURCES[name], argument or None) for name in names]
    return parsed


def data_kind(spec: str) -> Kind:
    """What the tasks of a specification are.

    Raises:
      UserError: a wrong specification, or one of several kinds.
    """
    kinds = {source.data: source for source, _ in parse_spec(spec)}
    if len(kinds) > 1:
        (kind, source), (other, second), *_ = kinds.items()
        raise UserError(
            f"tasks {spec!r}: {source.name} gives {KINDS[kind]} and {second.name} "
            f"{KINDS[other]}; allowed: one kind"
        )
    return next(iter(kinds))


def check_kind(spec: str, *wanted: Kind) -> Kind:
    """The kind of the tasks of a specification, which must be one of ``wanted``.

    Raises:
      UserError: it is another, or the specification is wrong.
    """
    found = data_kind(spec)
    if found not in wanted:
        allowed = [
            f"{KINDS[kind]}: "
            + ", ".join(n for n, source in SOURCES.items() if source.data == kind)
            for kind in dict.fromkeys(wanted)
        ]
        raise UserError(
            f"--tasks: found {spec}, which are {KINDS[found]}, must be "
            f"{'; or '.join(allowed)}"
        )
    return found


def load_tasks(
    spec: str,
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    text_length: int | None = None,
    max_tasks: int | None = None,
    max_classes: int | None = None,
    seed: int = 0,
) -> list[Task] | list[DenseTask] | list[TextTask] | list[TableTask]:
    """Loads one set of tasks with unique names and one input shape, or one space.

    Args:
      spec: sources joined by comma, ``SOURCE``, ``SOURCE+SOURCE`` or ``SOURCE:ARG``
        each.
      data_dir: where files are looked for; None looks in ``$EVOJAX_MTL_DATA``, the
        user's cache folder and TFDS's own folder.
      image_size: pixels a side of all images, the height of scenes; None keeps what
        the source has, or resizes to the largest height and width where tasks differ.
      text_length: words that are kept of each text, the first ones; None keeps as many
        as the source does.
      max_tasks: keeps the first tasks of the set.
      max_classes: keeps the first classes of each task.
      seed: of what is drawn by procedure; splits of real data never depend on it.

    Returns:
      Tasks of one input shape; grey ones are repeated to the most channels. Or the
      tasks of one source of scenes or texts, or tables over one space of architectures.

    Raises:
      UserError: the specification, a file or a wish is wrong; one line.
    """
    limits = {
        "image_size": (image_size, 1, MAX_IMAGE_SIZE),
        "text_length": (text_length, 1, MAX_TEXT_LENGTH),
        "max_tasks": (max_tasks, 1, None),
        "max_classes": (max_classes, 2, None),
    }
    for name, (value, least, most) in limits.items():
        if value is not None and (value < least or (most and value > most)):
            allowed = f"{least} to {most}" if most else f"{least} or more"
            raise UserError(f"{name}: found {value}; allowed: {allowed}")
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"data_dir: {data_dir} is not a folder")

    kind = data_kind(spec)
    if kind in ("scenes", "texts"):
        _check_shared(spec, kind, max_classes)
    found: list[Any] = []
    for source, argument in parse_spec(spec):
        wanted = None if max_tasks is None else max_tasks - len(found)
        if wanted == 0:
            break
        request = Request(
            folders=search_folders(data_dir),
            image_size=image_size,
            text_length=text_length,
            max_tasks=wanted,
            max_classes=max_classes,
            seed=seed,
        )
        found += source.load(argument, request)[:wanted]
    names = [task.name for task in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"tasks {spec!r}: two tasks {name!r}; allowed: unique names"
            )
    if kind in ("scenes", "texts"):
        return found
    if kind == "table":
        spaces = dict.fromkeys(task.space.name for task in found)
        if len(spaces) > 1:
            raise UserError(
                f"tasks {spec!r}: found spaces {', '.join(spaces)}; allowed: one space "
                "of architectures"
            )
        return found
    if max_classes is not None:
        found = [first_classes(task, max_classes) for task in found]
    return harmonise(found, image_size)


def _check_shared(spec: str, kind: Kind, max_classes: int | None) -> None:
    """The tasks of scenes share images and classes, those of texts their texts."""
    sources = parse_spec(spec)
    if len(sources) > 1:
        names = ", ".join(source.name for source, _ in sources)
        raise UserError(f"tasks {spec!r}: found {names}; allowed: one source of {kind}")
    if max_classes is not None:
        raise UserError(
            f"max_classes: found {max_classes}; allowed for {kind}: None, which keeps "
            "all classes"
        )


def load_tables(spec: str, **wishes: Any) -> list[TableTask]:
    """``load_tasks`` where only tables will do.

    Raises:
      UserError: as ``load_tasks``, or the tasks are images.
    """
    kind = data_kind(spec)
    if kind != "table":
        raise UserError(f"tasks {spec!r}: {KINDS[kind]}; allowed: {KINDS['table']}")
    return [task for task in load_tasks(spec, **wishes) if isinstance(task, TableTask)]
