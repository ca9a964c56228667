"""Names of served files, and their reload when they are replaced."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from decant.errors import UserError
from decant.serving.batching import Batches
from decant.serving.deadline import Deadline
from decant.serving.served_model import ServedModel, served_models

Edit = Callable[[Path, Callable[[onnx.ModelProto], None]], None]


@pytest.fixture
def replacement(folder: Path, edit: Edit, planted: dict[str, Callable[[onnx.ModelProto], None]]) -> Path:
    """A file with other predictions."""
    other = Path(shutil.copy(folder / "student.onnx", folder / "other.onnx"))
    edit(other, planted["permute_logits"])
    return other


def replace(model: ServedModel, by: Path) -> None:
    shutil.copy(by, model.path.with_name("beside"))
    os.replace(model.path.with_name("beside"), model.path)
    for _ in range(2):  # it must be the same in two looks
        model.reload_if_replaced()


def test_a_replaced_file_is_loaded_and_requests_under_way_keep_the_old_one(folder: Path, replacement: Path) -> None:
    model = ServedModel("a", folder / "student.onnx")
    old, image = model.classifier, np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    before = old.predict(image)[1]
    replace(model, replacement)
    assert model.loads == 2 and model.classifier is not old
    np.testing.assert_allclose(model.classifier.predict(image)[1], np.roll(before, 1), atol=1e-5)
    np.testing.assert_array_equal(old.predict(image)[1], before)


def test_no_request_is_lost_while_files_are_replaced(folder: Path, replacement: Path) -> None:
    original = Path(shutil.copy(folder / "student.onnx", folder / "original.onnx"))
    model, batches = ServedModel("a", folder / "student.onnx"), Batches(workers=2)
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    first = model.classifier.predict(image)[1]
    answers, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.extend(batches.predict(model.classifier, [image], Deadline(60)))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        replace(model, replacement if number % 2 == 0 else original)
    stop.set()
    for thread in threads:
        thread.join()
    assert model.loads == 7 and len(answers) > 6
    for _, logits in answers:
        assert min(abs(logits - first).max(), abs(logits - np.roll(first, 1)).max()) < 1e-4


def test_a_file_that_still_changes_is_not_loaded(folder: Path) -> None:
    model = ServedModel("a", folder / "student.onnx")
    for number in range(3):
        os.utime(model.path, (number, number))
        model.reload_if_replaced()
    assert model.loads == 1
    model.reload_if_replaced()
    assert model.loads == 2


@pytest.mark.parametrize("damage", ["truncated", "bare graph", "missing"])
def test_the_old_file_is_served_while_the_new_one_is_broken(folder: Path, damage: str, tmp_path: Path) -> None:
    model = ServedModel("a", folder / "student.onnx")
    old, content = model.classifier, (folder / "student.onnx").read_bytes()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(content[:1000] if damage == "truncated" else (folder / "student_bare.onnx").read_bytes())
    if damage == "missing":
        model.path.unlink()
        model.reload_if_replaced()
    else:
        replace(model, broken)
        assert "student.onnx" in model.fault
    assert model.classifier is old and model.loads == 1
    (tmp_path / "whole.onnx").write_bytes(content)
    replace(model, tmp_path / "whole.onnx")
    assert model.loads == 2 and model.fault == ""


def test_a_file_is_named_by_its_study_and_may_be_given_another_name(folder: Path, edit: Edit) -> None:
    def forget_study(model: onnx.ModelProto) -> None:
        kept = [entry for entry in model.metadata_props if entry.key != "study"]
        model.ClearField("metadata_props")
        model.metadata_props.extend(kept)

    nameless = Path(shutil.copy(folder / "student.onnx", folder / "cars.onnx"))
    edit(nameless, forget_study)
    models = served_models([("", folder / "student.onnx"), ("mine", folder / "student.onnx"), ("", nameless)])
    assert [model.name for model in models] == ["toys", "mine", "cars"]


def test_two_files_of_one_name_are_an_error_with_the_mend(folder: Path) -> None:
    with pytest.raises(UserError, match="FIRST="):
        served_models([("", folder / "student.onnx")] * 2)


def test_a_file_that_cannot_be_served_is_an_error(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "student_bare.onnx", tmp_path / "missing.onnx", folder / "classes.txt"):
        with pytest.raises(UserError, match=path.name):
            ServedModel("a", path)
