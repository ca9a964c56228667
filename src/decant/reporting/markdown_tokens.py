"""Markdown as tokens: the part of CommonMark, with tables, that reports are written in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

PICTURES = (".png", ".jpg", ".svg")


def parser() -> MarkdownIt:
    """CommonMark with tables; HTML in the text is not passed on."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def tokens_of(markdown: str) -> list[Token]:
    return parser().parse(markdown)


def table_rows(tokens: Sequence[Token]) -> list[list[Token]]:
    """The cells of a table, row by row, the header first: each an inline token."""
    rows: list[list[Token]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token)
    return rows


def is_picture(token: Token) -> bool:
    """True if an inline token contains an image alone."""
    return [child.type for child in token.children or []] == ["image"]


def is_picture_table(tokens: Sequence[Token]) -> bool:
    """True if a table has one row, and that of images: captions are in its header."""
    rows = table_rows(tokens)
    return len(rows) == 2 and all(is_picture(cell) for cell in rows[1])


def picture_file(target: str, folder: Path, vectors: Mapping[str, Path]) -> Path | None:
    """The file of an image that Markdown shows; None if it is missing, no picture or not below the folder.

    vectors: path in the Markdown -> the figure as SVG, which is preferred.
    """
    if target in vectors:
        return vectors[target]
    file = (folder / unquote(target)).resolve()
    known = file.suffix.lower() in PICTURES and file.is_relative_to(folder.resolve()) and file.is_file()
    return file if known else None


def plain_text(token: Token) -> str:
    """The text of an inline token without its marks."""
    return "".join(child.content for child in token.children or [])
