"""Verification passes what is whole, and each way of breaking it turns its gate red."""

import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.export.targets.transformersjs import write_transformersjs_folder
from decant.export.verification.comparison import FILLED_BATCHES
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier

Images = list[tuple[str, np.ndarray]]
Change = Callable[[onnx.ModelProto], None]
Edit = Callable[[Path, Change], None]
Planted = dict[str, Change]


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> TorchReference:
    return TorchReference(checkpoint)


def asked(reference: TorchReference, picture: np.ndarray) -> np.ndarray:
    """Its logits [K] of a picture."""
    return reference.network(reference.prepare(picture))


def failed(report: dict) -> set[str]:
    json.dumps(report, allow_nan=False)  # whatever happens, the report can be written
    assert report["passed"] is (not any(gate["passed"] is False for gate in report["gates"].values()))
    return {name for name, gate in report["gates"].items() if gate["passed"] is False}


def test_a_whole_file_passes_every_gate(exported: Path, reference: TorchReference, pictures: Images) -> None:
    report = verify(exported / "student.onnx", pictures, reference)
    assert report["passed"] is True and failed(report) == set() and report["skipped"] == []
    assert report["n"] == len(pictures)
    assert report["batch_sizes"] == [1, 7, 32]
    assert report["top1_agreement"] == 1
    assert report["max_abs_logit_difference"] <= 1e-3
    assert len({one["answered"] for one in report["worst"]}) > 1  # the student tells these pictures apart


def test_pillow_stands_in_where_the_student_is_not_at_hand(exported: Path, pictures: Images) -> None:
    report = verify(exported / "student.onnx", pictures)
    assert report["passed"] and report["skipped"] == []
    assert report["gates"]["prepared"]["value"] < 0.1


@pytest.mark.parametrize("fault", ["swap_channels", "forget_antialiasing", "interpolate_cubically", "align_corners"])
def test_another_picture_is_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted, fault: str
) -> None:
    edit(folder / "student.onnx", planted[fault])
    assert "prepared" in failed(verify(folder / "student.onnx", pictures, reference))
    assert "prepared" in failed(verify(folder / "student.onnx", pictures))  # without the student, too


def test_the_resize_that_those_faults_are_planted_in_is_right_without_them(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["resize_instead"])
    assert failed(verify(folder / "student.onnx", pictures, reference)) == set()


@pytest.mark.parametrize("fault", ["count_outside", "repeat_last_pixel"])
def test_a_border_that_counts_pixels_outside_is_found(
    checkpoint: Checkpoint, pictures: Images, tmp_path: Path, edit: Edit, planted: Planted, fault: str
) -> None:
    uncropped = Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64, 1.0), {})
    export_student(uncropped, tmp_path)
    edit(tmp_path / "student.onnx", planted[fault])
    assert "prepared" in failed(verify(tmp_path / "student.onnx", pictures, TorchReference(uncropped)))


@pytest.mark.parametrize("constants", ["mean", "std"])
def test_a_wrong_normalisation_is_found(
    checkpoint: Checkpoint, reference: TorchReference, pictures: Images, tmp_path: Path, constants: str
) -> None:
    right = {"mean": checkpoint.classifier.mean.tolist(), "std": checkpoint.classifier.std.tolist()}
    wrong = Classifier(checkpoint.classifier.backbone, **(right | {constants: [0.5, 0.5, 0.5]})).eval()
    export_student(Checkpoint(wrong, checkpoint.classes, checkpoint.preprocessing, {}), tmp_path)
    found = failed(verify(tmp_path / "student.onnx", pictures, reference))
    assert "network" in found and "prepared" not in found


def test_permuted_answers_are_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["permute_answers"])
    report = verify(folder / "student.onnx", pictures, reference)
    assert failed(report) == {"network", "top1"}
    assert report["top1_agreement"] < 0.5
    assert report["worst"][0]["expected"] != report["worst"][0]["answered"]


def test_answers_permuted_in_both_files_are_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    for name in ("student.onnx", "student_bare.onnx"):
        edit(folder / name, planted["permute_answers"])
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"network", "top1"}


