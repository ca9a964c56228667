"""Slides of a study: about ten, with the report's tables, native charts and findings, in type for a projector."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it.token import Token
from PIL import Image, ImageStat
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
from decant.reporting.picture_sheets import sheet_tiles
from decant.reporting.pictures import CAPTIONS, SAMPLES, WORST
from decant.reporting.results_files import (
    ResultsFiles,
    confusion_rows,
    main_split,
    read_results_files,
    student_row,
)
from decant.reporting.slide_charts import (
    MOST_CLASSES,
    add_class_chart,
    add_course_chart,
    add_speed_chart,
    class_counts,
    course_lines,
    speed_points,
)
from decant.reporting.slide_tables import add_table, words_fit
from decant.reporting.slide_text import SPACE, fitting, height_of, width_of
from decant.reporting.slide_tiles import Tiles, add_tiles

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6  # inches
TOP, BOTTOM = 1.35, 7.0  # of what stands below a title, inches
ACROSS = WIDTH - 2 * MARGIN
TYPE = 20  # points
TITLES = (32, 28, 24)  # points, the largest that keeps a title on one line
BOLD = 1.12  # width of bold type, relative to the measured one
INSIDE = 0.2  # margins of a text box, left and right together, inches
LONGEST_LEAD = 1.5  # inches
BESIDE = 5.2  # width of images beside a chart, inches
MOST_CLASSES_IN_A_MATRIX = MOST_CONFUSIONS = 12
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
    _data(deck, results, data.lead)
    _tabled(deck, "Cleaning", data.tables, "observed", ("observed", "done", "images"))
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
    _picture(deck, CAPTIONS[WORST], base / WORST)
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
                found.tables.append([[_shown(cell) for cell in row] for row in table_rows(table)])
        elif token.type == "paragraph_open" and depth:
            found.items.append(_shown(tokens[position + 1]))
        elif token.type == "paragraph_open" and not found.lead:
            found.lead = _shown(tokens[position + 1])
    return found


def _shown(token: Token) -> str:
    """The text of a token, with a minus sign before negative numbers: lines may be broken after a hyphen."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", plain_text(token))


def _until_closed(tokens: Sequence[Token], start: int) -> Sequence[Token]:
    end = next(at for at in range(start, len(tokens)) if tokens[at].type == "table_close")
    return tokens[start : end + 1]


def _title(deck: Any, results: ResultsFiles, summary: str) -> None:
    slide = _slide(deck, "")
    name = results.title
    _text(slide, [name], top=1.0, height=1.6, size=40, bold=True)
    _text(slide, fitting([summary], TYPE, ACROSS - INSIDE, 4.0), top=2.8, height=4.0)


def _slide(deck: Any, title: str) -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[5] if title else deck.slide_layouts[6])
    if title:
        shape = slide.shapes.title
        shape.left, shape.top, shape.width, shape.height = (Inches(v) for v in (MARGIN, 0.35, ACROSS, 0.8))
        shape.text_frame.text = title
        shape.text_frame.paragraphs[0].font.size = Pt(_title_size(title))
        shape.text_frame.paragraphs[0].font.bold = True
        shape.text_frame.paragraphs[0].alignment = PP_ALIGN.LEFT
    return slide


def _title_size(title: str) -> int:
    return next((size for size in TITLES if BOLD * width_of(title, size) <= ACROSS - INSIDE), TITLES[-1])


def _data_title(results: ResultsFiles) -> str:
    classes = {row["class"] for row in results.class_counts if row["class"]}
    return "Data" if len(classes) <= MOST_CLASSES else f"Data: the {MOST_CLASSES} largest classes"


def _text(
    slide: Any,
    lines: Sequence[str],
    top: float,
    height: float,
    size: int = TYPE,
    bold: bool = False,
) -> None:
    box = slide.shapes.add_textbox(Inches(MARGIN), Inches(top), Inches(ACROSS), Inches(height))
    frame = box.text_frame
    frame.word_wrap = True
    for number, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        paragraph.text = line
        paragraph.font.size, paragraph.font.bold = Pt(size), bold
        paragraph.space_after = Pt(SPACE)


def _listed(deck: Any, title: str, items: Sequence[str]) -> None:
    if items:
        shown = fitting([f"• {item}" for item in items], TYPE, ACROSS - INSIDE, BOTTOM - TOP)
        _text(_slide(deck, title), shown, TOP, BOTTOM - TOP)


def _chart(deck: Any, title: str, lead: str, data: Mapping[str, Any], add: Callable[..., None]) -> None:
    """A slide with a native chart of `data` below a short text; none if there is neither."""
    if not lead and not data:
        return
    slide = _slide(deck, title)
    below = _lead(slide, lead)
    if data:
        add(slide, data, MARGIN, below, ACROSS, BOTTOM - below)


