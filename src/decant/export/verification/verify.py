"""Verification that an exported file predicts what the student predicts. Needs only NumPy, ONNX Runtime and Pillow."""

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from decant.budget import BUDGET_POINTS
from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export.runtime import BrokenFile, OnnxClassifier, open_session, require_full_graph
from decant.export.verification.comparison import (
    Comparison,
    ImageWithId,
    InBatch,
    Measured,
    Reference,
    Sessions,
    compare,
)
from decant.export.verification.pillow_reference import PillowReference, network_of
from decant.export.verification.tap import tapped

BATCH_SIZES = (1, 7, 32)
MAX_LOGIT_DIFFERENCE = 1e-3  # fp32 against fp32
MAX_GREY_LEVELS = 1.0
MIN_TOP1_AGREEMENT = 0.999
MAX_PROBABILITY_DIFFERENCE = 1e-5
ROUNDING = 1e-9  # so that a value equal to the limit passes
WORST = 8  # images in the report's list of worst images
NO_LABELS: Mapping[str, str] = MappingProxyType({})
NO_BATCH = "only batch size 1 was requested"
NO_OTHER_NETWORK = "no network to compare with: give the checkpoint, or put the bare graph beside the file"

Gate = dict[str, Any]  # value, limit, passed (True | False | None: not checked), and why it was not checked


def verify(
    path: Path,
    images: Iterable[ImageWithId],
    reference: Reference | None = None,
    bare_path: Path | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int = 1,
    fp32_path: Path | None = None,
    budget: float = BUDGET_POINTS,
    labels: Mapping[str, str] = NO_LABELS,
) -> dict[str, Any]:
    """Compare an exported file with the student on `images`: pairs (id, uint8 [H, W, 3]), RGB, EXIF applied.

    The images are read once and not kept. reference: for example `TorchReference(checkpoint)`; its classes must equal
    the file's. Without one, Pillow prepares the images and the bare graph computes the logits. bare_path: default
    `<name>_bare.onnx` beside the file, if it exists. batch_sizes: images of equal shape are batched together; 1 is
    always included. threads: of each session (up to four); more slow down the other sessions and PyTorch, because idle
    threads spin. labels: id -> class name, where known.

    A file whose metadata contain the dtype int8 is compared with the file that it replaces: `fp32_path`, by default
    `student.onnx` beside it, else with the reference. It may lose at most `budget` points of accuracy or, if no label
    is known, of top-1 agreement. At most the same share of the images may get another class in a batch than alone.
    Its logits are not compared.

    Returns a report that JSON can represent: n, top1_agreement (the lowest of all batch sizes),
    max_abs_logit_difference (of the networks on equal tensors), batch_sizes, passed (no gate failed); and for people
    precision (the dtype), reference, gates, skipped (gates that could not be checked), agreement_by_batch_size,
    pictures_by_batch_size (how many images were in a batch of that size; images of rare shapes may be in none),
    labelled, accuracy, reference_accuracy and worst (images). A broken file is a failed gate, not an exception. Raises
    ValueError if there are no images, UserError for a file that is not a full graph or has nothing to compare with.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; export the student first")
    bare_path = bare_path or path.with_name(f"{path.stem}_bare.onnx")
    files = [file for file in (path, bare_path) if file.is_file()]
    report = Report(sizes=sorted({1, *batch_sizes}), gates={"structure": structure_gate(files)})
    try:
        sessions = open_sessions(path, reference, bare_path, fp32_path, threads)
        report.dtype, report.reference = sessions.file.dtype, reference_name(sessions)
        comparison = compare(sessions, images, report.sizes)
    except BrokenFile as error:
        report.gates["answers"] = faults_gate([str(error)])
        return report.as_json()
    if not comparison.singles:
        raise ValueError("nothing to verify: no images were given")
    report.gates["answers"] = faults_gate([])
    report.gates["classes"] = faults_gate(class_faults(path, sessions, comparison.singles[0].outputs))
    report.add(comparison, sessions.file.classes, labels, budget)
    return report.as_json()


def structure_gate(files: Sequence[Path]) -> Gate:
    """The faults that the onnx package finds in the files, if it is installed."""
    if importlib.util.find_spec("onnx") is None:
        return unchecked([], "the onnx package is not installed")
    from decant.export.verification import onnx_check  # not at the top: a machine that only runs the file may lack onnx

    return faults_gate([f"{file.name}: {fault}" for file in files for fault in onnx_check.structural_faults(file)])


def open_sessions(
    path: Path, reference: Reference | None, bare_path: Path, fp32_path: Path | None, threads: int
) -> Sessions:
    """Open the files that a comparison runs. Raises BrokenFile for a file that exists but is broken."""
    file = OnnxClassifier(path, threads)
    require_full_graph(file, path)
    try:
        tap = open_session(tapped(path.read_bytes()), threads)
    except BrokenFile as error:
        raise BrokenFile(f"{path.name} does not contain the tensor of its prepared image: {error}") from None
    is_int8 = file.dtype == "int8"
    bare = network_of(open_session(bare_path, threads)) if bare_path.is_file() and not is_int8 else None
    return Sessions(
        file=file,
        reference=reference or PillowReference(bare, file.classes, preprocessing_of(file, path)),
        tap=tap,
        bare=bare,
        fp32=open_fp32(path, reference, fp32_path, threads) if is_int8 else None,
    )


def preprocessing_of(file: OnnxClassifier, path: Path) -> Preprocessing:
    """The preprocessing in the file's metadata. Raises BrokenFile if it is missing or damaged."""
    try:
        return Preprocessing.from_dict(json.loads(file.metadata["preprocessing"]))
    except (KeyError, AttributeError, TypeError, ValueError, RecursionError):
        raise BrokenFile(f"{path.name} has missing or damaged metadata: preprocessing; export it again") from None


