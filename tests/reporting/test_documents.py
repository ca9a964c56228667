"""The report as HTML, PDF and slides, of an invented study with awkward class names."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image
from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE
from pptx.util import Pt

from decant.evaluation.tables import read_results_table, write_results_table
from decant.reporting.documents import write_documents
from decant.reporting.figures import render_figures
from decant.reporting.html_page import html_page
from decant.reporting.markdown_tokens import picture_file
from decant.reporting.picture_sheets import Tile, write_sheet
from decant.reporting.pictures import ACTIVATION, SAMPLES, WORST
from decant.reporting.report import report_text
from decant.reporting.typst_markup import typst_markup


@pytest.fixture(scope="module")
def documents(study_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """File name -> path."""
    folder = tmp_path_factory.mktemp("documents")
    results = Path(shutil.copytree(study_template, folder / "demo"))
    render_figures(results)
    return {path.name: path for path in write_documents(results, folder, pdf=True, slides=True)}


def pages(pdf: Path) -> list[str]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()


def test_the_pdf_has_the_seven_sections_on_at_most_two_pages_before_the_appendix(
    documents: dict[str, Path], study_template: Path
) -> None:
    texts = pages(documents["report.pdf"])
    first = next(number for number, text in enumerate(texts) if "Appendix:" in text)
    assert first <= 2
    front = "\n".join(texts[:first])
    titles = re.findall(r"^## (.*)$", report_text(study_template, study_template), flags=re.MULTILINE)
    assert len(titles) == 7 and all(title in front for title in titles)


def test_every_class_name_is_in_the_pdf_as_the_user_wrote_it(documents: dict[str, Path]) -> None:
    text = "\n".join(pages(documents["report.pdf"]))
    assert all(name in text for name in ("bus & $coach$", "truck|lorry", "грузовик"))


def test_the_page_loads_nothing_and_contains_its_figures_as_vectors(documents: dict[str, Path]) -> None:
    page = documents["report.html"].read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert any(source.startswith("data:image/svg+xml") for source in sources)
    assert "<script" not in page and "http" not in re.sub(r'src="[^"]*"', "", page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert page.count("<h2") >= 17 and "truck|lorry" in page


def test_every_link_of_the_page_leads_to_a_place_in_it(documents: dict[str, Path]) -> None:
    page = documents["report.html"].read_text(encoding="utf-8")
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(set(anchors)) == len(anchors)
    targets = re.findall(r'href="([^"]*)"', page)
    assert dead_links(targets, anchors) == []
    assert targets.count("#appendix") == 2  # in the navigation, and where REPORT.md links APPENDIX.md


def dead_links(targets: list[str], anchors: list[str]) -> list[str]:
    return [target for target in targets if not target.startswith("#") or target[1:] not in anchors]


def test_a_link_to_a_file_that_is_not_in_the_page_becomes_its_path() -> None:
    markdown = "# T\n\n[all *rows*](a%20b/rows.csv) and [c.csv](c.csv), [here](https://example.org/x), [A](APPENDIX.md)"
    page = html_page(markdown, "# Appendix", Path(), {})
    assert "all <em>rows</em> (<code>a b/rows.csv</code>) and <code>c.csv</code>, " in page
    assert '<a href="https://example.org/x">here</a>, <a href="#appendix">A</a>' in page


def test_html_in_a_title_is_shown_and_not_obeyed(study: Path, tmp_path: Path) -> None:
    settings = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**settings, "title": "<script>alert(1)</script>"}))
    (page,) = write_documents(study, tmp_path)
    assert "<script>" not in page.read_text(encoding="utf-8")


def test_a_class_name_cannot_put_a_file_into_the_page(study: Path, tmp_path: Path) -> None:
    (study.parent / "secret.png").write_bytes(b"SECRET")
    table = study / "benchmarks" / "precision" / "per_class.csv"
    name, rows = "![x](../secret.png) | _b_", read_results_table(table)
    first = rows[0]["class"]
    changed = [{**row, "class": name if row["class"] == first else row["class"]} for row in rows]
    write_results_table(changed, table, list(rows[0]))
    (page,) = write_documents(study, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert base64.b64encode(b"SECRET").decode() not in text
    assert f"<td>{name}</td>" in text


def test_an_image_outside_the_folder_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("outside.png", "study/inside.png", "study/notes.txt"):
        (tmp_path / name).write_bytes(b"content")
    shown = {target: picture_file(target, folder, {}) for target in ("inside.png", "../outside.png", "notes.txt")}
    assert shown == {"inside.png": folder / "inside.png", "../outside.png": None, "notes.txt": None}


def test_about_ten_slides_have_native_tables_and_charts_in_large_type(documents: dict[str, Path]) -> None:
    deck = Presentation(str(documents["slides.pptx"]))
    assert 8 <= len(deck.slides) <= 14
    shapes = [shape for slide in deck.slides for shape in slide.shapes]
    assert sum(shape.has_chart for shape in shapes) >= 2 and sum(shape.has_table for shape in shapes) >= 3
    runs = [
        paragraph.font.size for shape in shapes if shape.has_text_frame for paragraph in shape.text_frame.paragraphs
    ]
    cells = [cell for shape in shapes if shape.has_table for row in shape.table.rows for cell in row.cells]
    runs += [paragraph.font.size for cell in cells for paragraph in cell.text_frame.paragraphs]
    assert runs and all(size >= Pt(14) for size in runs)
    charts = [shape.chart for shape in shapes if shape.has_chart]
    assert all(chart.font.size >= Pt(14) for chart in charts)
    assert all(chart.category_axis.tick_labels.font.size in (None, Pt(14), Pt(18)) for chart in charts)


def test_every_shape_lies_on_its_slide(documents: dict[str, Path]) -> None:
    deck = Presentation(str(documents["slides.pptx"]))
    for shape in (shape for slide in deck.slides for shape in slide.shapes):
        assert shape.left >= 0 and shape.top >= 0
        assert shape.left + shape.width <= deck.slide_width and shape.top + shape.height <= deck.slide_height


def test_a_study_without_results_still_has_documents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    written = write_documents(tmp_path / "empty", tmp_path / "out", pdf=True, slides=True)
    assert [path.name for path in written] == ["report.html", "report.pdf", "slides.pptx"]


def test_the_slides_show_one_image_per_class_beside_the_class_balance(study: Path, tmp_path: Path) -> None:
    greys = {"bus": (200, 20), "car": (90, 210), "van": (120,)}  # on light grey, dark images have more contrast
    tiles = [Tile(np.full((20, 30, 3), g, np.uint8), [name]) for name, of_class in greys.items() for g in of_class]
    for sheet in (SAMPLES, WORST, ACTIVATION):
        (study / sheet).parent.mkdir(exist_ok=True)
        write_sheet(tiles, 3, study / sheet)
    _, deck = write_documents(study, tmp_path, slides=True)
    slides = list(Presentation(str(deck)).slides)
    assert len(slides) <= 13
    (data,) = [slide for slide in slides if slide.shapes.title is not None and slide.shapes.title.text == "Data"]
    pictures = [shape for shape in data.shapes if shape.shape_type == MSO_SHAPE_TYPE.PICTURE]
    (chart,) = [shape for shape in data.shapes if shape.has_chart]
    assert len(pictures) == 3 and all(chart.left + chart.width <= picture.left for picture in pictures)
    shown = [np.asarray(Image.open(io.BytesIO(picture.image.blob)).convert("L"))[75, 75] for picture in pictures]
    assert shown == pytest.approx([20, 90, 120], abs=8)


def test_photos_are_in_the_documents_where_they_are_in_the_results(study: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG")
    (study / "pictures").mkdir()
    (study / "pictures" / "samples.jpg").write_bytes(file.getvalue())
    written = write_documents(study, tmp_path, slides=True)
    assert "data:image/jpeg;base64," in written[0].read_text(encoding="utf-8")
    pictures = [
        shape for slide in Presentation(str(written[1])).slides for shape in slide.shapes if shape.shape_type == 13
    ]
    assert len(pictures) == 1


@pytest.mark.parametrize("text", ["#panic()", "$x$", "a_b*c", '"quoted"', "back\\slash", "<tag>", "@ref", "1 - 2"])
def test_marks_of_typst_in_a_text_are_text(text: str) -> None:
    escaped = re.sub(r"([\\`*_<$\[\]|])", r"\\\1", text)
    markup = typst_markup(escaped, lambda _: "")
    literals = [json.loads(part) for part in re.findall(r'#("(?:[^"\\]|\\.)*");', markup)]
    assert "".join(literals) == text
    assert re.sub(r'#"(?:[^"\\]|\\.)*";', "", markup) == ""
