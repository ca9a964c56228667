"""Verification of an int8 file: it may differ from the fp32 file that it replaces, within a budget."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported_students import Change, Edit, Images, Planted, failed_gates
from onnx import numpy_helper

from decant.errors import UserError
from decant.export.runtime import OnnxClassifier
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify


def as_int8(noise: float) -> Change:
    """A change that marks a file as int8 and adds noise to its last layer, in place of rounded weights."""

    def change(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "dtype", "int8"
        head = next(node for node in model.graph.node if node.op_type == "Gemm")
        for tensor in model.graph.initializer:
            if tensor.name == head.input[1]:
                weights = numpy_helper.to_array(tensor)
                changed = weights + noise * np.random.default_rng(0).standard_normal(weights.shape)
                tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))

    return change


def int8_beside(folder: Path, edit: Edit, noise: float) -> Path:
    """`student_int8.onnx` beside `student.onnx`."""
    path = Path(shutil.copy(folder / "student.onnx", folder / "student_int8.onnx"))
    edit(path, as_int8(noise))
    return path


def test_int8_is_checked_against_its_budget_not_its_logits(folder: Path, images: Images, edit: Edit) -> None:
    report = verify(int8_beside(folder, edit, 1e-3), images)
    assert report["passed"] and report["precision"] == "int8" and report["reference"] == "Pillow and the fp32 file"
    assert report["skipped"] == ["accuracy", "batches", "network"]
    assert report["worst"][0]["logit_difference"] > 1e-3  # above the limit of an fp32 file
    assert report["gates"]["top1"]["limit"] == pytest.approx(0.995)


def test_int8_with_too_many_other_predictions_fails_accuracy(folder: Path, images: Images, edit: Edit) -> None:
    path = int8_beside(folder, edit, 1.0)
    fp32 = OnnxClassifier(folder / "student.onnx", threads=1)
    labels = {name: fp32.classes[int(fp32.predict(image)[1].argmax())] for name, image in images}
    report = verify(path, images, labels=labels)
    assert failed_gates(report) == {"accuracy"}
    assert report["top1_agreement"] == pytest.approx(report["accuracy"])
    assert report["reference_accuracy"] == 1
    assert report["gates"]["accuracy"]["value"] == pytest.approx(100 * (1 - report["accuracy"]))
    # With the fp32 file given by name, and a budget that is just large enough.
    for name in ("student.onnx", "classes.txt"):
        (folder / name).rename(folder / f"other_{name}")
    budget = report["gates"]["accuracy"]["value"]
    assert verify(path, images, fp32_path=folder / "other_student.onnx", labels=labels, budget=budget)["passed"]


def test_int8_that_mixes_a_batch_fails_batch_top1_even_with_labels(
    folder: Path, images: Images, edit: Edit, planted: Planted
) -> None:
    """Accuracy is measured at batch size 1, where the fault has no effect."""
    path = int8_beside(folder, edit, 1e-4)
    fp32 = OnnxClassifier(folder / "student.onnx", threads=1)
    labels = {name: fp32.classes[int(fp32.predict(image)[1].argmax())] for name, image in images}
    report = verify(path, images, labels=labels)
    assert report["passed"] and report["gates"]["batch_top1"]["value"] == 1
    edit(path, planted["mix_batch"])
    report = verify(path, images, labels=labels)
    assert failed_gates(report) == {"batch_top1"} and report["accuracy"] == 1
    assert report["gates"]["batch_top1"]["limit"] == pytest.approx(0.995)


def test_int8_has_the_same_limit_on_prepared_images_as_fp32(
    folder: Path, images: Images, edit: Edit, planted: Planted
) -> None:
    path = int8_beside(folder, edit, 1e-3)
    edit(path, planted["forget_antialiasing"])
    assert "prepared" in failed_gates(verify(path, images, budget=100))


def test_int8_needs_an_fp32_file_or_a_reference(
    folder: Path, reference: TorchReference, images: Images, edit: Edit
) -> None:
    path = int8_beside(folder, edit, 1e-3)
    with pytest.raises(UserError, match="is int8 itself"):
        verify(path, images, fp32_path=path)
    (folder / "student.onnx").unlink()
    with pytest.raises(UserError, match="give the fp32 file"):
        verify(path, images)
    assert verify(path, images, reference)["passed"]