def open_fp32(path: Path, reference: Reference | None, fp32_path: Path | None, threads: int) -> OnnxClassifier | None:
    """The file that an int8 file replaces; None if the file is compared with the reference instead."""
    beside = path.with_name("student.onnx")
    if fp32_path is None and beside.is_file() and beside != path:
        fp32_path = beside
    if fp32_path is None:
        if reference is None:
            raise UserError(
                f"{path.name} is int8; give the fp32 file that it replaces, or the checkpoint, to compare it with"
            )
        return None
    fp32 = OnnxClassifier(fp32_path, threads)
    if fp32.dtype != "fp32":
        raise UserError(f"{fp32_path} is {fp32.dtype} itself; give the fp32 file that {path.name} replaces")
    return fp32


def reference_name(sessions: Sessions) -> str:
    """What the file is compared with, for people."""
    return sessions.reference.name + (" and the fp32 file" if sessions.fp32 else "")


def class_faults(path: Path, sessions: Sessions, logits: int) -> list[str]:
    """Differences between the file's classes and the student's, classes.txt, or the number of logits."""
    classes = sessions.file.classes
    faults = []
    if classes != sessions.reference.classes:
        faults.append("the file's classes or their order differ from the student's")
    if sessions.fp32 and classes != sessions.fp32.classes:
        faults.append("the file's classes or their order differ from the fp32 file's")
    listed = path.with_name("classes.txt")
    if listed.is_file() and listed.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] != classes:
        faults.append("classes.txt differs from the file's classes")
    if len(classes) != logits:
        faults.append(f"the file has {len(classes)} classes but {logits} logits")
    return faults


