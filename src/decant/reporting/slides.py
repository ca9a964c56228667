"""Slides of a study: about ten, with the report's tables, native charts and findings, in type for a projector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from markdown_it.token import Token
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import PP_ALIGN
from pptx.util import Inches, Pt

from decant.reporting.chapters.abstract import abstract
from decant.reporting.chapters.architecture import architecture
from decant.reporting.chapters.data_analysis import data_analysis
from decant.reporting.chapters.experiments import experiments
from decant.reporting.chapters.findings import findings
from decant.reporting.chapters.future_work import confusions, future_work
from decant.reporting.chapters.preprocessing import preprocessing
from decant.reporting.markdown_tokens import is_picture_table, plain_text, table_rows, tokens_of
from decant.reporting.pictures import ACTIVATION, SAMPLES, WORST
from decant.reporting.results_files import (
    ResultsFiles,
    confusion_rows,
    main_split,
    read_results_files,
    student_row,
)
from decant.reporting.slide_charts import (
    add_class_chart,
    add_course_chart,
    add_speed_chart,
    class_counts,
    course_lines,
    speed_points,
)

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6  # inches
TOP, BOTTOM = 1.35, 7.0  # of what stands below a title, inches
TYPE = 20  # points; nothing is smaller than SMALLEST
SMALLEST = 18
CHARACTERS = 95  # of that type on a line across the slide, in a wide font
MOST_CLASSES_IN_A_MATRIX = 12
MORE = "… more in the report"
NETWORK = ("network", "architecture", "start", "px", "10⁶ weights", "MB")  # columns of the report's tables
TRIED = ("tried", "compared with", "result (95 % interval)", "verdict")
Rows = list[list[str]]


@dataclass
class Content:
    """What a chapter's Markdown contains: its first paragraph, its tables and its list items, as plain text."""

    lead: str = ""
    tables: list[Rows] = field(default_factory=list)
    items: list[str] = field(default_factory=list)


def write_slides(results_folder: Path, out: Path) -> None:
    """Write the slides as PPTX. Raises UserError for a file of the study that cannot be read."""
    results = read_results_files(results_folder)
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    base = results.folder
    _title(deck, results, content_of(abstract(results, base)).lead)
    data = content_of(data_analysis(results, base))
    _chart(deck, "Data", data.lead, class_counts(results), add_class_chart)
    _tabled(deck, "Cleaning", data.tables, "observed", ("observed", "done", "images"))
    _picture(deck, "Sample images per class", base / SAMPLES)
    _tabled(deck, "Preprocessing", content_of(preprocessing(results, base)).tables, "step", ("step", "setting"))
    networks = content_of(architecture(results, base))
    _tabled(deck, "Architecture", networks.tables, "network", NETWORK, networks.lead)
    training = content_of(experiments(results, base))
    _chart(deck, "Training", training.lead, course_lines(results), add_course_chart)
    _tabled(deck, "What was tried", training.tables, "tried", TRIED)
    found = content_of(findings(results, base))
    _tabled(deck, "Results", found.tables, "model", (*found.tables[0][0][:6], "p50 ms") if found.tables else ())
    _confusion(deck, results)
    _chart(deck, "Accuracy against time", "", speed_points(results), add_speed_chart)
    _picture(deck, "Worst mistakes: label, then both answers", base / WORST)
    _picture(deck, "What speaks for the answer (gradient times activation)", base / ACTIVATION)
    _listed(deck, "Key findings", found.items)
    _listed(deck, "Future work", content_of(future_work(results, base)).items)
    deck.save(str(out))


def content_of(markdown: str) -> Content:
    tokens, found, depth = tokens_of(markdown), Content(), 0
    for position, token in enumerate(tokens):
        depth += token.nesting if token.type.startswith("bullet_list") else 0
        if token.type == "table_open":
            table = _until_closed(tokens, position)
            if not is_picture_table(table):
                found.tables.append([[plain_text(cell) for cell in row] for row in table_rows(table)])
        elif token.type == "paragraph_open" and depth:
            found.items.append(plain_text(tokens[position + 1]))
        elif token.type == "paragraph_open" and not found.lead:
            found.lead = plain_text(tokens[position + 1])
    return found


def _until_closed(tokens: Sequence[Token], start: int) -> Sequence[Token]:
    end = next(at for at in range(start, len(tokens)) if tokens[at].type == "table_close")
    return tokens[start : end + 1]


def _title(deck: Any, results: ResultsFiles, summary: str) -> None:
    slide = _slide(deck, "")
    name = results.title
    _text(slide, [name], top=1.0, height=1.6, size=40, bold=True)
    _text(slide, fitting([summary], 9), top=2.8, height=4.0)


def _slide(deck: Any, title: str) -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[5] if title else deck.slide_layouts[6])
    if title:
        shape = slide.shapes.title
        shape.left, shape.top, shape.width, shape.height = (Inches(v) for v in (MARGIN, 0.35, WIDTH - 2 * MARGIN, 0.8))
        shape.text_frame.text = title
        shape.text_frame.paragraphs[0].font.size = Pt(32)
        shape.text_frame.paragraphs[0].font.bold = True
        shape.text_frame.paragraphs[0].alignment = PP_ALIGN.LEFT
    return slide


def _text(
    slide: Any,
    lines: Sequence[str],
    top: float,
    height: float,
    size: int = TYPE,
    bold: bool = False,
    bullets: bool = False,
) -> None:
    box = slide.shapes.add_textbox(Inches(MARGIN), Inches(top), Inches(WIDTH - 2 * MARGIN), Inches(height))
    frame = box.text_frame
    frame.word_wrap = True
    for number, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        paragraph.text = f"• {line}" if bullets else line
        paragraph.font.size, paragraph.font.bold = Pt(size), bold
        paragraph.space_after = Pt(8)


