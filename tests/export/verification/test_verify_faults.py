"""Verification of a file that runs but predicts something else: each planted fault fails its gate."""

from pathlib import Path

import pytest
from exported_students import Edit, Images, Planted, failed_gates

from decant.data.preprocessing import Preprocessing
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier


@pytest.mark.parametrize("fault", ["swap_channels", "forget_antialiasing", "interpolate_cubically", "align_corners"])
def test_wrong_preprocessing_fails_its_gate(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted, fault: str
) -> None:
    edit(folder / "student.onnx", planted[fault])
    assert "prepared" in failed_gates(verify(folder / "student.onnx", images, reference))
    assert "prepared" in failed_gates(verify(folder / "student.onnx", images))  # also without the student


@pytest.mark.parametrize("fault", ["count_outside", "repeat_last_pixel"])
def test_weights_for_pixels_outside_the_image_fail_a_gate(
    checkpoint: Checkpoint, images: Images, tmp_path: Path, edit: Edit, planted: Planted, fault: str
) -> None:
    uncropped = Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64, 1.0), {})
    export_student(uncropped, tmp_path)
    edit(tmp_path / "student.onnx", planted[fault])
    assert "prepared" in failed_gates(verify(tmp_path / "student.onnx", images, TorchReference(uncropped)))


@pytest.mark.parametrize("constants", ["mean", "std"])
def test_a_wrong_normalisation_fails_the_network_gate(
    checkpoint: Checkpoint, reference: TorchReference, images: Images, tmp_path: Path, constants: str
) -> None:
    correct = {"mean": checkpoint.classifier.mean.tolist(), "std": checkpoint.classifier.std.tolist()}
    wrong = Classifier(checkpoint.classifier.backbone, **(correct | {constants: [0.5, 0.5, 0.5]})).eval()
    export_student(Checkpoint(wrong, checkpoint.classes, checkpoint.preprocessing, {}), tmp_path)
    failed = failed_gates(verify(tmp_path / "student.onnx", images, reference))
    assert "network" in failed and "prepared" not in failed


def test_permuted_logits_fail_network_and_top1(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["permute_logits"])
    report = verify(folder / "student.onnx", images, reference)
    assert failed_gates(report) == {"network", "top1"}
    assert report["top1_agreement"] < 0.5
    assert report["worst"][0]["expected"] != report["worst"][0]["answered"]


def test_logits_permuted_in_both_files_fail_network_and_top1(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    for name in ("student.onnx", "student_bare.onnx"):
        edit(folder / name, planted["permute_logits"])
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"network", "top1"}


def test_the_bare_graph_is_compared_with_the_student(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student_bare.onnx", planted["permute_logits"])
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"network"}


def test_permuted_class_names_fail_the_classes_gate(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["permute_names"])
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"classes"}
    assert failed_gates(verify(folder / "student.onnx", images)) == {"classes"}  # classes.txt differs


def test_a_permuted_classes_txt_fails_the_classes_gate(folder: Path, reference: TorchReference, images: Images) -> None:
    lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "classes.txt").write_text("".join(sorted(lines)), encoding="utf-8")
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"classes"}


def test_a_classes_txt_that_is_not_text_fails_the_classes_gate(
    folder: Path, reference: TorchReference, images: Images
) -> None:
    (folder / "classes.txt").write_bytes("\n".join(reference.classes).encode("utf-16"))
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"classes"}


def test_a_lost_temperature_fails_the_probabilities_gate(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["drop_temperature"])
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == {"probabilities"}


def test_images_mixed_within_a_batch_fail_the_batches_gate(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["mix_batch"])
    report = verify(folder / "student.onnx", images, reference)
    assert failed_gates(report) == {"batches", "top1"}
    assert report["agreement_by_batch_size"]["1"] == 1


def test_nan_logits_fail_network_and_probabilities(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["insert_nan"])
    assert {"network", "probabilities"} <= failed_gates(verify(folder / "student.onnx", images[:2], reference))