@dataclass
class Report:
    """The report that `verify` returns, under construction."""

    sizes: list[int]
    gates: dict[str, Gate]
    dtype: str | None = None
    reference: str | None = None
    n: int = 0
    images: dict[int, int] = field(default_factory=dict)
    agreement: dict[int, float] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=lambda: accuracies([], [], NO_LABELS))
    worst: list[dict[str, Any]] = field(default_factory=list)

    def add(self, comparison: Comparison, classes: list[str], labels: Mapping[str, str], budget: float) -> None:
        """Add a comparison and the gates of the file's dtype."""
        self.n = len(comparison.singles)
        self.images = {size: len(measured) for size, measured in by_batch_size(comparison).items()}
        self.agreement = agreements(comparison)
        self.accuracy = accuracies(comparison.singles, classes, labels)
        self.gates |= {"prepared": prepared_gate(comparison), "probabilities": probabilities_gate(comparison)}
        if self.dtype == "int8":
            self.gates |= budget_gates(comparison, self.agreement, self.accuracy, budget)
        else:
            self.gates |= fp32_gates(comparison, self.agreement)
        self.worst = worst(comparison, classes, labels)

    def as_json(self) -> dict[str, Any]:
        """The report with the keys that `verify` documents."""
        gates = self.gates
        return {
            "n": self.n,
            "top1_agreement": gates["top1"]["value"] if "top1" in gates else None,
            "max_abs_logit_difference": gates["network"]["value"] if "network" in gates else None,
            "batch_sizes": self.sizes,
            "passed": all(gate["passed"] is not False for gate in gates.values()),
            "precision": self.dtype,
            "reference": self.reference,
            "gates": gates,
            "skipped": sorted(name for name, gate in gates.items() if gate["passed"] is None),
            "agreement_by_batch_size": {str(size): share for size, share in self.agreement.items()},
            "pictures_by_batch_size": {str(size): count for size, count in self.images.items()},
            **self.accuracy,
            "worst": self.worst,
        }


def prepared_gate(comparison: Comparison) -> Gate:
    return at_most([image.grey_levels for image in comparison.singles], MAX_GREY_LEVELS)


def probabilities_gate(comparison: Comparison) -> Gate:
    return at_most([image.probability_difference for image in comparison.singles], MAX_PROBABILITY_DIFFERENCE)


def fp32_gates(comparison: Comparison, agreement: Mapping[int, float]) -> dict[str, Gate]:
    """Gates of a file that must give the logits of its reference, up to the rounding of float32."""
    in_batches = [image.difference for images in comparison.batched.values() for image in images]
    return {
        "network": at_most(
            [image.network_difference for image in comparison.singles], MAX_LOGIT_DIFFERENCE, NO_OTHER_NETWORK
        ),
        "batches": at_most(in_batches, MAX_LOGIT_DIFFERENCE, NO_BATCH),
        "top1": at_least(min(agreement.values(), default=None), MIN_TOP1_AGREEMENT, NO_OTHER_NETWORK),
    }


def budget_gates(
    comparison: Comparison, agreement: Mapping[int, float], accuracy: Mapping[str, Any], budget: float
) -> dict[str, Gate]:
    """Gates of a file that may differ, within a budget, from the file that it replaces. accuracy: of `accuracies`.

    Accuracy is measured at batch size 1. Predictions in batches are compared with the file's own predictions at batch
    size 1. There the budget applies too: float rounding can move an activation to the next of its 256 levels.
    """
    points_lost = None
    if accuracy["labelled"]:
        points_lost = 100 * (accuracy["reference_accuracy"] - accuracy["accuracy"])
    top1 = at_least(min(agreement.values(), default=None), 1 - budget / 100, NO_OTHER_NETWORK)
    if points_lost is not None:  # top-1 agreement also counts changes between wrong classes, or to the right class
        top1 = {**top1, "passed": None, "why": "labels are known, so accuracy is checked instead"}
    return {
        "network": unchecked(MAX_LOGIT_DIFFERENCE, "int8 has a budget instead of this limit"),
        "batches": unchecked(MAX_LOGIT_DIFFERENCE, "int8 has a budget instead of this limit"),
        "batch_top1": at_least(same_class_share(comparison), 1 - budget / 100, NO_BATCH),
        "top1": top1,
        "accuracy": at_most([points_lost], budget, "no image has a label that is one of the file's classes"),
    }


def same_class_share(comparison: Comparison) -> float | None:
    """Share of images with the same class in a batch as alone, at the worst batch size; None without batches."""
    shares = [
        sum(image.predicted == image.predicted_alone for image in images) / len(images)
        for images in comparison.batched.values()
        if images
    ]
    return min(shares, default=None)


