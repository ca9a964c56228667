"""Verify an exported file: from image files to classes, at several batch sizes, on everything that is given.

A checkout and the packages onnxruntime, numpy and pillow are enough. With onnx the structure of the file is checked,
too; with torch and the student's checkpoint the file is held against PyTorch. Ends with 1 where a gate fails and with 2
where something is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))  # where decant is not installed

from decant.budget import BUDGET_POINTS
from decant.errors import UserError, exit_on_user_error
from decant.export.runtime import BrokenFile, OnnxClassifier
from decant.export.verification.comparison import Reference
from decant.export.verification.contact_sheet import write_contact_sheet
from decant.export.verification.images import ImageFiles, Images
from decant.export.verification.verify import BATCH_SIZES, verify
from decant.tracking import progress
from decant.workspace import write_json

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "python distill/verify_onnx.py student.onnx --data photos.zip --worst worst.png"
UNITS = {"prepared": " grey levels", "accuracy": " points lost"}
AT_LEAST = {"top1", "batch_top1"}
NAMED = 20  # unreadable images that are named here; all are in the JSON


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser()
    given = made.parse_args(arguments)
    if given.study is None and (given.file is None or given.data is None):
        made.error("give FILE and --data, or --study")
    for path in (given.worst, given.json):
        if path is not None and path.is_dir():
            made.error(f"{path} is a folder; give the name of a file")
    asked = task(given)
    pictures = asked.pictures
    report = verify(
        asked.file,
        progress(pictures, "verifying", len(pictures), "images"),
        student_in_torch(asked.checkpoint) if asked.checkpoint else None,
        batch_sizes=given.batch_sizes,
        threads=given.threads,
        fp32_path=asked.fp32,
        budget=asked.budget,
        labels=pictures.labels,
    )
    report |= {"file": asked.file.name, "split": pictures.split, "unreadable": pictures.broken}
    tell(report, asked.file, pictures)
    if given.json is not None:
        write_json(given.json, report)
    if given.worst is not None and report["worst"]:
        draw_worst(given.worst, report, pictures)
    if not report["passed"]:
        raise SystemExit(1)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, epilog=f"example:\n  {EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("file", nargs="?", type=Path, metavar="FILE", help="exported file (default: the study's newest)")
    made.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder or archive of images, flat or in class folders, perhaps below val/; with --study, where data are",
    )
    made.add_argument("--split", metavar="NAME", help="train, val or test (default: val, else everything)")
    made.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="the student's, to compare with PyTorch")
    made.add_argument("--study", metavar="NAME|FILE", help="take pictures and student from a finished study")
    made.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs are (default: runs/)")
    made.add_argument(
        "--fp32",
        type=Path,
        metavar="FILE",
        help="what an int8 file stands in for (default: the study's, else student.onnx beside it)",
    )
    made.add_argument(
        "--budget",
        type=points,
        metavar="POINTS",
        help=f"that int8 may lose against it (default: the study's, else {BUDGET_POINTS})",
    )
    made.add_argument(
        "--batch-sizes",
        type=sizes,
        default=BATCH_SIZES,
        metavar="N,N",
        help=f"besides 1 (default: {','.join(map(str, BATCH_SIZES))})",
    )
    made.add_argument("--threads", type=int, default=1, help="of ONNX Runtime (default: 1)")
    made.add_argument("--worst", type=Path, metavar="PNG", help="draw the pictures that are furthest off")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    return made


def points(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def sizes(text: str) -> list[int]:
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError("a batch holds at least one picture")
    return values


@dataclass(frozen=True)
class Task:
    """checkpoint: its folder, if there is one. fp32, budget: of an int8 file, what it stands in for and may lose."""

    file: Path
    checkpoint: Path | None
    fp32: Path | None
    budget: float
    pictures: Images


def task(given: argparse.Namespace) -> Task:
    """What to verify, against what and on what; a word of the command line goes before the study's."""
    if given.study is not None:
        try:
            from decant.stages.support.verified_file import of_study  # all that a study needs, torch among it
        except ModuleNotFoundError as error:
            raise UserError(f"--study needs all of decant's packages ({error}); give --data instead") from None
        of_file = of_study(given.study, given.file, given.data, given.runs, given.split)
        budget = of_file.budget if given.budget is None else given.budget
        return Task(
            of_file.file, given.checkpoint or of_file.checkpoint, given.fp32 or of_file.fp32, budget, of_file.images
        )
    budget = BUDGET_POINTS if given.budget is None else given.budget
    pictures = ImageFiles(given.data, classes_of(given.file), given.split)
    return Task(given.file, given.checkpoint, given.fp32, budget, pictures)