def test_permuted_class_names_are_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["permute_names"])
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"classes"}
    assert failed(verify(folder / "student.onnx", pictures)) == {"classes"}  # classes.txt tells


def test_a_permuted_classes_txt_is_found(folder: Path, reference: TorchReference, pictures: Images) -> None:
    lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "classes.txt").write_text("".join(sorted(lines)), encoding="utf-8")
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"classes"}


def test_a_lost_temperature_is_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["cool_down"])
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"probabilities"}


def test_pictures_that_leak_into_their_batch_are_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["mix_batch"])
    report = verify(folder / "student.onnx", pictures, reference)
    assert failed(report) == {"batches", "top1"}
    assert report["agreement_by_batch_size"]["1"] == 1


def test_a_file_that_fails_in_a_batch_is_a_failed_gate_and_no_exception(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["freeze_batch"])
    report = verify(folder / "student.onnx", pictures, reference)
    assert "answers" in failed(report) and report["top1_agreement"] is None


@pytest.mark.parametrize("name", ["student.onnx", "student_bare.onnx"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_truncated_file_is_a_failed_gate_and_no_exception(
    folder: Path, reference: TorchReference, pictures: Images, name: str, share: float
) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(share * len(data))])
    report = verify(folder / "student.onnx", pictures[:2], reference)
    assert "structure" in failed(report)
    assert any(name in fault for fault in report["gates"]["structure"]["value"])


@pytest.mark.parametrize("version", [11, 17, 19, 999])
def test_another_opset_than_was_exported_is_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, version: int
) -> None:
    edit(folder / "student.onnx", lambda model: setattr(model.opset_import[0], "version", version))
    report = verify(folder / "student.onnx", pictures[:2], reference)
    assert "structure" in failed(report)
    assert any(f"opset {version}" in fault for fault in report["gates"]["structure"]["value"])


def test_weights_outside_the_file_are_found(folder: Path, reference: TorchReference, pictures: Images) -> None:
    path = folder / "student.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = verify(path, pictures[:2], reference)
    assert "structure" in failed(report)
    assert any("outside the file" in fault for fault in report["gates"]["structure"]["value"])


def test_a_custom_operator_is_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["use_custom_operator"])
    report = verify(folder / "student.onnx", pictures[:2], reference)
    faults = report["gates"]["structure"]["value"]
    assert any("custom operator com.microsoft.Gelu" in fault for fault in faults), faults


def test_answers_that_are_no_numbers_are_found(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["poison"])
    assert {"network", "probabilities"} <= failed(verify(folder / "student.onnx", pictures[:2], reference))


