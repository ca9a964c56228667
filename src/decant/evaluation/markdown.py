"""Pieces of Markdown: sections, images, tables, links. An empty section and a missing image are ""."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


class Markdown(str):
    """Text that is Markdown already, such as an image: a table does not escape it."""


def section(title: str, *parts: str) -> str:
    """A heading with its non-empty parts; "" if all are empty."""
    body = paragraphs(*parts)
    return f"## {title}\n\n{body}" if body else ""


def paragraphs(*parts: str) -> str:
    """The non-empty parts with an empty line between them."""
    return "\n\n".join(part for part in parts if part)


def markdown_image(file: Path, base: Path, caption: str) -> Markdown:
    """A Markdown image with a path relative to the folder `base`; "" if the file is missing."""
    return Markdown(f"![{caption}]({link(file, base)})" if file.is_file() else "")


def figure_row(base: Path, figures: Mapping[str, Path]) -> str:
    """A table with one row of images, their captions above; "" if all are missing. figures: caption -> file."""
    present = {caption: file for caption, file in figures.items() if file.is_file()}
    if not present:
        return ""
    images = [markdown_image(file, base, caption) for caption, file in present.items()]
    return markdown_table(list(present), [images], left=len(present))


def link(file: Path, base: Path) -> str:
    """The path from the folder `base` to the file, escaped for Markdown."""
    relative = Path(os.path.relpath(file.resolve(), base.resolve())).as_posix()
    return relative.replace(" ", "%20")


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are left-aligned, the rest are right-aligned numbers.

    Cells are escaped, so that they appear as they are; `Markdown` is not escaped.
    """
    alignment = ["---" if position < left else "--:" for position in range(len(header))]
    lines = [_escaped(header), alignment, *map(_escaped, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(texts: Sequence[str]) -> list[str]:
    return [text if isinstance(text, Markdown) else plain(text) for text in texts]


def plain(text: str) -> Markdown:
    """Text from a file or a user, such as a class name, escaped so that Markdown shows it unchanged, on one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return Markdown(re.sub(r"([|*$~`\[\]\\]|(?<!\w)_|_(?!\w))", r"\\\1", line))
