"""distill/verify_onnx.py: exit codes and messages for faults and mistakes, and the packages that it needs."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
import pytest
from PIL import Image

from decant.data.preprocessing import Preprocessing
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.models.checkpoint import Checkpoint, save_checkpoint
from decant.models.classifier import Classifier

Change = Callable[[onnx.ModelProto], None]
Edit = Callable[[Path, Change], None]
Call = Callable[..., int]
SCRIPT = Path(__file__).parents[3] / "distill" / "verify_onnx.py"


@pytest.fixture
def call(exit_code_of: Call) -> Call:
    """Run the script with these arguments; return its exit code."""
    return partial(exit_code_of, "distill/verify_onnx.py")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(exported: Path, images: list[tuple[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip with val/ in class folders named after the file's own predictions, and train/ with an unreadable file.

    In val/, one image is in the folder of another class, images of several modes are in a folder that is not a class,
    and one file is truncated.
    """
    file = OnnxClassifier(exported / "student.onnx", threads=1)
    turned = Image.Exif()
    turned[0x0112] = 6
    where = tmp_path_factory.mktemp("photos") / "photos.zip"

    def label(image: np.ndarray) -> str:
        return file.classes[int(file.predict(image)[1].argmax())]

    with zipfile.ZipFile(where, "w") as archive:
        for number, (_, image) in enumerate(images):
            archive.writestr(f"set/val/{label(image)}/{number}.png", encoded(Image.fromarray(image)))
        plain = Image.fromarray(images[0][1])
        others = {
            "grey.jpg": encoded(plain.convert("L"), "JPEG"),
            "cmyk.jpg": encoded(plain.convert("CMYK"), "JPEG"),
            "palette.gif": encoded(plain.quantize(32), "GIF"),
            "alpha.png": encoded(plain.convert("RGBA").rotate(20)),
            "sixteen.png": encoded(Image.fromarray(images[0][1][:, :, 0].astype(np.uint16) * 257)),
            "turned.jpg": encoded(plain, "JPEG", exif=turned),
        }
        for name, data in others.items():
            archive.writestr(f"set/val/of another kind/{name}", data)
        wrong = next(name for name in file.classes if name != label(images[1][1]))
        archive.writestr(f"set/val/{wrong}/mislabelled.png", encoded(Image.fromarray(images[1][1])))
        archive.writestr("set/val/cut.png", encoded(plain)[:200])
        archive.writestr("set/train/van/cut.png", b"")
    return where