def test_a_missing_file_and_missing_pictures_are_refused(
    exported: Path, reference: TorchReference, pictures: Images, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        verify(tmp_path / "student.onnx", pictures, reference)
    with pytest.raises(ValueError, match="no images"):
        verify(exported / "student.onnx", [], reference)


def test_pictures_are_gone_through_once_and_not_kept(
    exported: Path, reference: TorchReference, pictures: Images
) -> None:
    alive: set[int] = set()
    most = 0

    def passing() -> Iterator[tuple[str, np.ndarray]]:
        nonlocal most
        for number in range(60):  # all of one shape: what fills no batch of 32 waits, and no more
            picture = pictures[number % 8][1].copy()
            alive.add(id(picture))
            weakref.finalize(picture, alive.discard, id(picture))
            most = max(most, len(alive))
            yield str(number), picture

    report = verify(exported / "student.onnx", passing(), reference)
    assert report["passed"] and report["n"] == 60
    assert most <= 32 + 3


def test_how_many_pictures_met_a_batch_stands_beside_what_they_answered_there(
    exported: Path, reference: TorchReference
) -> None:
    """Of photos that all have sizes of their own only some do."""
    alone = [(str(n), np.full((20 + n, 30, 3), 5 * n, np.uint8)) for n in range(2 * FILLED_BATCHES + 1)]
    report = verify(exported / "student.onnx", alone, reference, batch_sizes=(1, 7))
    assert report["pictures_by_batch_size"] == {"1": 33, "7": 11}  # every third
    assert report["agreement_by_batch_size"].keys() == report["pictures_by_batch_size"].keys()


def test_without_another_network_the_prepared_pictures_are_checked_all_the_same(
    folder: Path, pictures: Images, edit: Edit, planted: Planted
) -> None:
    (folder / "student_bare.onnx").unlink()
    report = verify(folder / "student.onnx", pictures)
    assert report["passed"] and report["skipped"] == ["network", "top1"]
    assert "give the checkpoint" in report["gates"]["top1"]["why"]
    edit(folder / "student.onnx", planted["swap_channels"])
    assert failed(verify(folder / "student.onnx", pictures)) == {"prepared"}


def test_the_bare_graph_is_held_against_the_student(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student_bare.onnx", planted["permute_answers"])
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"network"}


def test_the_bare_graph_and_the_browsers_are_no_files_to_verify(
    exported: Path, pictures: Images, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"contains the bare graph.*student.onnx"):
        verify(exported / "student_bare.onnx", pictures)
    write_transformersjs_folder(exported / "student.onnx", tmp_path)
    with pytest.raises(UserError, match=r"holds the web graph.*give the full file"):
        verify(tmp_path / "onnx" / "model.onnx", pictures)


def saying(**metadata: str | bytes) -> Change:
    """A file that says this of itself."""

    def change(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            entry.value = metadata.get(entry.key, entry.value)

    return change


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": "van, bus"},
        {"classes": "3"},
        {"classes": "[1, 2, 3, 4, 5]"},
        {"classes": "[]"},
        {"classes": "[" * 100_000},
        {"temperature": "warm"},
        {"temperature": "0"},
        {"temperature": "nan"},
        {"preprocessing": "bilinear"},
        {"preprocessing": "[" * 100_000},
        {"preprocessing": "[64, 72]"},
        {"preprocessing": '{"input_px": 64}'},
        {"preprocessing": '{"input_px": 64, "crop_ratio": 0}'},
        {"preprocessing": '{"input_px": 64, "crop_ratio": 1.5}'},
        {"preprocessing": '{"input_px": 0, "crop_ratio": 1}'},
        {"preprocessing": '{"input_px": Infinity, "crop_ratio": 1}'},
        {"preprocessing": '{"input_px": 64, "crop_ratio": 0.9, "resize_px": 64}'},
        {"preprocessing": '{"input_px": 1000000, "crop_ratio": 1}'},
    ],
    ids=lambda metadata: str(metadata)[:50],
)
def test_damaged_metadata_are_a_failed_gate_and_no_exception(
    folder: Path, pictures: Images, edit: Edit, metadata: dict[str, str]
) -> None:
    edit(folder / "student.onnx", saying(**metadata))
    report = verify(folder / "student.onnx", pictures[:2])
    assert failed(report) == {"answers"}
    assert "export it again" in report["gates"]["answers"]["value"][0]


def test_metadata_that_are_no_text_are_a_failed_gate_and_no_exception(folder: Path, pictures: Images) -> None:
    path = folder / "student.onnx"
    path.write_bytes(path.read_bytes().replace(b"tow truck", b"tow tru\xff\xff"))
    report = verify(path, pictures[:2])
    assert "answers" in failed(report) and "not text" in report["gates"]["answers"]["value"][0]


def test_a_classes_txt_that_is_no_text_is_found(folder: Path, reference: TorchReference, pictures: Images) -> None:
    (folder / "classes.txt").write_bytes("\n".join(reference.classes).encode("utf-16"))
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"classes"}


def test_labels_give_the_accuracy_of_file_and_reference(
    exported: Path, reference: TorchReference, pictures: Images
) -> None:
    right = {name: reference.classes[int(asked(reference, picture).argmax())] for name, picture in pictures}
    names = list(right)
    other = next(name for name in reference.classes if name != right[names[0]])
    labels = {**right, names[0]: other, names[1]: "no such class"}
    del labels[names[2]]
    report = verify(exported / "student.onnx", pictures, reference, labels=labels)
    known = len(pictures) - 2
    assert report["labelled"] == known
    assert report["accuracy"] == report["reference_accuracy"] == pytest.approx((known - 1) / known)


