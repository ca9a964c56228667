"""The target web: a folder of static files, and its page in Chromium with the answers of Python on 50 photos."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decant.data.images import decode
from decant.errors import UserError
from decant.export.runtime import OnnxClassifier
from decant.export.targets.web import RUNTIME, write_web_folder

Vehicles = list[tuple[np.ndarray, int]]
Browser = Any


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder with files named as those of onnxruntime-web."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in (*RUNTIME, "other.mjs"):
        (folder / name).write_text(name)
    return folder


def test_the_folder_has_the_page_the_runtime_and_the_file(exported: Path, runtime: Path, tmp_path: Path) -> None:
    write_web_folder(exported / "student.onnx", tmp_path / "web", runtime)
    written = {str(path.relative_to(tmp_path / "web")) for path in (tmp_path / "web").rglob("*") if path.is_file()}
    assert written == {"index.html", "decant.json"} | {
        f"static/{name}"
        for name in (*RUNTIME, "student.onnx", "model.json", "page.mjs", "page.css", "backend.mjs", "icon.svg")
    }
    assert (tmp_path / "web/static/student.onnx").read_bytes() == (exported / "student.onnx").read_bytes()
    model = json.loads((tmp_path / "web/static/model.json").read_text(encoding="utf-8"))
    assert model == {"classes": OnnxClassifier(exported / "student.onnx").classes, "accept": None}


def test_the_page_loads_what_is_in_the_folder_and_nothing_else(exported: Path, runtime: Path, tmp_path: Path) -> None:
    write_web_folder(exported / "student.onnx", tmp_path / "web", runtime)
    page = (tmp_path / "web/index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'(?:src|href)="(.+?)"', page)
    assert loaded and all((tmp_path / "web" / address).is_file() for address in loaded)
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page
    for script in (tmp_path / "web/static").glob("*.mjs"):
        for name in re.findall(r"from '\./(.+?)'", script.read_text(encoding="utf-8")):
            assert (tmp_path / "web/static" / name).is_file()


def test_without_the_runtime_the_error_tells_how_to_get_it(exported: Path, runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="npm install onnxruntime-web"):
        write_web_folder(exported / "student.onnx", tmp_path / "web", None)
    (runtime / RUNTIME[-1]).unlink()
    with pytest.raises(UserError, match=rf"has no {RUNTIME[-1]}.*--web-runtime"):
        write_web_folder(exported / "student.onnx", tmp_path / "web", runtime)
    assert not (tmp_path / "web").exists()


@pytest.fixture(scope="module")
def web(fitted_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the folder behind a plain server of static files."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    words = [
        npm,
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        "onnxruntime-web@1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install onnxruntime-web: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    write_web_folder(fitted_file, folder / "web", folder / "node_modules" / "onnxruntime-web" / "dist")
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder / "web")]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None
        yield found.group()
        process.terminate()


@pytest.fixture(scope="module")
def photos(vehicles: Vehicles, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """50 photos: JPEG in all eight EXIF orientations, PNG, transparent PNG, WebP and grey."""
    folder, paths = tmp_path_factory.mktemp("photos"), []
    for number, (image, _) in enumerate(vehicles[:50]):
        drawn, kind = Image.fromarray(image), ("jpg", "png", "webp", "jpg", "jpg")[number % 5]
        exif = Image.Exif()
        if kind == "jpg":
            exif[0x0112] = 1 + number % 8
        if number % 10 == 1:
            drawn.putalpha(Image.linear_gradient("L").resize(drawn.size))
        if number % 10 == 6:
            drawn = drawn.convert("L")
        paths.append(folder / f"{number:02}.{kind}")
        drawn.save(paths[-1], exif=exif, **({"lossless": True} if kind == "webp" else {}))
    return paths


CLASSIFY = """
const { classify } = await import(new URL('static/backend.mjs', document.baseURI));
const answers = [];
for (const file of document.getElementById('file').files) answers.push(await classify(file));
return answers.map(({ classes }) => Object.fromEntries(classes.map((entry) => [entry.class, entry.probability])));
"""


@pytest.mark.external
def test_chromium_has_the_answers_of_python_on_50_photos(
    web: str, photos: list[Path], fitted_file: Path, new_browser: Callable[[], Browser]
) -> None:
    browser = new_browser()
    browser.open(web)
    browser.run("document.getElementById('file').addEventListener('change', (e) => e.stopImmediatePropagation(), true)")
    browser.choose("#file", *photos)
    answers = browser.run(CLASSIFY)
    classifier = OnnxClassifier(fitted_file, threads=1)
    expected = np.stack([classifier.predict(decode(path.read_bytes()))[0] for path in photos])
    found = np.array([[answer[name] for name in classifier.classes] for answer in answers])
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    lossless = [path.suffix != ".jpg" and number % 10 != 1 for number, path in enumerate(photos)]
    np.testing.assert_allclose(found[lossless], expected[lossless], atol=1e-4)
    np.testing.assert_allclose(found, expected, atol=0.03)  # decoders of JPEG differ by a grey level


@pytest.mark.external
def test_the_page_without_a_server_shows_answers_and_reasons(
    web: str, photos: list[Path], tmp_path: Path, new_browser: Callable[[], Browser]
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    browser = new_browser()
    browser.open(web)
    browser.choose("#file", *photos[:2], tmp_path / "notes.txt")
    cards = "[...document.querySelectorAll('#results .card:not(.waiting)')]"
    browser.wait_for(f"{cards}.length === 3")
    assert browser.run(f"return {cards}.filter((card) => card.querySelector('tbody tr')).length") == 2
    assert "not an image" in browser.run("return document.querySelector('.reason:not([hidden])').textContent")
