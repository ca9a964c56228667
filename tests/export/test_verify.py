"""Verification passes what is whole, and each way of breaking it turns its gate red."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from decant.data.evaluation import Preprocessing
from decant.errors import UserError
from decant.export import comparison
from decant.export.comparison import Queue, Waiting, made, thinned
from decant.export.reference import TorchReference
from decant.export.student import export_student
from decant.export.verify import verify
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier

Pictures = list[tuple[str, np.ndarray]]
Change = Callable[[onnx.ModelProto], None]
Edit = Callable[[Path, Change], None]


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> TorchReference:
    return TorchReference(checkpoint)


def failed(report: dict) -> set[str]:
    json.dumps(report, allow_nan=False)  # whatever happens, the report can be written
    assert report["passed"] is (not any(gate["passed"] is False for gate in report["gates"].values()))
    return {name for name, gate in report["gates"].items() if gate["passed"] is False}


def test_a_whole_file_passes_every_gate(exported: Path, reference: TorchReference, pictures: Pictures) -> None:
    report = verify(exported / "student.onnx", pictures, reference)
    assert report["passed"] is True and failed(report) == set() and report["skipped"] == []
    assert report["n"] == len(pictures)
    assert report["batch_sizes"] == [1, 7, 32]
    assert report["top1_agreement"] == 1
    assert report["max_abs_logit_difference"] <= 1e-3
    assert len({one["answered"] for one in report["worst"]}) > 1  # the student tells these pictures apart


def test_pillow_stands_in_where_the_student_is_not_at_hand(exported: Path, pictures: Pictures) -> None:
    report = verify(exported / "student.onnx", pictures)
    assert report["passed"] and report["skipped"] == []
    assert report["gates"]["prepared"]["value"] < 0.1


def of_operator(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [one for one in node.attribute if one.name != name]
    node.ClearField("attribute")
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def insert_before(model: onnx.ModelProto, reader: onnx.NodeProto, name: str, new: list[onnx.NodeProto]) -> None:
    """Let `reader` read the last new node's output instead of `name`."""
    at = list(model.graph.node).index(reader)
    reader.input[list(reader.input).index(name)] = new[-1].output[0]
    for node in reversed(new):
        model.graph.node.insert(at, node)


def swap_channels(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    reader = next(node for node in model.graph.node if node.op_type == "Cast" and "images" in node.input)
    insert_before(model, reader, "images", [helper.make_node("Gather", ["images", "bgr"], ["swapped"], axis=3)])


def forget_antialiasing(model: onnx.ModelProto) -> None:
    attribute(of_operator(model, "Resize"), "antialias", 0)
    attribute(of_operator(model, "Resize"), "exclude_outside", 0)  # which is for antialiasing alone


def interpolate_cubically(model: onnx.ModelProto) -> None:
    attribute(of_operator(model, "Resize"), "mode", "cubic")


def align_corners(model: onnx.ModelProto) -> None:
    attribute(of_operator(model, "Resize"), "coordinate_transformation_mode", "align_corners")


@pytest.mark.parametrize("change", [swap_channels, forget_antialiasing, interpolate_cubically, align_corners])
def test_another_picture_is_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit, change: Change
) -> None:
    edit(folder / "student.onnx", change)
    assert "prepared" in failed(verify(folder / "student.onnx", pictures, reference))
    assert "prepared" in failed(verify(folder / "student.onnx", pictures))  # without the student, too


def test_a_border_that_counts_pixels_outside_is_found(
    checkpoint: Checkpoint, pictures: Pictures, tmp_path: Path, edit: Edit
) -> None:
    uncropped = Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64, 1.0), {})
    export_student(uncropped, tmp_path)
    edit(tmp_path / "student.onnx", lambda model: attribute(of_operator(model, "Resize"), "exclude_outside", 0))
    assert "prepared" in failed(verify(tmp_path / "student.onnx", pictures, TorchReference(uncropped)))


