"""Sources: folders, archives, tables, Parquet, CIFAR and the toy vehicles, all behind one interface.

SOURCES maps the name that a study gives as `data.source` to its opener and to the caption that reports print.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from decant.cores import usable_cores
from decant.data.containers import Container, open_container
from decant.data.sources.base import ListedImage, Source, locate, read_splits
from decant.data.sources.cifar import CifarSource
from decant.data.sources.csv_table import TableLayout, TableSource
from decant.data.sources.folder import FolderSource
from decant.data.sources.joined import JoinedSource
from decant.data.sources.parquet import ParquetLayout, ParquetSource
from decant.errors import UserError
from decant.study import Data, ExtraSource, ImageSource

__all__ = ["SOURCES", "ListedImage", "Source", "SourceKind", "open_source", "toy_vehicles_folder"]

WITH_COLUMNS = ("csv", "parquet")  # sources that may have auxiliary columns
Splits = Mapping[str, str] | None


@dataclass(frozen=True)
class SourceFolders:
    """data_root: paths in a study are relative to it. work: contains the drawn toy vehicles, a folder per seed."""

    data_root: Path
    work: Path
    seed: int


@dataclass(frozen=True)
class SourceKind:
    """How to open a kind of source, and its caption in reports. needs_path: True if `data.path` must be set."""

    open: Callable[[Data, SourceFolders, Splits], Source]
    caption: str
    needs_path: bool = True


def open_source(data: Data, data_root: Path, work: Path, seed: int = 0) -> Source:
    """Open the source that the study's `data` section names, joined with its extra sources.

    work: the folder into which toy vehicles are drawn. Raises UserError if a file or folder is missing, with the paths
    that were searched.
    """
    main = open_one(data, data_root, work, seed)
    if not data.extra:
        return main
    extras = [(extra, open_extra(extra, number, data_root, work)) for number, extra in enumerate(data.extra)]
    return JoinedSource(data_root / data.path, main, extras)


def open_extra(extra: ExtraSource, number: int, data_root: Path, work: Path) -> Source:
    """Open an extra source as a main one. Raises UserError as `open_source`, with the number of the source."""
    shared = extra.model_dump(include={"source", *ImageSource.model_fields})
    try:
        return open_one(Data(**shared), data_root, work, 0)
    except UserError as error:
        raise UserError(f"data.extra.{number} (its keys are meant where the message says data.KEY): {error}") from None


def open_one(data: Data, data_root: Path, work: Path, seed: int) -> Source:
    """Open the main source alone."""
    if data.further_columns and data.source not in WITH_COLUMNS:
        key = "auxiliary_columns" if data.auxiliary_columns else "cluster_column"
        raise UserError(
            f"data.{key} names a column, but a source of the kind {data.source} has none; use "
            f"{' or '.join(WITH_COLUMNS)}, or remove the key"
        )
    splits = None
    if data.split_file:
        file = locate(data_root, data.split_file, "the split file")
        splits = read_splits(file.read_bytes(), str(file), data.table_encoding)
    kind = SOURCES[data.source]
    if kind.needs_path and not data.path:
        raise UserError(f"data.source is {data.source}, so data.path must name the folder or archive to read.")
    return kind.open(data, SourceFolders(data_root, work, seed), splits)


def open_folder(data: Data, folders: SourceFolders, splits: Splits) -> Source:
    return FolderSource(
        container_of(data, folders),
        folders.data_root,
        data.predict,
        data.class_file,
        splits,
        data.sample_submission,
        data.splits,
        data.table_encoding,
    )


def container_of(data: Data, folders: SourceFolders) -> Container:
    return open_container(locate(folders.data_root, data.path, "the data set"), encoding=data.zip_encoding)


def open_table(data: Data, folders: SourceFolders, splits: Splits) -> Source:
    layout = TableLayout(
        tables=(data.table,) if isinstance(data.table, str) else tuple(data.table),
        id_column=data.id_column,
        label_column=data.label_column,
        split_column=data.split_column,
        images=data.images,
        predict=data.predict,
        sample_submission=data.sample_submission,
        class_file=data.class_file,
        encoding=data.table_encoding,
        auxiliary_columns=tuple(data.further_columns),
    )
    return TableSource(container_of(data, folders), folders.data_root, layout, splits)


def open_parquet(data: Data, folders: SourceFolders, splits: Splits) -> Source:
    layout = ParquetLayout(
        train=data.train,
        val=data.val,
        test=data.test,
        image_column=data.image_column,
        label_column=data.label_column,
        class_file=data.class_file,
        encoding=data.table_encoding,
        auxiliary_columns=tuple(data.further_columns),
    )
    return ParquetSource(locate(folders.data_root, data.path, "the data set"), folders.data_root, layout, splits)


def open_cifar(data: Data, folders: SourceFolders, splits: Splits) -> Source:
    """Open torchvision's files, or a folder of Parquet files if `path` names one."""
    if data.path and list((folders.data_root / data.path).glob("*.parquet")):
        return open_parquet(data, folders, splits)
    return CifarSource(data.source, folders.data_root / data.path, data.download, splits)


def open_toy_vehicles(data: Data, folders: SourceFolders, splits: Splits) -> Source:
    """Draw the toy vehicles unless they were drawn before; a half-drawn folder is drawn again."""
    from decant.tracking import progress
    from toy_vehicles import generate  # imported here, because no other source needs it

    toy, folder = data.toy, toy_vehicles_folder(data, folders.work, folders.seed)
    try:
        generate(
            folder, images=toy.images, size_px=toy.size_px, seed=folders.seed, classes=toy.classes,
            test_share=toy.test_share, progress=progress, processes=usable_cores(),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from None
    return FolderSource(open_container(folder, digest_contents=True), folders.work, splits=splits)


def toy_vehicles_folder(data: Data, work: Path, seed: int) -> Path:
    """The folder of a study's toy vehicles; it need not exist yet."""
    toy = data.toy
    return work / f"toy-vehicles-{toy.images}-{toy.size_px}px-{toy.classes}-test{toy.test_share:g}-seed{seed}"


SOURCES: dict[str, SourceKind] = {
    "folder": SourceKind(open_folder, "a folder of images, one sub-folder per class"),
    "csv": SourceKind(open_table, "a table of labels and a folder of images"),
    "parquet": SourceKind(open_parquet, "Parquet files with the images inside"),
    "cifar10": SourceKind(open_cifar, "CIFAR-10", needs_path=False),
    "cifar100": SourceKind(open_cifar, "CIFAR-100", needs_path=False),
    "toy_vehicles": SourceKind(open_toy_vehicles, "toy vehicles drawn by code, with planted faults", needs_path=False),
}
