"""The images that a person names on a command line: folders, archives and single files, read one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from decant.data.containers import ARCHIVE_ENDINGS, MAX_FILE_BYTES, Container, first_bytes, open_container, printable
from decant.data.images import BrokenImage, looks_like_image
from decant.errors import UserError


class GivenImages:
    """The image files below `paths`, each with a name of its own; nothing is unpacked to disk.

    A name is the path in its folder or archive, after the given path if several were given. In folders and archives,
    files that are not images are left out and counted in `skipped`; a file that a person names is always an image.
    Iterating yields (name, bytes, or a BrokenImage with the reason why the file cannot be read). Raises UserError if a
    path does not exist, an archive cannot be listed, or there is no image.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.sources: list[Path | Container] = [source_of(path) for path in paths]
        self.several = len(paths) > 1
        self.names = [names_in(source) for source in self.sources]
        listed = sum(len(source.entries) for source in self.sources if isinstance(source, Container))
        self.skipped = listed - sum(
            len(names) for source, names in zip(self.sources, self.names, strict=True) if isinstance(source, Container)
        )
        if not len(self):
            raise UserError(f"{', '.join(map(str, paths))} contains no image; give a folder or an archive of images")

    def __len__(self) -> int:
        return sum(map(len, self.names))

    def __iter__(self) -> Iterator[tuple[str, bytes | BrokenImage]]:
        for source, names in zip(self.sources, self.names, strict=True):
            if isinstance(source, Path):
                yield names[0], content_of(source)
                continue
            prefix = f"{printable(str(source.where))}/" if self.several else ""
            for name, content in source.contents(names):
                yield prefix + name, content


def source_of(path: Path) -> Path | Container:
    """The folder or archive at `path`, or the path itself for any other file. Raises UserError if there is none."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give folders, archives or files of images")
    is_archive = path.name.lower().endswith(ARCHIVE_ENDINGS) and not looks_like_image(first_bytes(str(path)))
    return open_container(path) if path.is_dir() or is_archive else path


def names_in(source: Path | Container) -> list[str]:
    """The names of the images in a source, and of all files that cannot be read."""
    if isinstance(source, Path):
        return [printable(str(source))]
    return [name for name, entry in source.entries.items() if entry.is_image or entry.problem]


def content_of(file: Path) -> bytes | BrokenImage:
    """The bytes of a file, or why it cannot be read."""
    try:
        size = file.stat().st_size
        if not file.is_file() or size > MAX_FILE_BYTES:
            return BrokenImage(f"{size} bytes, more than {MAX_FILE_BYTES}" if file.is_file() else "not a regular file")
        return file.read_bytes()
    except OSError as error:
        return BrokenImage(f"cannot be read: {error.strerror}")