@pytest.mark.parametrize("constants", ["mean", "std"])
def test_a_wrong_normalisation_is_found(
    checkpoint: Checkpoint, reference: TorchReference, pictures: Pictures, tmp_path: Path, constants: str
) -> None:
    right = {"mean": checkpoint.classifier.mean.tolist(), "std": checkpoint.classifier.std.tolist()}
    wrong = Classifier(checkpoint.classifier.backbone, **(right | {constants: [0.5, 0.5, 0.5]})).eval()
    export_student(Checkpoint(wrong, checkpoint.classes, checkpoint.preprocessing, {}), tmp_path)
    found = failed(verify(tmp_path / "student.onnx", pictures, reference))
    assert "network" in found and "prepared" not in found


def permute_answers(model: onnx.ModelProto) -> None:
    head = of_operator(model, "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in head.input:
            tensor.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(tensor), 1, axis=0), tensor.name))


def test_permuted_answers_are_found(folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit) -> None:
    edit(folder / "student.onnx", permute_answers)
    report = verify(folder / "student.onnx", pictures, reference)
    assert failed(report) == {"network", "top1"}
    assert report["top1_agreement"] < 0.5
    assert report["worst"][0]["expected"] != report["worst"][0]["answered"]


def test_answers_permuted_in_both_files_are_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit
) -> None:
    for name in ("student.onnx", "student_bare.onnx"):
        edit(folder / name, permute_answers)
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"network", "top1"}


def permute_names(model: onnx.ModelProto) -> None:
    entry = next(one for one in model.metadata_props if one.key == "classes")
    entry.value = json.dumps(sorted(json.loads(entry.value)))


def test_permuted_class_names_are_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit
) -> None:
    edit(folder / "student.onnx", permute_names)
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"classes"}
    assert failed(verify(folder / "student.onnx", pictures)) == {"classes"}  # classes.txt tells


def test_a_permuted_classes_txt_is_found(folder: Path, reference: TorchReference, pictures: Pictures) -> None:
    lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "classes.txt").write_text("".join(sorted(lines)), encoding="utf-8")
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"classes"}


def cool_down(model: onnx.ModelProto) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == "answer/temperature")
    tensor.CopyFrom(numpy_helper.from_array(np.array(1, np.float32), tensor.name))


def test_a_lost_temperature_is_found(folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit) -> None:
    edit(folder / "student.onnx", cool_down)
    assert failed(verify(folder / "student.onnx", pictures, reference)) == {"probabilities"}


def mix_batch(model: onnx.ModelProto) -> None:
    """Each picture becomes the mean of its batch: at batch 1 nothing can be seen of it."""
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch axis"))
    mean = helper.make_node("ReduceMean", ["prepared", "batch axis"], ["mean"], keepdims=1)
    nothing = helper.make_node("Sub", ["prepared", "prepared"], ["nothing"])
    insert_before(model, reader, "prepared", [nothing, mean, helper.make_node("Add", ["nothing", "mean"], ["mixed"])])


def test_pictures_that_leak_into_their_batch_are_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit
) -> None:
    edit(folder / "student.onnx", mix_batch)
    report = verify(folder / "student.onnx", pictures, reference)
    assert failed(report) == {"batches", "top1"}
    assert report["agreement_by_batch_size"]["1"] == 1


def freeze_batch(model: onnx.ModelProto) -> None:
    reader = next(node for node in model.graph.node if "prepared" in node.input)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 64, 64]), "one picture"))
    insert_before(model, reader, "prepared", [helper.make_node("Reshape", ["prepared", "one picture"], ["frozen"])])


def test_a_file_that_fails_in_a_batch_is_a_failed_gate_and_no_exception(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit
) -> None:
    edit(folder / "student.onnx", freeze_batch)
    report = verify(folder / "student.onnx", pictures, reference)
    assert "answers" in failed(report) and report["top1_agreement"] is None


@pytest.mark.parametrize("name", ["student.onnx", "student_bare.onnx"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_truncated_file_is_a_failed_gate_and_no_exception(
    folder: Path, reference: TorchReference, pictures: Pictures, name: str, share: float
) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(share * len(data))])
    report = verify(folder / "student.onnx", pictures[:2], reference)
    assert "structure" in failed(report)
    assert any(name in fault for fault in report["gates"]["structure"]["value"])