def fitting(texts: Sequence[str], lines: int) -> list[str]:
    """The first texts that fit into so many lines; a single text that does not is cut after a sentence."""
    kept: list[str] = []
    for text in texts:
        if sum(_lines(line) for line in [*kept, text]) > lines:
            return [*kept, MORE] if kept else [_cut(text, lines)]
        kept.append(text)
    return kept


def _lines(text: str) -> int:
    return ceil(len(text) / CHARACTERS)


def _cut(text: str, lines: int) -> str:
    sentences = text.split(". ")
    while len(sentences) > 1 and _lines(". ".join(sentences)) > lines:
        sentences.pop()
    return ". ".join(sentences).rstrip(".") + "."


def _listed(deck: Any, title: str, items: Sequence[str]) -> None:
    if items:
        _text(_slide(deck, title), fitting(items, 12), TOP, BOTTOM - TOP, bullets=True)


def _chart(deck: Any, title: str, lead: str, data: Mapping[str, Any], add: Callable[..., None]) -> None:
    """A slide with a native chart of `data` below a short text; none if there is neither."""
    if not lead and not data:
        return
    slide = _slide(deck, title)
    lines = fitting([lead], 3) if lead else []
    below = TOP + 0.42 * sum(map(_lines, lines)) + (0.25 if lines else 0)
    if lines:
        _text(slide, lines, TOP, below - TOP)
    if data:
        add(slide, data, MARGIN, below, WIDTH - 2 * MARGIN, BOTTOM - below)


def _tabled(deck: Any, title: str, tables: Sequence[Rows], first: str, columns: Sequence[str], lead: str = "") -> None:
    """A slide with the table whose header begins with `first`, some of its columns."""
    rows = next((table for table in tables if table[0][0] == first), None)
    if rows is None:
        return
    slide = _slide(deck, title)
    top = TOP
    if lead:
        lines = fitting([lead], 3)
        _text(slide, lines, TOP, 1.2)
        top += 0.42 * sum(map(_lines, lines)) + 0.2
    keep = [at for at, name in enumerate(rows[0]) if name in columns]
    _table(slide, [[row[at] for at in keep] for row in rows], top)


def _table(slide: Any, rows: Rows, top: float) -> Any:
    """As many rows as fit at the smallest type, as a native table."""
    longest = [min(60, max(len(row[at]) for row in rows)) + 3 for at in range(len(rows[0]))]
    widths = [(WIDTH - 2 * MARGIN) * length / sum(longest) for length in longest]
    shown, used = [], 0.0
    for row in rows:
        tall = max(ceil(len(text) * 0.125 / (width - 0.2)) for text, width in zip(row, widths, strict=True))
        used += 0.12 + 0.32 * max(1, tall)
        if top + used > BOTTOM:
            break
        shown.append(row)
    shape = slide.shapes.add_table(
        len(shown), len(widths), Inches(MARGIN), Inches(top), Inches(WIDTH - 2 * MARGIN), Inches(0.4 * len(shown))
    )
    for at, width in enumerate(widths):
        shape.table.columns[at].width = Inches(width)
    for down, row in enumerate(shown):
        for across, text in enumerate(row):
            cell = shape.table.cell(down, across)
            cell.text = text
            cell.margin_top = cell.margin_bottom = Inches(0.03)
            for paragraph in cell.text_frame.paragraphs:
                paragraph.font.size = Pt(SMALLEST)
    if len(shown) < len(rows):
        _text(slide, [MORE], BOTTOM - 0.1, 0.4, size=SMALLEST)
    return shape.table


def _confusion(deck: Any, results: ResultsFiles) -> None:
    """The confusion matrix as a table; of many classes, the commonest confusions."""
    student = student_row(results, main_split(results))
    rows = confusion_rows(results, student["model"]) if student else []
    if student is None or not rows:
        return
    names = [row["target"] for row in rows]
    if len(names) > MOST_CLASSES_IN_A_MATRIX:
        slide = _slide(deck, f"Commonest confusions on {student['split']}")
        found = [[target, predicted, str(count)] for count, target, predicted in confusions(rows)]
        _table(slide, [["label", "prediction", "images"], *found], TOP)
        return
    slide = _slide(deck, f"Confusions on {student['split']}: a row per label, a column per prediction")
    cells = [[name if len(name) < 9 else f"{name[:7]}…" for name in row] for row in ([""] + names,)]
    cells += [[row["target"][:14], *(row[name] if row[name] != "0" else "" for name in names)] for row in rows]
    _shaded(_table(slide, cells, TOP))


def _shaded(table: Any) -> None:
    """White cells, and blue ones on the diagonal."""
    for down, row in enumerate(table.rows):
        for across, cell in enumerate(row.cells):
            if down and across:
                cell.fill.solid()
                cell.fill.fore_color.rgb = RGBColor.from_string("B9D7EA" if down == across else "FFFFFF")


def _picture(deck: Any, title: str, file: Path) -> None:
    """A slide with a picture, as large as fits; none where the file is missing."""
    if not file.is_file():
        return
    slide = _slide(deck, title)
    picture = slide.shapes.add_picture(str(file), 0, 0)
    scale = min(Inches(WIDTH - 2 * MARGIN) / picture.width, Inches(BOTTOM - TOP) / picture.height)
    picture.width, picture.height = int(picture.width * scale), int(picture.height * scale)
    picture.left, picture.top = (Inches(WIDTH) - picture.width) // 2, Inches(TOP)