def by_batch_size(comparison: Comparison) -> dict[int, Sequence[Measured | InBatch]]:
    """Batch size -> the images that were predicted at that batch size."""
    return {1: comparison.singles, **comparison.batched}


def agreements(comparison: Comparison) -> dict[int, float]:
    """Batch size -> share of images whose top class is the expected class. Images without a reference are skipped."""
    shares = {}
    for size, images in by_batch_size(comparison).items():
        hits = [image.predicted == image.expected for image in images if image.expected is not None]
        if hits:
            shares[size] = sum(hits) / len(hits)
    return shares


def accuracies(singles: Sequence[Measured], classes: list[str], labels: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy of file and reference at batch size 1, among images whose label is one of the classes."""
    index = {name: number for number, name in enumerate(classes)}
    labelled = [(image, index[labels[image.id]]) for image in singles if labels.get(image.id) in index]

    def share(hits: list[bool]) -> float | None:
        return sum(hits) / len(hits) if hits else None

    return {
        "labelled": len(labelled),
        "accuracy": share([image.predicted == label for image, label in labelled]),
        "reference_accuracy": share(
            [image.expected == label for image, label in labelled if image.expected is not None]
        ),
    }


def faults_gate(faults: list[str]) -> Gate:
    """Passed if there is no fault."""
    return {"value": faults, "limit": [], "passed": not faults}


def unchecked(limit: object, why: str) -> Gate:
    """Neither passed nor failed."""
    return {"value": None, "limit": limit, "passed": None, "why": why}


def at_most(values: Sequence[float | None], limit: float, why: str = "") -> Gate:
    """Passed if the largest value is within the limit; unchecked if a value is missing or there are no values."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return unchecked(limit, why)
    largest = max(known)
    # JSON has no infinity: an infinite value becomes None and fails.
    return {"value": finite(largest), "limit": limit, "passed": largest <= limit + ROUNDING * limit}


def at_least(value: float | None, limit: float, why: str) -> Gate:
    """Passed if the value reaches the limit; unchecked if there is no value."""
    if value is None:
        return unchecked(limit, why)
    return {"value": value, "limit": limit, "passed": value >= limit - ROUNDING}


def worst(comparison: Comparison, classes: list[str], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The images that differ most from the reference.

    Another top class comes first, then another top class in a batch, then the largest value relative to its limit.
    """
    batch_difference = dict.fromkeys(range(len(comparison.singles)), 0.0)
    wrong_in_batch = set()
    for image in (image for images in comparison.batched.values() for image in images):
        batch_difference[image.index] = max(batch_difference[image.index], image.difference)
        if image.expected is not None and image.predicted != image.expected:
            wrong_in_batch.add(image.index)

    def rank(index: int) -> tuple[bool, bool, float]:
        image = comparison.singles[index]
        wrong = image.expected is not None and image.predicted != image.expected
        excess = [
            (image.network_difference or image.logit_difference or 0) / MAX_LOGIT_DIFFERENCE,
            image.grey_levels / MAX_GREY_LEVELS,
            image.probability_difference / MAX_PROBABILITY_DIFFERENCE,
            batch_difference[index] / MAX_LOGIT_DIFFERENCE,
        ]
        return not wrong, index not in wrong_in_batch, -max(excess)

    def name(number: int | None) -> str | None:
        return classes[number] if number is not None and number < len(classes) else None

    return [
        {
            "id": image.id,
            "height": image.shape[0],
            "width": image.shape[1],
            "label": labels.get(image.id),
            "expected": image.expected,
            "expected_class": name(image.expected),
            "answered": image.predicted,
            "answered_class": name(image.predicted),
            "logit_difference": finite(image.logit_difference),
            "grey_levels": finite(image.grey_levels),
            "batch_difference": finite(batch_difference[index]),
        }
        for index in sorted(range(len(comparison.singles)), key=rank)[:WORST]
        for image in [comparison.singles[index]]
    ]


def finite(value: float | None) -> float | None:
    """The value if JSON can represent it, else None."""
    return value if value is not None and math.isfinite(value) else None