@pytest.mark.parametrize("version", [11, 17, 19, 999])
def test_another_opset_than_was_exported_is_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit, version: int
) -> None:
    edit(folder / "student.onnx", lambda model: setattr(model.opset_import[0], "version", version))
    report = verify(folder / "student.onnx", pictures[:2], reference)
    assert "structure" in failed(report)
    assert any(f"opset {version}" in fault for fault in report["gates"]["structure"]["value"])


def test_weights_outside_the_file_are_found(folder: Path, reference: TorchReference, pictures: Pictures) -> None:
    path = folder / "student.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = verify(path, pictures[:2], reference)
    assert "structure" in failed(report)
    assert any("outside the file" in fault for fault in report["gates"]["structure"]["value"])


def use_custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    reader = of_operator(model, "Softmax")
    node = helper.make_node("Gelu", [reader.input[0]], ["custom"], domain="com.microsoft")
    insert_before(model, reader, reader.input[0], [node])


def test_a_custom_operator_is_found(folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit) -> None:
    edit(folder / "student.onnx", use_custom_operator)
    report = verify(folder / "student.onnx", pictures[:2], reference)
    faults = report["gates"]["structure"]["value"]
    assert any("custom operator com.microsoft.Gelu" in fault for fault in faults), faults


def poison(model: onnx.ModelProto) -> None:
    head = of_operator(model, "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name == head.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), tensor.name))


def test_answers_that_are_no_numbers_are_found(
    folder: Path, reference: TorchReference, pictures: Pictures, edit: Edit
) -> None:
    edit(folder / "student.onnx", poison)
    assert {"network", "probabilities"} <= failed(verify(folder / "student.onnx", pictures[:2], reference))


def test_a_missing_file_and_missing_pictures_are_refused(
    exported: Path, reference: TorchReference, pictures: Pictures, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        verify(tmp_path / "student.onnx", pictures, reference)
    with pytest.raises(ValueError, match="no pictures"):
        verify(exported / "student.onnx", [], reference)


def queued(size: int, shapes: list[tuple[int, int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Indices of the batches that fill up, and of those that are left."""
    queue = Queue(size)
    added = [queue.add(Waiting(n, np.zeros(shape, np.uint8), np.zeros(2), 0)) for n, shape in enumerate(shapes)]

    def indices(groups: list[list[Waiting]]) -> list[list[int]]:
        return [[one.index for one in group] for group in groups if group]

    return indices(added), indices(queue.rest())


def test_batches_hold_equal_sizes_and_every_full_batch() -> None:
    full, rest = queued(7, [(4, 4, 3)] * 10 + [(5, 4, 3)] * 3 + [(4, 4, 3)] * 7)
    assert full == [list(range(7)), [7, 8, 9, 13, 14, 15, 16]]
    assert rest == [[10, 11, 12], [17, 18, 19]]
    full, rest = queued(32, [(n, 1, 3) for n in range(1, 1000)])
    assert full == [] and 8 <= len(rest) <= 16  # each would be filled with 31 made pictures


def test_pictures_that_wait_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "WAITING_BYTES", 10 * 300)
    queue = Queue(32)
    for number in range(500):
        queue.add(Waiting(number, np.zeros((1, 100 if number % 2 else 101 + number, 3), np.uint8), np.zeros(2), 0))
        assert sum(one.picture.nbytes for group in queue.groups.values() for one in group) == queue.bytes
        assert queue.bytes <= max(10 * 300, 32 * 300) + 3 * 700


def test_large_pictures_are_thinned_for_batches_and_small_ones_are_not() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    assert thinned(picture, 60_000) is picture
    small = thinned(picture, 20_000)
    np.testing.assert_array_equal(small, picture[::2, ::2])
    assert small.base is None  # a view would keep the large one


def test_made_pictures_differ_from_the_picture_they_surround() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    surrounding = made(picture, 6)
    assert surrounding.shape == (6, 6, 9, 3)
    assert all((other != picture).any() for other in surrounding)
    assert made(picture, 0).shape == (0, 6, 9, 3)
