"""Type and room on slides: no word is broken, nothing leaves its place, captions are the slide's own text."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pptx import Presentation
from pptx.util import Inches, Pt

from decant.reporting.picture_sheets import Tile, sheet_tiles, write_sheet
from decant.reporting.slide_tables import SIDES, add_table, column_widths, words_fit
from decant.reporting.slide_text import MORE, fitting, lines_of, widest_word, width_of
from decant.reporting.slide_tiles import CAPTION, GAP, add_tiles, grid_for
from decant.reporting.slides import content_of

RESULTS = [
    ["model", "test accuracy (95 %)", "macro precision", "macro recall", "macro F1", "mAP", "p50 ms"],
    ["student_alone", "0.865 (0.841–0.890)", "0.898", "0.842", "0.863", "0.920", "–"],
    ["student_onnx_int8", "0.875 (0.851–0.898)", "0.897", "0.857", "0.874", "0.947", "3.56"],
]


def blank_slide():
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    return deck.slides.add_slide(deck.slide_layouts[6])


@pytest.mark.parametrize("rows", [RESULTS, [["step", "setting"], ["a", "a long text of many words " * 9]]])
def test_no_word_of_a_table_is_wider_than_its_column(rows: list[list[str]]) -> None:
    table = add_table(blank_slide(), rows, 0.6, 1.35, 12.1, 7.0)
    size = table.cell(0, 0).text_frame.paragraphs[0].font.size
    assert size >= Pt(14) and len(table.rows) == len(rows)
    for at, column in enumerate(table.columns):
        room = column.width / Inches(1) - SIDES
        assert all(widest_word(row[at], round(size.pt)) <= room + 0.01 for row in rows)
    assert sum(column.width for column in table.columns) == pytest.approx(Inches(12.1), rel=0.001)


def test_rows_that_do_not_fit_are_announced_and_never_below_the_slide() -> None:
    slide = blank_slide()
    table = add_table(slide, [["label", "images"], *([f"class {n}", "1"] for n in range(60))], 0.6, 1.35, 12.1, 7.0)
    assert 10 < len(table.rows) < 60
    assert 1.35 + sum(row.height for row in table.rows) / Inches(1) <= 7.0
    assert [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame] == [MORE]


def test_words_that_fit_at_no_readable_type_are_recognised() -> None:
    names = [f"{'long' * 6}{n}" for n in range(8)]
    assert not words_fit([["", *names]], 12.1) and words_fit([["", "car", "van"]], 12.1)


def test_a_column_of_short_texts_keeps_them_on_one_line_beside_a_long_one() -> None:
    first, _ = column_widths([["augment (student)", "many words " * 30]], 18, 12.0)
    assert first >= width_of("augment (student)", 18) + SIDES - 0.01


def test_text_wraps_at_spaces_and_takes_as_many_lines_as_a_word_needs() -> None:
    width = width_of("aaaa bbbb", 20) + 0.01
    assert lines_of("aaaa bbbb", 20, width) == 1
    assert lines_of("aaaa bbbb cccc", 20, width) == 2
    assert lines_of("a" * 30, 20, width) >= 3


def test_a_text_is_cut_after_a_sentence_and_not_after_et_al() -> None:
    text = "It follows Hinton et al. 2015, with T = 2. A second one is far too long" + " for a line" * 9 + "."
    (cut,) = fitting([text], 20, 8.0, 0.5)
    assert cut == "It follows Hinton et al. 2015, with T = 2."


def test_a_negative_number_has_a_minus_sign_and_words_keep_their_hyphens() -> None:
    found = content_of("The difference is -0.102 (-0.122 to -0.081) by cross-entropy, 2-3 times.")
    assert found.lead == "The difference is −0.102 (−0.122 to −0.081) by cross-entropy, 2-3 times."


def test_a_sheet_gives_back_its_tiles_with_their_whole_captions(tmp_path: Path) -> None:
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], dtype=np.uint8)
    name = "a class name that is far too long for a tile"
    tiles = [Tile(np.full((20, 20, 3), colour, np.uint8), [name, f"file {n}"]) for n, colour in enumerate(colours)]
    write_sheet(tiles, 2, tmp_path / "sheet.jpg")
    found = sheet_tiles(tmp_path / "sheet.jpg")
    assert [caption for _, caption in found] == [[name, f"file {n}"] for n in range(3)]
    for (image, _), colour in zip(found, colours, strict=True):
        inner = np.asarray(image)[20:-20, 20:-20].astype(int)  # JPEG mixes colours at the edges
        assert image.size == (150, 150) and np.abs(inner - colour).max() < 12


@pytest.mark.parametrize("comment", [b"", b"a photo", b"{}", b'{"side": "x", "places": [[1, 2]], "captions": []}'])
def test_a_picture_that_is_no_described_sheet_has_no_tiles(tmp_path: Path, comment: bytes) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "photo.jpg", comment=comment)
    assert sheet_tiles(tmp_path / "photo.jpg") == []


@pytest.mark.parametrize("count", [1, 5, 12, 30, 48])
def test_tiles_and_captions_stay_in_their_place_with_whole_words(count: int) -> None:
    captions = [["motorcycle", "file 0.93 bicycle", "teachers 0.91 motorcycle"]] * count
    grid = grid_for(captions, 12.1, 5.65)
    assert 0 < grid.tiles <= count and grid.columns * grid.rows >= grid.tiles
    assert grid.rows * (grid.side + grid.caption + GAP) <= 5.65 + 1e-6
    assert widest_word("motorcycle", CAPTION) <= 12.1 / grid.columns - GAP


def test_captions_of_tiles_are_text_in_readable_type() -> None:
    slide, tile = blank_slide(), Image.new("RGB", (150, 150))
    add_tiles(slide, [(tile, ["car", "file 0.99 truck"])] * 12, 0.6, 1.35, 12.1, 5.65)
    texts = [shape for shape in slide.shapes if shape.has_text_frame]
    assert len(texts) == 12 and all(shape.text_frame.text == "car\nfile 0.99 truck" for shape in texts)
    assert all(p.font.size >= Pt(14) for shape in texts for p in shape.text_frame.paragraphs)
