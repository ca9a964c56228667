"""The page in Chromium: images in, answers out, also without JavaScript, and an automatic check of accessibility."""

import csv
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decant.benchmarking.server_process import ServerProcess, running_server
from decant.serving.server import TimedServer

pytestmark = pytest.mark.external
Browser = Any
Vehicles = list[tuple[np.ndarray, int]]
CARDS = "[...document.querySelectorAll('#results .card:not(.waiting)')]"
# The file chooser cannot be dropped on, so the event of a drop is made from the files that it holds.
DROP = """
const files = new DataTransfer();
for (const file of document.getElementById('held').files) files.items.add(file);
const event = KIND === 'paste'
  ? new ClipboardEvent('paste', { clipboardData: files, bubbles: true })
  : new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""
# What a card shows of its map: where both pictures lie, their width / height, and the text.
LAID_OVER = """(([preview, heat]) => ({
  name: card.querySelector('.name').textContent,
  legend: card.querySelector('.legend').textContent,
  preview: JSON.stringify(preview.getBoundingClientRect()),
  heat: JSON.stringify(heat.getBoundingClientRect()),
  ratios: [preview, heat].map((picture) => picture.naturalWidth / picture.naturalHeight),
}))(['.preview', '.heat'].map((name) => card.querySelector(name)))"""
HOLD = "document.body.insertAdjacentHTML('beforeend', '<input type=file id=held multiple>');"


@pytest.fixture(scope="module")
def server(fitted_file: Path) -> Iterator[ServerProcess]:
    with running_server(fitted_file, ["--threads", "1"]) as running:
        yield running


@pytest.fixture(scope="module")
def photos(vehicles: Vehicles, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"photo {number}.png" for number in range(3)]
    for path, (image, _) in zip(paths, vehicles, strict=False):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture(scope="module")
def browser(new_browser: Callable[[], Browser]) -> Browser:
    return new_browser()


@pytest.fixture
def page(browser: Browser, server: ServerProcess) -> Browser:
    browser.look(900, 900)
    browser.open(f"http://127.0.0.1:{server.port}/")
    return browser


def shown(page: Browser, count: int) -> dict[str, tuple[str, float]]:
    """Name -> class and probability, as the cards show them."""
    page.wait_for(f"{CARDS}.length === {count}")
    rows = page.run(
        f"return {CARDS}.map((card) => [card.querySelector('.name'), card.querySelector('.class'), "
        "card.querySelector('.number')].map((element) => element.textContent))"
    )
    return {name: (label, float(share.removesuffix(" %")) / 100) for name, label, share in rows}


def check(answers: dict[str, tuple[str, float]], photos: list[Path], expected: np.ndarray, names: list[str]) -> None:
    """The answers are those of Python."""
    assert set(answers) == {path.name for path in photos}
    for path, probabilities in zip(photos, expected, strict=False):
        label, share = answers[path.name]
        assert label == names[int(probabilities.argmax())]
        assert share == pytest.approx(float(probabilities.max()), abs=6e-4)


def test_three_chosen_images_have_three_answers_and_stay_when_more_are_added(
    page: Browser, photos: list[Path], expected: np.ndarray, fitted: Any
) -> None:
    page.choose("#file", *photos[:2])
    shown(page, 2)
    page.choose("#file", photos[2])
    check(shown(page, 3), photos, expected, fitted.classes)
    assert page.run("return document.querySelectorAll('#results tr').length") == 3 * len(fitted.classes)
    widths = page.run(
        f"return [...{CARDS}[0].querySelectorAll('rect')].map((bar) => bar.getBoundingClientRect().width)"
    )
    assert widths == sorted(widths, reverse=True) and widths[0] > 0


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_images_may_be_dropped_and_pasted(
    page: Browser, photos: list[Path], expected: np.ndarray, fitted: Any, kind: str
) -> None:
    page.run(HOLD)
    page.choose("#held", *photos)
    page.run(DROP.replace("KIND", f"'{kind}'"))
    check(shown(page, 3), photos, expected, fitted.classes)


def test_a_file_that_is_no_image_shows_its_reason_and_the_others_their_answers(
    page: Browser, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    page.choose("#file", tmp_path / "notes.txt", photos[0])
    page.wait_for(f"{CARDS}.length === 2")
    reasons = page.run(f"return {CARDS}.map((card) => card.querySelector('.reason:not([hidden])')?.textContent ?? '')")
    assert sorted(reasons)[0] == "" and "not an image" in sorted(reasons)[1]


def test_an_image_above_the_limit_is_answered_from_a_smaller_copy(page: Browser, tmp_path: Path) -> None:
    Image.new("RGB", (5000, 4000), "navy").save(tmp_path / "large.png")
    page.choose("#file", tmp_path / "large.png")
    assert "smaller copy" in page.wait_for(f"{CARDS}[0]?.querySelector('.time').textContent")


def test_a_sample_is_answered_and_the_table_is_saved(
    page: Browser, photos: list[Path], fitted: Any, tmp_path: Path
) -> None:
    page.click(".sample")
    shown(page, 1)
    page.choose("#file", photos[0])
    answers = shown(page, 2)
    rows = saved_table(page, tmp_path)
    assert {row["path"]: row["class"] for row in rows} == {name: label for name, (label, _) in answers.items()}
    assert set(rows[0]) == {
        "path",
        "class",
        "probability",
        "accept",
        "reason",
        *(f"p({name})" for name in fitted.classes),
    }
    assert sum(float(rows[0][f"p({name})"]) for name in fitted.classes) == pytest.approx(1, abs=1e-4)


def saved_table(page: Browser, folder: Path) -> list[dict[str, str]]:
    """The rows of the page's CSV."""
    page.chrome("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click("#csv")
    saved = folder / "predictions.csv"
    for _ in range(100):
        if saved.is_file() and saved.stat().st_size:
            break
        page.run("await new Promise((done) => setTimeout(done, 50))")
    return list(csv.DictReader(saved.read_text(encoding="utf-8").splitlines()))


def test_cards_and_table_name_the_model_that_answered(
    browser: Browser, in_process: TimedServer, photos: list[Path], tmp_path: Path
) -> None:
    browser.open(f"http://127.0.0.1:{in_process.effective_port}/")
    browser.choose("#file", photos[0])
    browser.run(
        "const model = document.getElementById('model'); model.value = 'second';"
        "model.dispatchEvent(new Event('change'));"
    )
    browser.choose("#file", photos[1])
    shown(browser, 2)
    named = f"return {CARDS}.map((card) => ['.name', '.model'].map((part) => card.querySelector(part).textContent))"
    expected = {photos[0].name: "toys", photos[1].name: "second"}
    assert dict(browser.run(named)) == expected
    assert {row["path"]: row["model"] for row in saved_table(browser, tmp_path)} == expected


HELD = """
const send = window.fetch;
const released = new Promise((done) => { window.release = done; });
Object.assign(window, { sent: 0, answered: 0 });
window.fetch = async (...given) => {
  window.sent += 1;
  await released;
  const answer = await send(...given);
  window.answered += 1;
  return answer;
};
"""


def test_clear_also_forgets_the_images_that_have_no_answer_yet(page: Browser, photos: list[Path]) -> None:
    page.run(HELD)
    page.choose("#file", *photos)
    page.wait_for("window.sent === 2")  # at once; the third waits
    page.click("#clear")
    page.run("window.release()")
    page.wait_for("window.answered === 2")
    page.run("await new Promise((done) => setTimeout(done, 300))")
    assert page.run("return [window.sent, document.getElementById('status').textContent]") == [2, ""]
    page.choose("#file", photos[2])
    assert set(shown(page, 1)) == {photos[2].name}


def test_the_page_works_without_javascript(
    page: Browser, server: ServerProcess, photos: list[Path], expected: np.ndarray, fitted: Any
) -> None:
    page.chrome("Emulation.setScriptExecutionDisabled", value=True)
    page.open(f"http://127.0.0.1:{server.port}/")
    page.choose("#file", photos[0])
    page.click(".without-script button")
    page.element("#results .card")  # raises if there is none
    page.chrome("Emulation.setScriptExecutionDisabled", value=False)
    text = page.run("return document.querySelector('#results').innerText")
    best = int(expected[0].argmax())
    assert fitted.classes[best] in text and f"{100 * expected[0][best]:.1f} %" in text


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Browser, photos: list[Path]) -> None:
    page.choose("#file", photos[0])
    shown(page, 1)
    page.run("document.activeElement.blur()")
    visited = []
    for _ in range(12):
        for kind in ("keyDown", "keyUp"):
            page.chrome("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        visited.append(
            page.run(
                "const at = document.activeElement; const seen = at.labels?.length ? at.labels[0] : at;"
                "return [at.id || at.className, getComputedStyle(seen).outlineStyle]"
            )
        )
    reached = dict(visited)
    for name in ("file", "sample", "csv", "clear", "where"):
        assert reached[name] == "solid"


