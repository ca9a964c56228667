"""The exported folder, and the content of the ONNX files."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from decant.data.images import decode
from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export import student
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.models.checkpoint import Checkpoint

Images = list[tuple[str, np.ndarray]]


def test_the_folder_contains_two_graphs_and_their_description(exported: Path, checkpoint: Checkpoint) -> None:
    names = {path.name for path in exported.iterdir()}
    assert names == {"student.onnx", "student_bare.onnx", "classes.txt", "preprocessing.json"}
    assert (exported / "classes.txt").read_bytes().decode() == "".join(f"{name}\n" for name in checkpoint.classes)
    described = json.loads((exported / "preprocessing.json").read_text())
    assert (described["input_px"], described["resize_px"]) == (64, 71)


@pytest.mark.parametrize("name", ["student.onnx", "student_bare.onnx"])
def test_the_metadata_suffice_to_use_the_file_alone(exported: Path, checkpoint: Checkpoint, name: str) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(exported / name).metadata_props}
    assert json.loads(metadata["classes"]) == checkpoint.classes
    assert "EXIF orientation" in json.loads(metadata["input"])["orientation"]
    assert json.loads(metadata["preprocessing"])["input_px"] == 64
    assert float(metadata["temperature"]) == 1.7
    assert metadata["study"] == "toys"
    assert metadata["opset"] == "18" and metadata["code_version"]


def test_logits_equal_the_students_and_probabilities_are_divided_by_the_temperature(
    exported: Path, checkpoint: Checkpoint, images: Images
) -> None:
    classifier, reference = OnnxClassifier(exported / "student.onnx", threads=1), TorchReference(checkpoint)
    assert classifier.classes == checkpoint.classes
    for _, image in images:
        probabilities, logits = classifier.predict(image)
        expected = reference.network(reference.prepare(image))
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        tempered = torch.softmax(torch.from_numpy(expected).double() / 1.7, dim=0).numpy()
        np.testing.assert_allclose(probabilities, tempered, atol=1e-5)


def test_the_bare_graph_maps_float_images_to_logits(exported: Path) -> None:
    graph = onnx.load(exported / "student_bare.onnx").graph
    assert [value.name for value in graph.input] == ["pixels"]
    assert [value.name for value in graph.output] == ["logits"]
    kind = graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in kind.shape.dim] == ["N", 3, 64, 64]


def test_exif_orientation_is_applied_before_the_graph(exported: Path, images: Images) -> None:
    upright = images[11][1]
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to see it upright"
    file = io.BytesIO()
    Image.fromarray(np.rot90(upright, 1).copy()).save(file, "PNG", exif=exif)
    classifier = OnnxClassifier(exported / "student.onnx", threads=1)
    expected = classifier.predict(upright)[1]
    np.testing.assert_array_equal(classifier.predict(decode(file.getvalue()))[1], expected)
    assert np.abs(classifier.predict(np.ascontiguousarray(np.rot90(upright, 1)))[1] - expected).max() > 1e-3


def test_the_same_student_gives_the_same_bytes(exported: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    export_student(checkpoint, tmp_path, temperature=1.7, metadata={"study": "toys"})
    for path in exported.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_an_export_that_fails_leaves_the_old_files_unchanged(
    folder: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(model: onnx.ModelProto) -> bytes:
        raise OSError("no space left on device")

    monkeypatch.setattr(student, "serialised", fail)
    with pytest.raises(OSError, match="no space"):
        export_student(checkpoint, folder, temperature=1.7)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == before


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_an_invalid_temperature_is_refused(checkpoint: Checkpoint, tmp_path: Path, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        export_student(checkpoint, tmp_path, temperature)


def test_extra_metadata_cannot_overwrite_the_classes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="overwrite classes"):
        export_student(checkpoint, tmp_path, metadata={"classes": "[]"})


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["a", "b"], "5 logits for 2 classes"), (["a", "b", "c", "d", "e\nf"], "not one line")],
)
def test_classes_that_do_not_match_the_network_are_a_user_error(
    checkpoint: Checkpoint, tmp_path: Path, classes: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        export_student(Checkpoint(checkpoint.classifier, classes, checkpoint.preprocessing, {}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_crop_ratio_of_the_checkpoint_is_applied(
    make_checkpoint: Callable[..., Checkpoint],
    exported: Path,
    checkpoint: Checkpoint,
    images: Images,
    tmp_path: Path,
) -> None:
    whole = Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64, 1.0), {})
    export_student(whole, tmp_path)
    image = images[11][1]
    cropped, uncropped = (OnnxClassifier(folder / "student.onnx", threads=1) for folder in (exported, tmp_path))
    assert np.abs(cropped.predict(image)[1] - uncropped.predict(image)[1]).max() > 1e-3
    reference = TorchReference(whole)
    expected = reference.network(reference.prepare(image))
    np.testing.assert_allclose(uncropped.predict(image)[1], expected, atol=1e-4)
