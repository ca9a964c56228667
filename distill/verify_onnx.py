"""Verify an exported file, from image files to predicted classes, at several batch sizes, on all given images.

A checkout and the packages onnxruntime, numpy and pillow are enough. With onnx, the structure of the file is checked
too. With torch and the student's checkpoint, the file is compared with PyTorch. Exit code: 0 if all gates pass, 1 if a
gate fails, 2 if an input is missing or wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))  # if decant is not installed

from decant.budget import BUDGET_POINTS
from decant.errors import UserError, exit_on_user_error
from decant.export.runtime import BrokenFile, OnnxClassifier
from decant.export.verification.comparison import Reference
from decant.export.verification.contact_sheet import write_contact_sheet
from decant.export.verification.images import ImageFiles, Images
from decant.export.verification.verify import BATCH_SIZES, verify
from decant.tracking import progress
from decant.workspace import followed, write_json

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "python distill/verify_onnx.py student.onnx --data photos.zip --worst worst.png"
UNITS = {"prepared": " grey levels", "accuracy": " points lost"}
AT_LEAST = {"top1", "batch_top1"}
LISTED = 20  # unreadable images that are printed; the JSON contains all


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser()
    given = options.parse_args(arguments)
    if given.study is None and (given.file is None or given.data is None):
        options.error("give FILE and --data, or --study")
    for path in (given.worst, given.json):
        if path is not None and path.is_dir():
            options.error(f"{path} is a folder; give the name of a file")
    task = task_of(given)
    images = task.images
    report = verify(
        task.file,
        progress(images, "verifying", len(images), "images"),
        student_in_torch(task.checkpoint) if task.checkpoint else None,
        batch_sizes=given.batch_sizes,
        threads=given.threads,
        fp32_path=task.fp32,
        budget=task.budget,
        labels=images.labels,
    )
    report |= {"file": task.file.name, "split": images.split, "unreadable": images.broken}
    print_report(report, task.file, images)
    if given.json is not None:
        write_json(given.json, report)
    if given.worst is not None and report["worst"]:
        draw_worst(given.worst, report, images)
    if not report["passed"]:
        raise SystemExit(1)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, epilog=f"example:\n  {EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "file", nargs="?", type=followed, metavar="FILE", help="exported file (default: the study's newest export)"
    )
    options.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder or archive of images, in class folders or not, also below val/; with --study: the data folder",
    )
    options.add_argument("--split", metavar="NAME", help="train, val or test (default: val if it exists, else all)")
    options.add_argument(
        "--checkpoint",
        type=followed,
        metavar="FOLDER",
        help="folder of the student's checkpoint: compare with PyTorch",
    )
    options.add_argument("--study", metavar="NAME|FILE", help="use the images and the student of a finished study")
    options.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the runs (default: runs/)")
    options.add_argument(
        "--fp32",
        type=followed,
        metavar="FILE",
        help="the fp32 file that an int8 file replaces (default: the study's, else student.onnx beside FILE)",
    )
    options.add_argument(
        "--budget",
        type=points,
        metavar="POINTS",
        help=f"percentage points of accuracy that int8 may lose (default: the study's, else {BUDGET_POINTS})",
    )
    options.add_argument(
        "--batch-sizes",
        type=sizes,
        default=BATCH_SIZES,
        metavar="N,N",
        help=f"batch sizes; 1 is always included (default: {','.join(map(str, BATCH_SIZES))})",
    )
    options.add_argument("--threads", type=int, default=1, help="threads of each ONNX Runtime session (default: 1)")
    options.add_argument("--worst", type=Path, metavar="PNG", help="write a PNG of the images that differ most")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the whole report as JSON")
    return options


def points(text: str) -> float:
    """The value of --budget."""
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def sizes(text: str) -> list[int]:
    """The value of --batch-sizes."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError("a batch contains at least one image")
    return values


@dataclass(frozen=True)
class Task:
    """What to verify, on which images, compared with what.

    checkpoint: the student's folder or None. fp32: the file that an int8 file replaces. budget: points of accuracy that
    an int8 file may lose.
    """

    file: Path
    checkpoint: Path | None
    fp32: Path | None
    budget: float
    images: Images