def classes_of(file: Path) -> list[str]:
    """The file's classes; none where it is broken, which verification will tell."""
    try:
        return OnnxClassifier(file).classes
    except BrokenFile:
        return []


def student_in_torch(folder: Path) -> Reference:
    try:
        from decant.export.verification.torch_reference import TorchReference
        from decant.models.checkpoint import load_checkpoint
    except ModuleNotFoundError as error:
        raise UserError(f"--checkpoint needs PyTorch and timm ({error}); leave it out, or install them") from None
    return TorchReference(load_checkpoint(folder))


def tell(report: dict[str, Any], file: Path, pictures: Images) -> None:
    """What was found, for people: one line a gate, then what the numbers rest on."""
    split = f", {pictures.split}" if pictures.split else ""
    print(f"{file} ({report['precision'] or 'broken'}) on {pictures.where}{split}")
    if report["reference"]:
        print(f"held against {report['reference']}")
    for name, gate in report["gates"].items():
        state = {True: "passed", False: "FAILED", None: "not checked"}[gate["passed"]]
        print(f"  {state:<12} {name:<14} {in_words(name, gate)}")
    print(f"pictures: {report['n']}{in_batches(report['pictures_by_batch_size'])}")
    if report["labelled"]:
        beside = "" if report["reference_accuracy"] is None else f"; the reference's {report['reference_accuracy']:.4f}"
        print(f"accuracy: {report['accuracy']:.4f} of {report['labelled']} with a label{beside}")
    if pictures.unknown:
        print(f"no class of the file: the folders {', '.join(pictures.unknown[:NAMED])}")
    if pictures.broken:
        print(f"unreadable images: {len(pictures.broken)}")
        for path, reason in list(pictures.broken.items())[:NAMED]:
            print(f"  {path}: {reason}")
        if len(pictures.broken) > NAMED:
            print(f"  ... and {len(pictures.broken) - NAMED} more; --json names all")
    if not report["passed"]:
        if report["worst"]:
            print("worst pictures:")
        for one in report["worst"]:
            print(f"  {'; '.join(caption(one))}")
        print(f"FAILED: {', '.join(name for name, gate in report['gates'].items() if gate['passed'] is False)}")


def in_batches(pictures: dict[str, int]) -> str:
    """How many of the pictures were in a batch of each size but 1."""
    counts = [f"{count} in batches of {size}" for size, count in pictures.items() if size != "1"]
    return f" ({', '.join(counts)})" if counts else ""


def in_words(name: str, gate: dict[str, Any]) -> str:
    """Value and limit of a gate, or why there is none."""
    if gate["passed"] is None:
        return gate["why"]
    if isinstance(gate["limit"], list):
        return "; ".join(gate["value"]) or "no fault"
    value = "beyond all measure" if gate["value"] is None else f"{gate['value']:.4g}{UNITS.get(name, '')}"
    return f"{value} ({'at least' if name in AT_LEAST else 'at most'} {gate['limit']:.4g})"


def caption(one: dict[str, Any]) -> list[str]:
    """What there is to say of one of the worst pictures."""

    def known(value: float | None) -> str:
        return "?" if value is None else f"{value:.3g}"

    expected = "unknown" if one["expected"] is None else f"{one['expected']} {one['expected_class']}"
    return [
        one["id"],
        f"expected {expected}",
        f"answered {one['answered']} {one['answered_class']}",
        *([f"label {one['label']}"] if one["label"] else []),
        f"logits {known(one['logit_difference'])} apart, {known(one['batch_difference'])} in batches",
        f"{known(one['grey_levels'])} grey levels apart",
    ]


def draw_worst(path: Path, report: dict[str, Any], pictures: Images) -> None:
    """The contact sheet of the worst pictures, read once more."""
    found = dict(pictures.read([one["id"] for one in report["worst"]]))
    write_contact_sheet(path, [(found[one["id"]], caption(one)) for one in report["worst"] if one["id"] in found])
    print(f"worst pictures: {path}")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