def _data(deck: Any, results: ResultsFiles, lead: str) -> None:
    """The images per class, beside one of each class where the study's images may be shown."""
    counts, file = class_counts(results), results.folder / SAMPLES
    tiles = one_per_caption(sheet_tiles(file)) if file.is_file() else []
    if not counts or not tiles:
        _chart(deck, _data_title(results), lead, counts, add_class_chart)
        _picture(deck, CAPTIONS[SAMPLES], file)
        return
    slide = _slide(deck, _data_title(results))
    below = _lead(slide, lead)
    add_class_chart(slide, counts, MARGIN, below, ACROSS - BESIDE, BOTTOM - below)
    add_tiles(slide, tiles, MARGIN + ACROSS - BESIDE, below, BESIDE, BOTTOM - below)


def one_per_caption(tiles: Tiles) -> Tiles:
    """Of a sheet of samples one image per class: the one with the most contrast, as others may be too dark to see."""
    chosen: dict[tuple[str, ...], tuple[Image.Image, Sequence[str]]] = {}
    for image, caption in tiles:
        present = chosen.get(tuple(caption))
        if present is None or contrast(image) > contrast(present[0]):
            chosen[tuple(caption)] = image, caption
    return list(chosen.values())


def contrast(image: Image.Image) -> float:
    return float(ImageStat.Stat(image.convert("L")).stddev[0])


def _tabled(deck: Any, title: str, tables: Sequence[Rows], first: str, columns: Sequence[str], lead: str = "") -> None:
    """A slide with the table whose header begins with `first`, some of its columns."""
    rows = next((table for table in tables if table[0][0] == first), None)
    if rows is None:
        return
    slide = _slide(deck, title)
    top = _lead(slide, lead)
    keep = [at for at, name in enumerate(rows[0]) if name in columns]
    add_table(slide, [[row[at] for at in keep] for row in rows], MARGIN, top, ACROSS, BOTTOM)


def _lead(slide: Any, lead: str) -> float:
    """Add a short text below the title, if there is one; return where it ends, inches."""
    if not lead:
        return TOP
    lines = fitting([lead], TYPE, ACROSS - INSIDE, LONGEST_LEAD)
    height = height_of(lines, TYPE, ACROSS - INSIDE) + 0.15
    _text(slide, lines, TOP, height)
    return TOP + height


def _confusion(deck: Any, results: ResultsFiles) -> None:
    """The confusion matrix as a table; of many classes or long names, the commonest confusions."""
    student = student_row(results, main_split(results))
    rows = confusion_rows(results, student["model"]) if student else []
    if student is None or not rows:
        return
    names = [row["target"] for row in rows]
    cells = [["", *names]]
    cells += [[row["target"], *(row[name] if row[name] != "0" else "" for name in names)] for row in rows]
    if len(names) > MOST_CLASSES_IN_A_MATRIX or not words_fit(cells, ACROSS):
        slide = _slide(deck, f"Commonest confusions on {student['split']}")
        found = [[target, predicted, str(count)] for count, target, predicted in confusions(rows)[:MOST_CONFUSIONS]]
        add_table(slide, [["label", "prediction", "images"], *found], MARGIN, TOP, ACROSS, BOTTOM)
        return
    slide = _slide(deck, f"Confusions on {student['split']}: a row per label, a column per prediction")
    _shaded(add_table(slide, cells, MARGIN, TOP, ACROSS, BOTTOM))


def _shaded(table: Any) -> None:
    """White cells, and blue ones on the diagonal."""
    for down, row in enumerate(table.rows):
        for across, cell in enumerate(row.cells):
            if down and across:
                cell.fill.solid()
                cell.fill.fore_color.rgb = RGBColor.from_string("B9D7EA" if down == across else "FFFFFF")


def _picture(deck: Any, title: str, file: Path) -> None:
    """A slide with the tiles of a sheet, or with a picture as large as fits; none where the file is missing."""
    if not file.is_file():
        return
    slide = _slide(deck, title)
    if tiles := sheet_tiles(file):
        add_tiles(slide, tiles, MARGIN, TOP, ACROSS, BOTTOM - TOP)
        return
    picture = slide.shapes.add_picture(str(file), 0, 0)
    scale = min(Inches(ACROSS) / picture.width, Inches(BOTTOM - TOP) / picture.height)
    picture.width, picture.height = int(picture.width * scale), int(picture.height * scale)
    picture.left, picture.top = (Inches(WIDTH) - picture.width) // 2, Inches(TOP)