def task_of(given: argparse.Namespace) -> Task:
    """The task for these options. Options have priority over the study's values."""
    if given.study is not None:
        try:
            from decant.stages.support.verified_file import study_file  # not at the top: imports torch and more
        except ModuleNotFoundError as error:
            raise UserError(f"--study needs all of decant's packages ({error}); give --data instead") from None
        study = study_file(given.study, given.file, given.data, given.runs, given.split)
        budget = study.budget if given.budget is None else given.budget
        return Task(study.file, given.checkpoint or study.checkpoint, given.fp32 or study.fp32, budget, study.images)
    budget = BUDGET_POINTS if given.budget is None else given.budget
    images = ImageFiles(given.data, classes_of(given.file), given.split)
    return Task(given.file, given.checkpoint, given.fp32, budget, images)


def classes_of(file: Path) -> list[str]:
    """The file's classes; empty for a broken file, which verification reports."""
    try:
        return OnnxClassifier(file).classes
    except BrokenFile:
        return []


def student_in_torch(folder: Path) -> Reference:
    """The checkpoint in `folder` as a reference. Raises UserError without PyTorch and timm."""
    try:
        from decant.export.verification.torch_reference import TorchReference
        from decant.models.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        raise UserError(f"--checkpoint needs PyTorch and timm ({error}); leave it out, or install them") from None
    return TorchReference(load_checkpoint(folder))


def print_report(report: dict[str, Any], file: Path, images: Images) -> None:
    """Print the report: one line per gate, then the number of images and the accuracy."""
    split = f", {images.split}" if images.split else ""
    print(f"{file} ({report['precision'] or 'broken'}) on {images.where}{split}")
    if report["reference"]:
        print(f"compared with {report['reference']}")
    for name, gate in report["gates"].items():
        state = {True: "passed", False: "FAILED", None: "not checked"}[gate["passed"]]
        print(f"  {state:<12} {name:<14} {gate_text(name, gate)}")
    print(f"images: {report['n']}{batch_counts(report['pictures_by_batch_size'])}")
    if report["labelled"]:
        reference = "" if report["reference_accuracy"] is None else f"; reference: {report['reference_accuracy']:.4f}"
        print(f"accuracy: {report['accuracy']:.4f} of {report['labelled']} labelled images{reference}")
    if images.unknown:
        print(f"folders whose name is not a class of the file: {', '.join(images.unknown[:LISTED])}")
    if images.broken:
        print(f"unreadable images: {len(images.broken)}")
        for path, reason in list(images.broken.items())[:LISTED]:
            print(f"  {path}: {reason}")
        if len(images.broken) > LISTED:
            print(f"  ... and {len(images.broken) - LISTED} more; --json lists all")
    if not report["passed"]:
        if report["worst"]:
            print("worst images:")
        for image in report["worst"]:
            print(f"  {'; '.join(caption(image))}")
        print(f"FAILED: {', '.join(name for name, gate in report['gates'].items() if gate['passed'] is False)}")


def batch_counts(images: dict[str, int]) -> str:
    """How many images were in a batch, per batch size above 1."""
    counts = [f"{count} in batches of {size}" for size, count in images.items() if size != "1"]
    return f" ({', '.join(counts)})" if counts else ""


def gate_text(name: str, gate: dict[str, Any]) -> str:
    """Value and limit of a gate, or the reason why it was not checked."""
    if gate["passed"] is None:
        return gate["why"]
    if isinstance(gate["limit"], list):
        return "; ".join(gate["value"]) or "no fault"
    value = "infinite" if gate["value"] is None else f"{gate['value']:.4g}{UNITS.get(name, '')}"
    return f"{value} ({'at least' if name in AT_LEAST else 'at most'} {gate['limit']:.4g})"


def caption(image: dict[str, Any]) -> list[str]:
    """The caption of one of the worst images, in lines."""

    def known(value: float | None) -> str:
        return "?" if value is None else f"{value:.3g}"

    expected = "unknown" if image["expected"] is None else f"{image['expected']} {image['expected_class']}"
    return [
        image["id"],
        f"expected {expected}",
        f"predicted {image['answered']} {image['answered_class']}",
        *([f"label {image['label']}"] if image["label"] else []),
        f"logits differ by {known(image['logit_difference'])}, in batches by {known(image['batch_difference'])}",
        f"grey levels differ by {known(image['grey_levels'])}",
    ]


def draw_worst(path: Path, report: dict[str, Any], images: Images) -> None:
    """Write the contact sheet of the worst images. They are read once more, because `verify` does not keep images."""
    pixels = dict(images.read([image["id"] for image in report["worst"]]))
    write_contact_sheet(
        path, [(pixels[image["id"]], caption(image)) for image in report["worst"] if image["id"] in pixels]
    )
    print(f"worst images: {path}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
