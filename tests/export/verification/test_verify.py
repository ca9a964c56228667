"""Verification of a correct file: gates, references, labels, batches and refused input."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from exported_students import Edit, Images, Planted, failed_gates

from decant.errors import UserError
from decant.export.targets.transformersjs import write_transformersjs_folder
from decant.export.verification.comparison import FILLED_BATCHES
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify


def test_an_unchanged_file_passes_every_gate(exported: Path, reference: TorchReference, images: Images) -> None:
    report = verify(exported / "student.onnx", images, reference)
    assert report["passed"] is True and failed_gates(report) == set() and report["skipped"] == []
    assert report["n"] == len(images)
    assert report["batch_sizes"] == [1, 7, 32]
    assert report["top1_agreement"] == 1
    assert report["max_abs_logit_difference"] <= 1e-3
    assert len({image["answered"] for image in report["worst"]}) > 1  # the predictions differ between these images


def test_pillow_is_the_reference_without_a_checkpoint(exported: Path, images: Images) -> None:
    report = verify(exported / "student.onnx", images)
    assert report["passed"] and report["skipped"] == []
    assert report["gates"]["prepared"]["value"] < 0.1


def test_the_resize_used_for_planting_faults_passes_without_a_fault(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["resize_instead"])
    assert failed_gates(verify(folder / "student.onnx", images, reference)) == set()


def test_prepared_images_are_checked_without_another_network(
    folder: Path, images: Images, edit: Edit, planted: Planted
) -> None:
    (folder / "student_bare.onnx").unlink()
    report = verify(folder / "student.onnx", images)
    assert report["passed"] and report["skipped"] == ["network", "top1"]
    assert "give the checkpoint" in report["gates"]["top1"]["why"]
    edit(folder / "student.onnx", planted["swap_channels"])
    assert failed_gates(verify(folder / "student.onnx", images)) == {"prepared"}


def logits_of(reference: TorchReference, image: np.ndarray) -> np.ndarray:
    """The reference's logits [K] for an image."""
    return reference.network(reference.prepare(image))


def test_with_labels_the_accuracy_of_file_and_reference_is_measured(
    exported: Path, reference: TorchReference, images: Images
) -> None:
    right = {name: reference.classes[int(logits_of(reference, image).argmax())] for name, image in images}
    names = list(right)
    other = next(name for name in reference.classes if name != right[names[0]])
    labels = {**right, names[0]: other, names[1]: "no such class"}
    del labels[names[2]]
    report = verify(exported / "student.onnx", images, reference, labels=labels)
    known = len(images) - 2
    assert report["labelled"] == known
    assert report["accuracy"] == report["reference_accuracy"] == pytest.approx((known - 1) / known)


def test_images_are_read_once_and_not_kept(exported: Path, reference: TorchReference, images: Images) -> None:
    alive: set[int] = set()
    most = 0

    def counted() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal most
        for number in range(60):  # all of one shape, so at most 31 images wait for a batch of 32
            image = images[number % 8][1].copy()
            alive.add(id(image))
            weakref.finalize(image, alive.discard, id(image))
            most = max(most, len(alive))
            yield str(number), image

    report = verify(exported / "student.onnx", counted(), reference)
    assert report["passed"] and report["n"] == 60
    assert most <= 32 + 3


def test_the_report_counts_the_images_in_batches(exported: Path, reference: TorchReference) -> None:
    """Of images whose shapes all differ, only some are put into a batch, with fillers."""
    all_different = [(str(n), np.full((20 + n, 30, 3), 5 * n, np.uint8)) for n in range(2 * FILLED_BATCHES + 1)]
    report = verify(exported / "student.onnx", all_different, reference, batch_sizes=(1, 7))
    assert report["pictures_by_batch_size"] == {"1": 33, "7": 11}  # every third
    assert report["agreement_by_batch_size"].keys() == report["pictures_by_batch_size"].keys()


def test_a_missing_file_and_missing_images_are_refused(
    exported: Path, reference: TorchReference, images: Images, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        verify(tmp_path / "student.onnx", images, reference)
    with pytest.raises(ValueError, match="no images"):
        verify(exported / "student.onnx", [], reference)


def test_bare_and_web_graphs_are_refused(exported: Path, images: Images, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains the bare graph.*student.onnx"):
        verify(exported / "student_bare.onnx", images)
    write_transformersjs_folder(exported / "student.onnx", tmp_path)
    with pytest.raises(UserError, match=r"contains the web graph.*give the file"):
        verify(tmp_path / "onnx" / "model.onnx", images)
