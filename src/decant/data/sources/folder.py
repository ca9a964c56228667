"""A folder or archive with one sub-folder per class, with or without split folders above the classes."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from decant.data.containers import ARCHIVE_ENDINGS, OTHER_ARCHIVE_ENDINGS, Container, Entry
from decant.data.file_names import is_hidden, leads_out
from decant.data.images import BrokenImage
from decant.data.layout import is_below, split_of_name, unwrapped, without_doubles, wrapping
from decant.data.sources.base import BaseSource, ListedImage, locate
from decant.data.sources.class_names import class_lines, name_classes, nfc
from decant.data.sources.folder_layout import FolderLayout, Named, read_layout, warn_of_unlabelled
from decant.errors import UserError

log = logging.getLogger(__name__)


class ContainerSource(BaseSource):
    """Files of one container by their paths below the folders that only wrap the data set."""

    def __init__(self, container: Container, prefix: str, splits: Mapping[str, str] | None, encoding: str = "") -> None:
        super().__init__(container.where, splits)
        self.container = container
        self.encoding = encoding  # of text files
        self.prefix = prefix
        self.sample: bytes | None = None
        self._stored: dict[str, str] = {}  # path without the wrapping folders -> path in the container
        for path in container.entries:
            short = unwrapped(path, prefix)
            self._stored[path if short in self._stored else short] = path
        endings = (*ARCHIVE_ENDINGS, *OTHER_ARCHIVE_ENDINGS)
        packed = [path for path in container.entries if path.lower().endswith(endings)]
        if not any(entry.is_image for entry in container.entries.values()):
            hint = f" It contains archives ({packed[0]}): unpack them first." if packed else ""
            raise UserError(f"{self.where} contains no image.{hint} Check data.path.")
        if packed:
            log.warning(
                "%d archives in %s are not read (%s). If they contain images, unpack them and run again",
                len(packed), self.where, ", ".join(packed[:3]) + (" …" if packed[3:] else ""),
            )  # fmt: skip

    def digest(self) -> str:
        return self._combined_digest(self.container.digest())

    def contents(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | BrokenImage]]:
        short = {self._stored[path]: path for path in paths}
        for path, content in self.container.contents(list(short)):
            yield short[path], content

    def sample_submission(self) -> bytes | None:
        return self.sample

    def files(self) -> dict[str, Entry]:
        """All files by their path without the wrapping folders."""
        return {path: self.container.entries[stored] for path, stored in self._stored.items()}

    def need_images_below(self, folder: str, key: str) -> None:
        """Raise UserError unless the folder that the study names contains images."""
        if folder and not any(is_below(path, folder) for path in self.images()):
            folders = sorted({path.rpartition("/")[0] for path in self.images()} - {""})
            raise UserError(
                f"data.{key}: {folder!r} in {self.where} contains no image. Folders with images: "
                f"{', '.join(folders[:12]) or 'none'}{' …' if len(folders) > 12 else ''}."
            )

    def images(self) -> dict[str, Entry]:
        """Files that have an image's extension or first bytes, by their path without the wrapping folders."""
        return {path: entry for path, entry in self.files().items() if entry.is_image}

    def class_file(self, name: str, data_root: Path) -> list[str] | None:
        """The class names in the file that the study names; None if it names none."""
        if not name:
            return None
        return class_lines(self.side_file(name, data_root, "the class file"), name, self.encoding)

    def side_file(self, name: str, data_root: Path, what: str) -> bytes:
        """The bytes of a file that the study names: in the container, else beside it, else in the data folder.

        Raises UserError if it is in none of them.
        """
        if name in self._stored:
            return self._also_digest(self.container.read_one(self._stored[name]))
        if name in self.container.entries:
            return self._also_digest(self.container.read_one(name))
        beside = self.container.where.parent / name
        path = beside if beside.is_file() else locate(data_root, name, f"{what} (not in {self.where} either)")
        if not path.is_file():
            raise UserError(f"{what} must be a file, but {path} is a folder.")
        return self._also_digest(path.read_bytes())


class FolderSource(ContainerSource):
    """The folder layout. The label is the name of the class folder; images may lie deeper below it.

    named_splits: `data.splits`. splits: path -> split of a split file.
    """

    def __init__(
        self,
        container: Container,
        data_root: Path,
        predict: str = "",
        class_file: str = "",
        splits: Mapping[str, str] | None = None,
        sample_submission: str = "",
        named_splits: Named | None = None,
        encoding: str = "",
    ) -> None:
        predict, named = predict.strip("/"), {} if named_splits is None else named_splits
        images = [path for path, entry in container.entries.items() if entry.is_image and not leads_out(path)]
        folders = named if not isinstance(named, str) else {}
        prefix = wrapping([p for p in images if not is_below(p, predict)], splits=folders)
        super().__init__(container, prefix, splits, encoding)
        self.need_images_below(predict, "predict")
        if sample_submission:
            self.sample = self.side_file(sample_submission, data_root, "the sample submission")
        names = self.class_file(class_file, data_root)
        inside = [path for path in self.images() if not leads_out(path) and not is_below(path, predict)]
        self.layout = read_layout(inside, named, self.where)
        self._items = items_of(list(self.images().items()), predict, self.layout)
        warn_of_unlabelled(self._items, self.layout)
        self._warn_of_class_to_predict()
        labels = (item.given_label for item in self._items if item.given_label is not None)
        self.classes, self._named = name_classes(labels, names)
        self._warn_of_empty_classes()

    def _list_images(self) -> Iterator[ListedImage]:
        for item in self._items:
            label = None if item.given_label is None else self._named[item.given_label]
            yield replace(item, given_label=label)

    def _warn_of_class_to_predict(self) -> None:
        """Warn of a folder called test beside the classes: it may contain images to predict."""
        for folder in sorted({item.given_label or "" for item in self._items if not self.layout.splits}):
            if split_of_name(folder) in ("test", "predict"):
                log.warning(
                    "the folder %s in %s is read as a class; if its images are to predict, say so with data.predict=%s",
                    folder, self.where, folder,
                )  # fmt: skip

    def _warn_of_empty_classes(self) -> None:
        filled = {folder for path in self._stored for folder in folders_above(path)}
        inside = self.container.folders - {""}
        folders = (folder for folder in inside if not self.prefix.startswith(folder + "/"))
        for folder in sorted(unwrapped(folder, self.prefix) for folder in folders):
            parts = without_doubles([*folder.split("/"), ""], self.layout.doubled)[:-1]
            is_class = (
                len(parts) == 2 and nfc(parts[0]) in self.layout.splits if self.layout.splits else len(parts) == 1
            )
            if is_class and not is_hidden(folder) and folder not in filled:
                log.warning("the class folder %s in %s contains no image; left out", folder, self.where)


def folders_above(path: str) -> Iterator[str]:
    """The folders that contain a path: "a", "a/b" for "a/b/1.jpg"."""
    return accumulate(path.split("/")[:-1], "{}/{}".format)


def items_of(images: Sequence[tuple[str, Entry]], predict: str, layout: FolderLayout) -> list[ListedImage]:
    """Label and split of each image from its path."""
    items = []
    for path, entry in images:
        if leads_out(path):
            item = ListedImage(path, None, None)
        elif is_below(path, predict):
            item = ListedImage(path, None, "predict")
        else:
            item = layout.item(path)
        items.append(replace(item, problem=entry.problem))
    return items
