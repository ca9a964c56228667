"""The page of mistakes: names of people's files and classes are text, and nothing is loaded from elsewhere."""

import re

from decant.reporting.mistakes_page import Card, Confusion, mistakes_page

HOSTILE = '"><script>alert(1)</script>'


def card(name: str = "a.jpg", label: str = "bus") -> Card:
    return Card("data:image/jpeg;base64,AAAA", name, label, {"student": (label, 0.987), "ensemble": ("car", 0.5)})


def test_the_page_shows_label_and_both_answers() -> None:
    page = mistakes_page("Mistakes: toys", "3 of 9", [card()], [Confusion("bus", "car", 12, [card("b.jpg")])])
    assert "<dt>label</dt><dd>bus</dd><dt>student</dt><dd>bus 0.99</dd><dt>ensemble</dt><dd>car 0.50</dd>" in page
    assert "<h2>bus taken for car</h2>" in page and "12 images" in page
    assert page.index("a.jpg") < page.index("b.jpg")


def test_names_are_text() -> None:
    page = mistakes_page(HOSTILE, HOSTILE, [card(HOSTILE, HOSTILE)], [Confusion(HOSTILE, HOSTILE, 1, [])])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_nothing_outside_the_page_is_loaded() -> None:
    page = mistakes_page("Mistakes", "", [card()], [])
    assert re.findall(r'(?:src|href)="(?!data:)', page) == [] and "url(" not in page


def test_without_mistakes_the_sentence_stands_alone() -> None:
    page = mistakes_page("Mistakes", "The exported student is wrong on 0 of 9 test images.", [], [])
    assert "0 of 9" in page and "<h2>" not in page
