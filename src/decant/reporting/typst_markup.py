"""Markdown to the markup of Typst, for the PDF."""

from collections.abc import Callable, Sequence

from markdown_it.token import Token

from decant.reporting.markdown_tokens import is_picture_table, plain_text, table_rows, tokens_of

# Largest number of columns -> size of the text in a table.
TYPE_SIZES = {7: "7.6pt", 10: "7.2pt", 12: "6.6pt", 999: "5.6pt"}
LIST_OPEN = ("bullet_list_open", "ordered_list_open")
LONG_TEXT, LONGEST_TEXT = 30, 120  # characters: longer columns of text may break; they share the width up to the second


def typst_markup(markdown: str, image: Callable[[str], str]) -> str:
    """The document's body. image: path in the Markdown -> Typst's path of the file, "" to leave the image out."""
    tokens = tokens_of(markdown)
    parts, position = [], 0
    while position < len(tokens):
        end = _end(tokens, position)
        parts.append(_block(tokens[position:end], image))
        position = end
    return "\n\n".join(part for part in parts if part)


def _end(tokens: Sequence[Token], start: int) -> int:
    """The position after the block that begins at `start`."""
    depth = 0
    for position in range(start, len(tokens)):
        depth += tokens[position].nesting
        if depth == 0:
            return position + 1
    return len(tokens)


def _block(tokens: Sequence[Token], image: Callable[[str], str]) -> str:
    kind = tokens[0].type
    if kind == "heading_open":
        return f"{'=' * int(tokens[0].tag[1:])} {_inline(tokens[1], image)}"
    if kind == "paragraph_open":
        return _inline(tokens[1], image)
    if kind in LIST_OPEN:
        items = [_inline(token, image) for token in tokens if token.type == "inline"]
        return "\n".join(f"- {item}" for item in items)
    if kind == "table_open":
        return _pictures(tokens, image) if is_picture_table(tokens) else _table(tokens, image)
    if kind in ("fence", "code_block"):
        return f"#raw({string(tokens[0].content)}, block: true)"
    return ""


def _pictures(tokens: Sequence[Token], image: Callable[[str], str]) -> str:
    """Pictures side by side with their captions below."""
    captions, pictures = table_rows(tokens)
    cells = []
    for caption, picture in zip(captions, pictures, strict=True):
        path = image(str((picture.children or [])[0].attrs["src"]))
        if path:
            cells.append(f"picture({string(path)}, [{_inline(caption, image)}])")
    return f"#pictures({', '.join(cells)},)" if cells else ""


def _table(tokens: Sequence[Token], image: Callable[[str], str]) -> str:
    rows = table_rows(tokens)
    opened = [token for token in tokens if token.type == "th_open"]
    sides = ["right" if "right" in str(token.attrs.get("style", "")) else "left" for token in opened]
    longest = [max(len(plain_text(row[at])) for row in rows) for at in range(len(sides))]
    widths = [
        f"{min(length, LONGEST_TEXT)}fr" if side == "left" and length > LONG_TEXT else "auto"
        for side, length in zip(sides, longest, strict=True)
    ]
    size = next(size for most, size in TYPE_SIZES.items() if len(sides) <= most)
    header, *body = [[f"[{_inline(cell, image)}]" for cell in row] for row in rows]
    lines = [f"  {', '.join(row)}," for row in body]
    return "\n".join(
        [
            f"#sheet({size}, ({', '.join(widths)},), ({', '.join(sides)},), ({', '.join(header)},),",
            *lines,
            ")",
        ]
    )


def _inline(token: Token, image: Callable[[str], str]) -> str:
    """The marks of an inline token, each as a function call, so that no text is read as a mark."""
    ends = {"strong_open": "#strong[", "em_open": "#emph["}
    parts = []
    for child in token.children or []:
        if child.type in ends:
            parts.append(ends[child.type])
        elif child.type in ("strong_close", "em_close", "link_close"):
            parts.append("];")
        elif child.type == "link_open":
            target = str(child.attrs["href"])
            parts.append(f"#link({string(target)})[" if "://" in target else "#underline[")
        elif child.type == "code_inline":
            parts.append(f"#raw({string(child.content)});")
        elif child.type == "image":
            path = image(str(child.attrs["src"]))
            parts.append(f"#pictures(picture({string(path)}, [{_text(child.content)}]),)" if path else "")
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.content:
            parts.append(_text(child.content))
    return "".join(parts)


def _text(text: str) -> str:
    return f"#{string(text)};" if text else ""


def string(text: str) -> str:
    """A string literal of Typst's."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
