"""distill/predict.py: a row per image, the file's own probabilities, reasons, exit codes and what it needs."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
import pytest
from PIL import Image

from decant.export.image_predictions import COLUMNS, image_predictions
from decant.export.metadata import add_metadata
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.models.checkpoint import Checkpoint

Call = Callable[..., int]
Images = list[tuple[str, np.ndarray]]
SCRIPT = Path(__file__).parents[2] / "distill" / "predict.py"


@pytest.fixture
def call(exit_code_of: Call) -> Call:
    """Run the script with these arguments; return its exit code."""
    return partial(exit_code_of, "distill/predict.py")


@pytest.fixture(scope="module")
def photos(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in a sub-folder, a truncated one, a text with an image's ending, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "in").mkdir()
    for number, (_, image) in enumerate(images):
        Image.fromarray(image).save(folder / "in" / f"{number:02d}.png")
    whole = (folder / "in" / "00.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "web page.jpg").write_text("<html>not found</html>")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def model(exported: Path, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose threshold accepts half of the images."""
    file = tmp_path_factory.mktemp("model") / "student.onnx"
    shutil.copy(exported / "student.onnx", file)
    plain = OnnxClassifier(file, threads=1)
    threshold = float(np.median([plain.predict(image)[0].max() for _, image in images]))
    add_metadata(file, {"accept": json.dumps({"threshold": threshold})})
    return file


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_a_row_with_the_files_probabilities(
    call: Call, model: Path, photos: Path, images: Images, tmp_path: Path
) -> None:
    assert call(model, photos, "--csv", tmp_path / "out.csv") == 0
    table = {row["path"]: row for row in rows(tmp_path / "out.csv")}
    classifier = OnnxClassifier(model, threads=1)
    assert set(table) == {f"in/{number:02d}.png" for number in range(len(images))} | {"truncated.png", "web page.jpg"}
    accepted = 0
    for number, (_, image) in enumerate(images):
        row, (probabilities, logits) = table[f"in/{number:02d}.png"], classifier.predict(image)
        written = [float(row[f"p({name})"]) for name in classifier.classes]
        np.testing.assert_allclose(written, probabilities, atol=6e-7)
        assert row["class"] == classifier.classes[int(probabilities.argmax())] and row["reason"] == ""
        assert float(row["probability"]) == max(written)
        assert row["accept"] == ("true" if classifier.accepts(probabilities, logits) else "false")
        accepted += row["accept"] == "true"
    assert 0 < accepted < len(images)


def test_an_image_that_cannot_be_read_keeps_its_row_with_the_reason(
    call: Call, model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, photos, "--csv", tmp_path / "out.csv") == 0
    broken = {row["path"]: row for row in rows(tmp_path / "out.csv") if row["reason"]}
    assert set(broken) == {"truncated.png", "web page.jpg"} and "a web page" in broken["web page.jpg"]["reason"]
    for row in broken.values():
        assert {value for key, value in row.items() if key not in ("path", "reason")} == {""}
    printed = capsys.readouterr().out
    assert "2 cannot be read" in printed and "1 other file left out" in printed


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_table_does_not_depend_on_the_threads(
    call: Call, model: Path, photos: Path, tmp_path: Path, threads: int
) -> None:
    tables = []
    for count in (1, threads):
        assert call(model, photos, "--threads", count, "--csv", tmp_path / f"{count}.csv") == 0
        tables.append((tmp_path / f"{count}.csv").read_bytes())
    assert tables[0] == tables[1]


def test_folders_archives_and_files_may_be_given_together(
    call: Call, model: Path, photos: Path, tmp_path: Path
) -> None:
    archive, single = tmp_path / "more.zip", tmp_path / "a photo"  # without an ending
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photos / "in" / "03.png", "03.png")
    shutil.copy(photos / "in" / "01.png", single)
    assert call(model, photos / "in", archive, single, "--csv", tmp_path / "out.csv") == 0
    table = {row["path"]: row for row in rows(tmp_path / "out.csv")}
    assert table[f"{archive}/03.png"]["p(van)"] == table[f"{photos / 'in'}/03.png"]["p(van)"]
    assert table[str(single)]["p(van)"] == table[f"{photos / 'in'}/01.png"]["p(van)"]


def test_a_named_file_that_is_no_image_has_a_row(call: Call, model: Path, photos: Path, tmp_path: Path) -> None:
    assert call(model, photos / "notes.txt", photos / "in" / "00.png", "--csv", tmp_path / "out.csv") == 0
    first, second = rows(tmp_path / "out.csv")
    assert first["reason"] and not first["class"] and second["class"] and not second["reason"]


def test_class_names_are_written_unchanged(call: Call, checkpoint: Checkpoint, photos: Path, tmp_path: Path) -> None:
    names = ["=1+1", 'a "b", c', "path", "@x", "Straßenbahn"]
    export_student(Checkpoint(checkpoint.classifier, names, checkpoint.preprocessing, {}), tmp_path)
    assert call(tmp_path / "student.onnx", photos, "--csv", tmp_path / "out.csv") == 0
    table = rows(tmp_path / "out.csv")
    assert list(table[0]) == [*COLUMNS, *(f"p({name})" for name in names)]
    assert {row["class"] for row in table} <= {*names, ""}
    assert {row["accept"] for row in table} == {""}  # this file has no threshold


def test_without_a_readable_image_the_code_is_2_and_nothing_is_written(
    call: Call, model: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(model, photos / "truncated.png", "--csv", tmp_path / "out.csv") == 2
    assert "truncated.png" in caplog.text and list(tmp_path.iterdir()) == []


def test_mistakes_end_with_code_2_and_leave_the_inputs_alone(
    call: Call, model: Path, exported: Path, photos: Path, tmp_path: Path
) -> None:
    photo = photos / "in" / "00.png"
    before = photo.read_bytes()
    assert call(model, photo, "--csv", photo) == 2 and photo.read_bytes() == before
    assert call(model, photo, "--csv", tmp_path) == 2
    assert call(model, tmp_path / "nowhere", "--csv", tmp_path / "out.csv") == 2
    assert call(model, tmp_path, "--csv", tmp_path / "out.csv") == 2  # an empty folder
    assert call(exported / "student_bare.onnx", photo, "--csv", tmp_path / "out.csv") == 2
    assert call(photo, photo, "--csv", tmp_path / "out.csv") == 2
    assert call(model, photo, "--threads", 0, "--csv", tmp_path / "out.csv") == 2


def test_few_images_are_in_memory_at_a_time(model: Path, photos: Path) -> None:
    content, read = (photos / "in" / "00.png").read_bytes(), 0

    def many() -> object:
        nonlocal read
        for number in range(1000):
            read += 1
            yield f"{number}.png", content

    predicted = image_predictions(OnnxClassifier(model, threads=1), many(), threads=2)  # type: ignore[arg-type]
    for number in range(20):
        assert next(predicted).path == f"{number}.png"
        assert read <= number + 10


def test_it_needs_only_onnxruntime_numpy_and_pillow(model: Path, photos: Path, tmp_path: Path) -> None:
    """In a process whose import path has these packages and no others."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for module in (np, onnxruntime, PIL):
        folder = Path(module.__file__ or "").parent
        for path in folder.parent.glob(f"{folder.name}*"):
            (packages / path.name).symlink_to(path)
    words = [sys.executable, "-S", "-s", str(SCRIPT), str(model), str(photos), "--csv", "out.csv"]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "out.csv")) == 18