def test_a_map_is_laid_over_the_preview_when_it_is_asked_for(page: Browser, tmp_path: Path) -> None:
    high, wide = tmp_path / "high.png", tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 100, 3), dtype=np.uint8)).save(high)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (100, 400, 3), dtype=np.uint8)).save(wide)
    page.choose("#file", high, wide)
    answers = shown(page, 2)
    assert not page.run("return document.querySelectorAll('.heat:not([hidden])').length")
    page.run("for (const button of document.querySelectorAll('.where')) button.click()")
    page.wait_for("[...document.querySelectorAll('.heat')].filter((heat) => heat.naturalWidth).length === 2")
    for card in page.run(f"return {CARDS}.map((card) => {LAID_OVER})"):
        assert f"speaks more for “{answers[card['name']][0]}”" in card["legend"]
        assert "Without colour: not seen" in card["legend"]  # the student crops
        assert card["preview"] == card["heat"] and card["ratios"][0] == pytest.approx(card["ratios"][1])
    page.run("for (const button of document.querySelectorAll('.where')) button.click()")
    page.wait_for("document.querySelectorAll('.heat[hidden]').length === 2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900])
def test_nothing_is_wider_than_the_window(page: Browser, photos: list[Path], scheme: str, width: int) -> None:
    page.look(width, 844, scheme, phone=width < 500)
    page.choose("#file", *photos)
    shown(page, 3)
    assert page.run("return document.documentElement.scrollWidth") <= width
    heights = page.run("return [...document.querySelectorAll('#results .number')].map((cell) => cell.offsetHeight)")
    assert max(heights) < 40  # the percentages do not break into several lines


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, an automatic checker of accessibility."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    words = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install axe-core: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900])
def test_axe_finds_no_fault_of_wcag_aa(
    page: Browser, axe: str, photos: list[Path], tmp_path: Path, scheme: str, width: int
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    page.look(width, 844, scheme, phone=width < 500)
    page.choose("#file", *photos, tmp_path / "notes.txt")
    page.wait_for(f"{CARDS}.length === 4")
    page.run("for (const badge of document.querySelectorAll('.unsure')) badge.hidden = false")
    page.click(".map:not([hidden]) .where")
    page.wait_for("[...document.querySelectorAll('.legend')].some((legend) => legend.textContent)")
    page.chrome("Runtime.evaluate", expression=axe)  # the page's policy allows no foreign script
    found = page.run(
        "return (await axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })).violations"
    )
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
