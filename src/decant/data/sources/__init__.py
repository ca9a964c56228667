"""Sources: folders, archives, tables, parquet, CIFAR and the toy vehicles, all behind one interface."""

from collections.abc import Mapping
from pathlib import Path

from decant.data.containers import open_container
from decant.data.sources.base import Found, Source, locate, read_splits
from decant.data.sources.cifar import CifarSource
from decant.data.sources.csv_table import TableLayout, TableSource
from decant.data.sources.folder import FolderSource
from decant.data.sources.parquet import ParquetLayout, ParquetSource
from decant.errors import UserError
from decant.study import Data

__all__ = ["Found", "Source", "open_source"]

Splits = Mapping[str, str] | None


def open_source(data: Data, data_root: Path, work: Path, seed: int = 0) -> Source:
    """The source that the study's `data` section asks for.

    data_root: what its paths are relative to. work: the folder into which toy vehicles are drawn, once for
    each seed. Raises UserError when something is missing: what, where it was looked for and what to do.
    """
    splits = None
    if data.split_file:
        file = locate(data_root, data.split_file, "the split file")
        splits = read_splits(file.read_bytes(), str(file))
    if data.source == "toy_vehicles":
        return toy_vehicles_source(data, work, seed, splits)
    if data.source in ("cifar10", "cifar100"):
        return cifar_source(data, data_root, splits)
    if not data.path:
        raise UserError(f"data.source is {data.source}, so data.path must say which folder or archive to read.")
    if data.source == "folder":
        return folder_source(data, data_root, splits)
    return table_source(data, data_root, splits) if data.source == "csv" else parquet_source(data, data_root, splits)


def folder_source(data: Data, data_root: Path, splits: Splits) -> FolderSource:
    container = open_container(locate(data_root, data.path, "the data set"))
    return FolderSource(container, data_root, data.predict, data.class_file, splits, data.sample_submission)


def table_source(data: Data, data_root: Path, splits: Splits) -> TableSource:
    layout = TableLayout(
        table=data.table,
        id_column=data.id_column,
        label_column=data.label_column,
        images=data.images,
        predict=data.predict,
        sample_submission=data.sample_submission,
        class_file=data.class_file,
    )
    return TableSource(open_container(locate(data_root, data.path, "the data set")), data_root, layout, splits)


def parquet_source(data: Data, data_root: Path, splits: Splits) -> ParquetSource:
    layout = ParquetLayout(
        train=data.train,
        val=data.val,
        test=data.test,
        image_column=data.image_column,
        label_column=data.label_column,
        class_file=data.class_file,
    )
    return ParquetSource(locate(data_root, data.path, "the data set"), data_root, layout, splits)


def cifar_source(data: Data, data_root: Path, splits: Splits) -> Source:
    """torchvision's files, or a folder of parquet files where `path` names one."""
    if data.path and list((data_root / data.path).glob("*.parquet")):
        return parquet_source(data, data_root, splits)
    return CifarSource(data.source, data_root / data.path, data.download, splits)


def toy_vehicles_source(data: Data, work: Path, seed: int, splits: Splits) -> FolderSource:
    """The embedded data set, drawn beside and moved into place: a half-drawn one is never taken for whole."""
    from decant.tracking import progress
    from toy_vehicles import generate  # the drawing code, wanted by this source alone

    toy = data.toy
    folder = work / f"toy-vehicles-{toy.images}-{toy.size_px}px-{toy.classes}-seed{seed}"
    try:  # does nothing where the set is already there whole
        generate(folder, images=toy.images, size_px=toy.size_px, seed=seed, classes=toy.classes, progress=progress)
    except ValueError as error:
        raise UserError(str(error)) from None
    return FolderSource(open_container(folder, digest_contents=True), work, splits=splits)
