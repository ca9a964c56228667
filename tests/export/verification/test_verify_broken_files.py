"""Verification of a file that is broken or not standard ONNX: a failed gate, never an exception."""

from pathlib import Path

import onnx
import pytest
from exported_students import Change, Edit, Images, Planted, failed_gates

from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify


def test_a_file_that_fails_in_a_batch_is_a_failed_gate_not_an_exception(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["freeze_batch"])
    report = verify(folder / "student.onnx", images, reference)
    assert "answers" in failed_gates(report) and report["top1_agreement"] is None


@pytest.mark.parametrize("name", ["student.onnx", "student_bare.onnx"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_truncated_file_is_a_failed_gate_not_an_exception(
    folder: Path, reference: TorchReference, images: Images, name: str, share: float
) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(share * len(data))])
    report = verify(folder / "student.onnx", images[:2], reference)
    assert "structure" in failed_gates(report)
    assert any(name in fault for fault in report["gates"]["structure"]["value"])


@pytest.mark.parametrize("version", [11, 17, 19, 999])
def test_another_opset_is_a_structural_fault(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, version: int
) -> None:
    edit(folder / "student.onnx", lambda model: setattr(model.opset_import[0], "version", version))
    report = verify(folder / "student.onnx", images[:2], reference)
    assert "structure" in failed_gates(report)
    assert any(f"opset {version}" in fault for fault in report["gates"]["structure"]["value"])


def test_weights_outside_the_file_are_a_structural_fault(
    folder: Path, reference: TorchReference, images: Images
) -> None:
    path = folder / "student.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    report = verify(path, images[:2], reference)
    assert "structure" in failed_gates(report)
    assert any("outside the file" in fault for fault in report["gates"]["structure"]["value"])


def test_a_custom_operator_is_a_structural_fault(
    folder: Path, reference: TorchReference, images: Images, edit: Edit, planted: Planted
) -> None:
    edit(folder / "student.onnx", planted["use_custom_operator"])
    report = verify(folder / "student.onnx", images[:2], reference)
    faults = report["gates"]["structure"]["value"]
    assert any("custom operator com.microsoft.Gelu" in fault for fault in faults), faults


def with_metadata(**metadata: str) -> Change:
    """A change that replaces values of the metadata."""

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
def test_damaged_metadata_are_a_failed_gate_not_an_exception(
    folder: Path, images: Images, edit: Edit, metadata: dict[str, str]
) -> None:
    edit(folder / "student.onnx", with_metadata(**metadata))
    report = verify(folder / "student.onnx", images[:2])
    assert failed_gates(report) == {"answers"}
    assert "export it again" in report["gates"]["answers"]["value"][0]


def test_metadata_that_are_not_text_are_a_failed_gate_not_an_exception(folder: Path, images: Images) -> None:
    path = folder / "student.onnx"
    path.write_bytes(path.read_bytes().replace(b"tow truck", b"tow tru\xff\xff"))
    report = verify(path, images[:2])
    assert "answers" in failed_gates(report) and "not text" in report["gates"]["answers"]["value"][0]
