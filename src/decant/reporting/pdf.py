"""The report as PDF, set by Typst, whose package contains the compiler and fonts: no LaTeX, no network."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import typst

from decant.reporting.markdown_tokens import picture_file
from decant.reporting.typst_markup import typst_markup

PREAMBLE = """
#set document(date: none)
#set page(paper: "a4", margin: (x: 1.6cm, top: 1.3cm, bottom: 1.4cm), numbering: "1", number-align: right)
#set text(font: ("Libertinus Serif", "DejaVu Sans"), size: type-size, lang: "en", hyphenate: true)
#set par(justify: true, leading: 0.5em, spacing: 0.62em)
#set list(indent: 0.2em, body-indent: 0.4em, spacing: 0.4em, tight: true)
#show heading.where(level: 1): it => block(below: 0.7em, text(size: 15pt, it.body))
#show heading.where(level: 2): it => block(
  above: 0.85em, below: 0.45em, text(size: 10.5pt, fill: rgb("#0b4f7d"), it.body),
)
#show raw: set text(font: "DejaVu Sans Mono", size: 0.82em)
#show raw.where(block: false): it => it.text.replace("/", "/\\u{200b}").replace("_", "_\\u{200b}")
#let picture(path, caption) = (path, caption)
#let pictures-at(heights) = (..all) => {
  let shown = all.pos()
  block(above: 0.6em, below: 0.6em, grid(
    columns: shown.map(_ => 1fr), column-gutter: 0.5cm, row-gutter: 0.25em, align: center + horizon,
    ..shown.map(((path, caption)) => image(path, height: heights.at(calc.min(shown.len(), 3) - 1), fit: "contain")),
    ..shown.map(((path, caption)) => text(size: 7.6pt, style: "italic", caption)),
  ))
}
#let sheet(size, columns, sides, header, ..cells) = {
  set text(size: size)
  set par(justify: false, leading: 0.42em)
  block(above: 0.6em, below: 0.6em, width: 100%, table(
    columns: columns, inset: (x: 3pt, y: 1.9pt), stroke: none, align: (at, _) => sides.at(at),
    table.hline(stroke: 0.6pt), table.header(..header.map(strong)), table.hline(stroke: 0.4pt),
    ..cells, table.hline(stroke: 0.6pt),
  ))
}
"""
HEIGHTS = "#let pictures = pictures-at((3.3cm, 4.6cm, 3.4cm))\n"  # of one, two or three pictures side by side
MOST_PAGES = 2  # of the report, before its appendix
TYPE_SIZES = (9, 8.5, 8, 7.5)  # points; the first with which the report has at most MOST_PAGES pages is taken
LAST_PAGE = "#context [#metadata(counter(page).get().first()) <last-page>]"
APPENDIX = """
#pagebreak()
#set text(size: 8.5pt)
#let pictures = pictures-at((6cm, 5cm, 4cm))
"""


def write_pdf(report: str, appendix: str, folder: Path, vectors: dict[str, Path], out: Path) -> None:
    """Set the report's Markdown, and on new pages the appendix's.

    folder: where the images of the Markdown are. vectors: path in the Markdown -> the figure as SVG.
    """
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        images = _Images(folder, vectors, root)
        body, more = typst_markup(report, images.path), typst_markup(appendix, images.path)
        source, fonts = root / "report.typ", root / "fonts"
        fonts.mkdir()
        for font in (Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuSans*.ttf"):
            shutil.copy(font, fonts)  # for scripts that Typst's own fonts lack
        for size in TYPE_SIZES:
            front = f"#let type-size = {size}pt\n{PREAMBLE}{HEIGHTS}{body}\n{LAST_PAGE}\n"
            source.write_text(front, encoding="utf-8")
            (pages,) = json.loads(
                typst.query(
                    source, "<last-page>", field="value", root=root, font_paths=[fonts], ignore_system_fonts=True
                )
            )
            if pages <= MOST_PAGES:
                break
        source.write_text(f"{front}{APPENDIX}{more}", encoding="utf-8")
        out.write_bytes(typst.compile(source, root=root, font_paths=[fonts], ignore_system_fonts=True, format="pdf"))


class _Images:
    """Copies of the images that a document shows, below Typst's root."""

    def __init__(self, folder: Path, vectors: dict[str, Path], root: Path) -> None:
        self.folder, self.vectors, self.root = folder, vectors, root
        self.copied: dict[Path, str] = {}

    def path(self, target: str) -> str:
        """Typst's path of an image; "" if it is missing."""
        source = picture_file(target, self.folder, self.vectors)
        if source is None:
            return ""
        if source not in self.copied:
            self.copied[source] = f"{len(self.copied)}{source.suffix}"
            shutil.copyfile(source, self.root / self.copied[source])
        return self.copied[source]