def as_int8(noise: float) -> Change:
    """Says that it is int8, and answers differently by so much, as rounded weights would."""

    def change(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "dtype", "int8"
        head = next(node for node in model.graph.node if node.op_type == "Gemm")
        for tensor in model.graph.initializer:
            if tensor.name == head.input[1]:
                weights = numpy_helper.to_array(tensor)
                moved = weights + noise * np.random.default_rng(0).standard_normal(weights.shape)
                tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))

    return change


def int8_beside(folder: Path, edit: Edit, noise: float) -> Path:
    path = Path(shutil.copy(folder / "student.onnx", folder / "student_int8.onnx"))
    edit(path, as_int8(noise))
    return path


def test_int8_is_held_by_its_budget_and_not_by_its_logits(folder: Path, pictures: Images, edit: Edit) -> None:
    report = verify(int8_beside(folder, edit, 1e-3), pictures)
    assert report["passed"] and report["precision"] == "int8" and report["reference"] == "Pillow and the fp32 file"
    assert report["skipped"] == ["accuracy", "batches", "network"]
    assert report["worst"][0]["logit_difference"] > 1e-3  # which fails an fp32 file
    assert report["gates"]["top1"]["limit"] == pytest.approx(0.995)


def test_int8_that_answers_otherwise_too_often_is_found(folder: Path, pictures: Images, edit: Edit) -> None:
    path = int8_beside(folder, edit, 1.0)
    fp32 = OnnxClassifier(folder / "student.onnx", threads=1)
    labels = {name: fp32.classes[int(fp32.predict(picture)[1].argmax())] for name, picture in pictures}
    report = verify(path, pictures, labels=labels)
    assert failed(report) == {"accuracy"}
    assert report["top1_agreement"] == pytest.approx(report["accuracy"])
    assert report["reference_accuracy"] == 1
    assert report["gates"]["accuracy"]["value"] == pytest.approx(100 * (1 - report["accuracy"]))
    # The file that it stands in for may be named, and the budget may be larger.
    for name in ("student.onnx", "classes.txt"):
        (folder / name).rename(folder / f"other_{name}")
    budget = report["gates"]["accuracy"]["value"]
    assert verify(path, pictures, fp32_path=folder / "other_student.onnx", labels=labels, budget=budget)["passed"]


def test_int8_whose_pictures_leak_into_their_batch_is_found_where_labels_are_known(
    folder: Path, pictures: Images, edit: Edit, planted: Planted
) -> None:
    """Its accuracy is counted at batch 1, where nothing can be seen of it."""
    path = int8_beside(folder, edit, 1e-4)
    fp32 = OnnxClassifier(folder / "student.onnx", threads=1)
    labels = {name: fp32.classes[int(fp32.predict(picture)[1].argmax())] for name, picture in pictures}
    report = verify(path, pictures, labels=labels)
    assert report["passed"] and report["gates"]["batch_top1"]["value"] == 1
    edit(path, planted["mix_batch"])
    report = verify(path, pictures, labels=labels)
    assert failed(report) == {"batch_top1"} and report["accuracy"] == 1
    assert report["gates"]["batch_top1"]["limit"] == pytest.approx(0.995)


def test_int8_sees_the_prepared_picture_as_closely_as_fp32(
    folder: Path, pictures: Images, edit: Edit, planted: Planted
) -> None:
    path = int8_beside(folder, edit, 1e-3)
    edit(path, planted["forget_antialiasing"])
    assert "prepared" in failed(verify(path, pictures, budget=100))


def test_int8_alone_needs_something_to_stand_in_for(
    folder: Path, reference: TorchReference, pictures: Images, edit: Edit
) -> None:
    path = int8_beside(folder, edit, 1e-3)
    with pytest.raises(UserError, match="is int8 itself"):
        verify(path, pictures, fp32_path=path)
    (folder / "student.onnx").unlink()
    with pytest.raises(UserError, match="give the fp32 file"):
        verify(path, pictures)
    assert verify(path, pictures, reference)["passed"]