def test_an_unchanged_file_passes_with_one_line_per_gate(
    exported: Path, photos: Path, call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_file = tmp_path / "new" / "report.json"
    words = [exported / "student.onnx", "--data", photos, "--json", report_file, "--batch-sizes", "3,8"]
    assert call(*words, "--worst", tmp_path / "worst.png") == 0
    printed = capsys.readouterr().out
    report = json.loads(report_file.read_text(encoding="utf-8"))
    for name, gate in report["gates"].items():
        (line,) = [line for line in printed.splitlines() if line.split()[1:2] == [name]]
        assert line.split()[0] == "passed" and (gate["value"] == [] or f"{gate['limit']:.4g}" in line)
    assert {"structure", "answers", "classes", "prepared", "network", "batches", "top1"} <= report["gates"].keys()
    assert report["passed"] and report["skipped"] == [] and report["split"] == "val"
    assert report["n"] == 16 + 6 + 1 and "images: 23 (23 in batches of 3, 23 in batches of 8)" in printed
    assert report["labelled"] == 17 and report["accuracy"] == pytest.approx(16 / 17) and "0.9412 of 17" in printed
    assert report["batch_sizes"] == [1, 3, 8]
    assert list(report["unreadable"]) == ["set/val/cut.png"] and "set/val/cut.png: the file is truncated" in printed
    assert "of another kind" in printed
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 500


def test_with_a_checkpoint_the_reference_is_pytorch(
    checkpoint: Checkpoint,
    folder: Path,
    photos: Path,
    call: Call,
    edit: Edit,
    planted: dict[str, Change],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = {"architecture": "test_efficientnet"}
    save_checkpoint(
        tmp_path / "checkpoint",
        Checkpoint(checkpoint.classifier, checkpoint.classes, checkpoint.preprocessing, card),
    )
    words = [folder / "student.onnx", "--data", photos, "--checkpoint", tmp_path / "checkpoint"]
    assert call(*words) == 0
    assert "compared with the student in PyTorch" in capsys.readouterr().out
    for name in ("student.onnx", "student_bare.onnx"):  # the same fault, so that only PyTorch differs
        edit(folder / name, planted["permute_logits"])
    assert call(*words) == 1
    assert "FAILED: network, top1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "gates"),
    [
        ("swap_channels", {"prepared"}),
        ("interpolate_nearest", {"prepared"}),
        ("forget_antialiasing", {"prepared"}),
        ("permute_logits", {"network", "top1"}),
        ("permute_names", {"classes"}),
        ("drop_temperature", {"probabilities"}),
        ("mix_batch", {"batches", "top1"}),
        ("freeze_batch", {"answers"}),
        ("use_custom_operator", {"structure"}),
    ],
)
def test_a_fault_exits_with_1_and_prints_gates_and_images(
    folder: Path,
    photos: Path,
    call: Call,
    edit: Edit,
    planted: dict[str, Change],
    fault: str,
    gates: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(folder / "student.onnx", planted[fault])
    assert call(folder / "student.onnx", "--data", photos, "--worst", folder / "worst.png") == 1
    printed = capsys.readouterr().out
    assert gates <= set(
        printed.splitlines()[-1 if fault == "freeze_batch" else -2].removeprefix("FAILED: ").split(", ")
    )
    if fault != "freeze_batch":  # this file fails before any image is measured
        assert "worst images:\n  set/val/" in printed and "expected" in printed
        assert (folder / "worst.png").is_file()


def test_weights_for_pixels_outside_the_image_exit_with_1(
    checkpoint: Checkpoint, photos: Path, call: Call, edit: Edit, planted: dict[str, Change], tmp_path: Path
) -> None:
    export_student(Checkpoint(checkpoint.classifier, checkpoint.classes, Preprocessing(64, 1.0), {}), tmp_path)
    assert call(tmp_path / "student.onnx", "--data", photos) == 0
    edit(tmp_path / "student.onnx", planted["count_outside"])
    assert call(tmp_path / "student.onnx", "--data", photos) == 1


def test_a_wrong_mean_exits_with_1(
    checkpoint: Checkpoint, exported: Path, photos: Path, call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Classifier(checkpoint.classifier.backbone, [0.5] * 3, checkpoint.classifier.std.tolist()).eval()
    export_student(Checkpoint(wrong, checkpoint.classes, checkpoint.preprocessing, {}), tmp_path)
    (tmp_path / "student_bare.onnx").write_bytes((exported / "student_bare.onnx").read_bytes())
    assert call(tmp_path / "student.onnx", "--data", photos) == 1
    assert "FAILED       network" in capsys.readouterr().out


def test_another_opset_exits_with_1(
    folder: Path, photos: Path, call: Call, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(folder / "student.onnx", lambda model: setattr(model.opset_import[0], "version", 17))
    assert call(folder / "student.onnx", "--data", photos) == 1
    assert "student.onnx: opset 17, 18 or later is needed" in capsys.readouterr().out


def test_damaged_metadata_exit_with_1(
    folder: Path, photos: Path, call: Call, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    def damage(model: onnx.ModelProto) -> None:
        next(entry for entry in model.metadata_props if entry.key == "classes").value = "van, bus"

    edit(folder / "student.onnx", damage)
    assert call(folder / "student.onnx", "--data", photos) == 1
    assert "its classes are not a list of names" in capsys.readouterr().out


def test_a_truncated_file_exits_with_1(
    folder: Path, photos: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (folder / "student.onnx").read_bytes()
    (folder / "student.onnx").write_bytes(data[: len(data) // 2])
    assert call(folder / "student.onnx", "--data", photos, "--json", folder / "report.json") == 1
    printed = capsys.readouterr().out
    assert "student.onnx cannot be loaded" in printed and "FAILED: structure, answers" in printed
    assert json.loads((folder / "report.json").read_text())["passed"] is False


def test_int8_that_exceeds_its_budget_exits_with_1(
    folder: Path, photos: Path, call: Call, edit: Edit, planted: dict[str, Change], capsys: pytest.CaptureFixture[str]
) -> None:
    def mark_as_int8(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "dtype", "int8"

    path = folder / "small.onnx"
    path.write_bytes((folder / "student.onnx").read_bytes())
    edit(path, mark_as_int8)
    assert call(path, "--data", photos) == 0
    printed = capsys.readouterr().out
    assert "not checked  network        int8" in printed
    assert "passed       batch_top1     1 (at least 0.995)" in printed
    edit(path, planted["permute_logits"])
    assert call(path, "--data", photos) == 1
    assert "FAILED: accuracy" in capsys.readouterr().out
    assert call(path, "--data", photos, "--budget", 100) == 0
    assert call(path, "--data", photos, "--fp32", path) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.onnx", "--data", "."], "missing.onnx does not exist"),
        (["student.onnx", "--data", "nowhere"], "nowhere does not exist"),
        (["student.onnx", "--data", "classes.txt"], "neither a folder nor"),
        (["student.onnx", "--data", "."], "contains no image"),
        (["student.onnx"], "give FILE and --data"),
        (["student.onnx", "--data", ".", "--batch-sizes", "0"], "at least one image"),
        (["student.onnx", "--data", ".", "--batch-sizes", "many"], "--batch-sizes"),
        (["student.onnx", "--data", ".", "--budget", "-1"], "between 0 and 100"),
        (["student.onnx", "--data", ".", "--json", "."], "is a folder"),
    ],
)
def test_wrong_options_exit_with_2_and_a_message(
    folder: Path,
    call: Call,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(folder)
    assert call(*words) == 2
    assert message in capsys.readouterr().err + caplog.text


WITH_THREE_PACKAGES = """
import importlib.util, json, runpy, sys
for absent in ("torch", "onnx", "pandas", "pydantic", "yaml", "tqdm", "scipy", "filelock", "google"):
    assert importlib.util.find_spec(absent) is None, absent
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    loaded = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
    print(json.dumps(sorted(loaded)), file=sys.stderr)
"""


@pytest.fixture
def three_packages(tmp_path: Path) -> Path:
    """A folder with ONNX Runtime, NumPy and Pillow, and the shared libraries of their wheels."""
    site = tmp_path / "packages"
    site.mkdir()
    for package, libraries in ((onnxruntime, "onnxruntime.libs"), (np, "numpy.libs"), (PIL, "pillow.libs")):
        home = Path(str(package.__file__)).parent
        (site / home.name).symlink_to(home)
        if (home.parent / libraries).is_dir():
            (site / libraries).symlink_to(home.parent / libraries)
    return site


def test_onnxruntime_numpy_and_pillow_are_enough(
    folder: Path, photos: Path, three_packages: Path, tmp_path: Path, edit: Edit, planted: dict[str, Change]
) -> None:
    """In a process that can import only these and, from the script's checkout, decant."""

    def alone(*words: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            # -S: no site-packages; -s: no user site-packages
            [sys.executable, "-S", "-s", "-c", WITH_THREE_PACKAGES, str(SCRIPT), *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(three_packages)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    report_file, sheet = tmp_path / "report.json", tmp_path / "worst.png"
    result = alone(folder / "student.onnx", "--data", photos, "--json", report_file, "--worst", sheet)
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(json.loads(result.stderr.splitlines()[-1])) - {"__main__", "__mp_main__"} == {
        "PIL",
        "decant",
        "numpy",
        "onnxruntime",
    }
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert report["passed"] and report["skipped"] == ["structure"] and report["n"] == 23 and sheet.is_file()
    assert "not checked  structure      the onnx package is not installed" in result.stdout

    (folder / "whole.onnx").write_bytes((folder / "student.onnx").read_bytes())
    edit(folder / "student.onnx", planted["forget_antialiasing"])
    result = alone(folder / "student.onnx", "--data", photos)
    assert result.returncode == 1 and "FAILED       prepared" in result.stdout
    for option in (["--checkpoint", folder], ["--study", "micro"]):
        result = alone(folder / "whole.onnx", "--data", photos, *option)
        assert result.returncode == 2 and f"error: {option[0]} needs" in result.stderr, result.stderr
    assert alone("--help").returncode == 0
