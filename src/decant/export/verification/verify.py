"""Verification: does the exported file do what the student does? NumPy, ONNX Runtime and Pillow suffice."""

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
from decant.export.runtime import BrokenFile, OnnxClassifier, open_session
from decant.export.verification.comparison import Comparison, InBatch, Measured, Picture, Reference, Sessions, compare
from decant.export.verification.pillow_reference import PillowReference, network_of
from decant.export.verification.tap import tapped

BATCH_SIZES = (1, 7, 32)
MAX_LOGIT_DIFFERENCE = 1e-3  # fp32 against fp32
MAX_GREY_LEVELS = 1.0
MIN_TOP1_AGREEMENT = 0.999
MAX_PROBABILITY_DIFFERENCE = 1e-5
ROUNDING = 1e-9  # so that a value equal to the limit passes
WORST = 8  # images that are named
NO_LABELS: Mapping[str, str] = MappingProxyType({})
NO_BATCH = "only batch size 1 was asked for"
NO_OTHER_NETWORK = "no network to compare with: give the checkpoint, or put the bare graph beside the file"

Gate = dict[str, Any]  # value, limit, passed: True | False | None (not checked), and then why


def verify(
    path: Path,
    pictures: Iterable[Picture],
    reference: Reference | None = None,
    bare_path: Path | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int = 1,
    fp32_path: Path | None = None,
    budget: float = BUDGET_POINTS,
    labels: Mapping[str, str] = NO_LABELS,
) -> dict[str, Any]:
    """Compare an exported file with the student on `pictures`: pairs (id, uint8 [H, W, 3], RGB, oriented).

    The images are read once and not kept. reference: `TorchReference(checkpoint)` or the like; its classes must be
    the file's. Without one, Pillow prepares the images and the bare graph computes the logits. bare_path: default
    `<name>_bare.onnx` beside the file, if it exists. batch_sizes: images of equal size are batched together; 1 is
    always among them. threads: of each of the up to four sessions; idle pools spin and slow each other and PyTorch.
    labels: id -> class name, where known.

    A file whose metadata give its `dtype` as int8 replaces another: `fp32_path`, by default `student.onnx` beside
    it, else the reference. It may lose at most `budget` points of accuracy against that, or of top-1 agreement if
    no label is known; as large a share of the images may get another class in a batch than alone. Its logits are
    not compared.

    Returns, ready for JSON: n, top1_agreement (the lowest of the batch sizes), max_abs_logit_difference (the
    networks alone, on equal tensors), batch_sizes, passed (no gate failed); and for people precision (the dtype),
    reference, gates, skipped (gates that could not be checked), agreement_by_batch_size and pictures_by_batch_size
    (how many of the images were in a batch of that size: images whose size few share may not be), labelled,
    accuracy, reference_accuracy and worst (images). A broken file is a failed gate, not an exception. Raises
    ValueError without images, UserError for a file of another kind or with nothing to compare it with.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; export the student first")
    bare_path = bare_path or path.with_name(f"{path.stem}_bare.onnx")
    files = [one for one in (path, bare_path) if one.is_file()]
    report = Report(sizes=sorted({1, *batch_sizes}), gates={"structure": structure_gate(files)})
    try:
        sessions = open_sessions(path, reference, bare_path, fp32_path, threads)
        report.dtype, report.reference = sessions.file.dtype, reference_name(sessions)
        found = compare(sessions, pictures, report.sizes)
    except BrokenFile as error:
        report.gates["answers"] = faults_gate([str(error)])
        return report.as_json()
    if not found.singles:
        raise ValueError("nothing to verify: no images given")
    report.gates["answers"] = faults_gate([])
    report.gates["classes"] = faults_gate(class_faults(path, sessions, found.singles[0].outputs))
    report.add(found, sessions.file.classes, labels, budget)
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
    """Open everything that is run. Raises BrokenFile for a file that exists but is broken."""
    file = OnnxClassifier(path, threads)
    graph = file.metadata.get("graph", "full")
    if graph != "full":
        raise UserError(f"{path} contains the {graph} graph; give the file with the full graph, student.onnx")
    try:
        tap = open_session(tapped(path.read_bytes()), threads)
    except BrokenFile as error:
        raise BrokenFile(f"{path.name} does not give its prepared image: {error}") from None
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
    """The preprocessing that the file's metadata describe. Raises BrokenFile if they describe none."""
    try:
        return Preprocessing.from_dict(json.loads(file.metadata["preprocessing"]))
    except (KeyError, AttributeError, TypeError, ValueError, RecursionError):
        raise BrokenFile(f"{path.name} does not say how it prepares an image; export it again") from None


def open_fp32(path: Path, reference: Reference | None, fp32_path: Path | None, threads: int) -> OnnxClassifier | None:
    """The file that an int8 file replaces; None if the reference takes its place."""
    beside = path.with_name("student.onnx")
    if fp32_path is None and beside.is_file() and beside != path:
        fp32_path = beside
    if fp32_path is None:
        if reference is None:
            raise UserError(f"{path.name} is int8: give the fp32 file that it replaces, or the checkpoint")
        return None
    fp32 = OnnxClassifier(fp32_path, threads)
    if fp32.dtype != "fp32":
        raise UserError(f"{fp32_path} is {fp32.dtype} itself; give the fp32 file")
    return fp32


def reference_name(sessions: Sessions) -> str:
    """What the file is compared with, in words."""
    return sessions.reference.name + (" and the fp32 file" if sessions.fp32 else "")


def class_faults(path: Path, sessions: Sessions, logits: int) -> list[str]:
    """Differences between the file's classes and the student's, classes.txt, or the number of logits."""
    classes = sessions.file.classes
    faults = []
    if classes != sessions.reference.classes:
        faults.append("the file's classes are not the student's, or are in another order")
    if sessions.fp32 and classes != sessions.fp32.classes:
        faults.append("the file's classes are not the fp32 file's, or are in another order")
    beside = path.with_name("classes.txt")
    if beside.is_file() and beside.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] != classes:
        faults.append("classes.txt differs from the file's classes")
    if len(classes) != logits:
        faults.append(f"{len(classes)} classes, {logits} logits")
    return faults


@dataclass
class Report:
    """Everything that `verify` returns, filled in step by step."""

    sizes: list[int]
    gates: dict[str, Gate]
    dtype: str | None = None
    reference: str | None = None
    n: int = 0
    pictures: dict[int, int] = field(default_factory=dict)
    agreement: dict[int, float] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=lambda: accuracies([], [], NO_LABELS))
    worst: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: Comparison, classes: list[str], labels: Mapping[str, str], budget: float) -> None:
        """Add what was measured, compared with the limits of the file's dtype."""
        self.n = len(found.singles)
        self.pictures = {size: len(several) for size, several in answers_of(found).items()}
        self.agreement = agreements(found)
        self.accuracy = accuracies(found.singles, classes, labels)
        shared = prepared_gate(found), probabilities_gate(found)
        self.gates |= {"prepared": shared[0], "probabilities": shared[1]}
        if self.dtype == "int8":
            self.gates |= budget_gates(found, self.agreement, self.accuracy, budget)
        else:
            self.gates |= fp32_gates(found, self.agreement)
        self.worst = worst(found, classes, labels)

    def as_json(self) -> dict[str, Any]:
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
            "pictures_by_batch_size": {str(size): count for size, count in self.pictures.items()},
            **self.accuracy,
            "worst": self.worst,
        }


def prepared_gate(found: Comparison) -> Gate:
    return at_most([one.grey_levels for one in found.singles], MAX_GREY_LEVELS)


def probabilities_gate(found: Comparison) -> Gate:
    return at_most([one.probability_difference for one in found.singles], MAX_PROBABILITY_DIFFERENCE)


def fp32_gates(found: Comparison, agreement: Mapping[int, float]) -> dict[str, Gate]:
    """Gates of a file that must predict as its reference does, up to the rounding of float32."""
    in_batches = [one.difference for several in found.batched.values() for one in several]
    return {
        "network": at_most([one.network_difference for one in found.singles], MAX_LOGIT_DIFFERENCE, NO_OTHER_NETWORK),
        "batches": at_most(in_batches, MAX_LOGIT_DIFFERENCE, NO_BATCH),
        "top1": at_least(min(agreement.values(), default=None), MIN_TOP1_AGREEMENT, NO_OTHER_NETWORK),
    }


def budget_gates(
    found: Comparison, agreement: Mapping[int, float], accuracy: Mapping[str, Any], budget: float
) -> dict[str, Gate]:
    """Gates of a file that may differ from the one that it replaces, within a budget. accuracy: of `accuracies`.

    Accuracy is measured at batch size 1. Whether a batch keeps its images apart is measured against the file's own
    predictions at batch size 1; the last digits of a float may move an activation to the next of its 256 levels, so
    the budget applies there too.
    """
    lost = None
    if accuracy["labelled"]:
        lost = 100 * (accuracy["reference_accuracy"] - accuracy["accuracy"])
    top1 = at_least(min(agreement.values(), default=None), 1 - budget / 100, NO_OTHER_NETWORK)
    if lost is not None:  # predictions that change from one wrong class to another, or to the right one, cost nothing
        top1 = {**top1, "passed": None, "why": "labels are known: accuracy decides"}
    return {
        "network": unchecked(MAX_LOGIT_DIFFERENCE, "int8 is judged by its budget"),
        "batches": unchecked(MAX_LOGIT_DIFFERENCE, "int8 is judged by its budget"),
        "batch_top1": at_least(least_alike(found), 1 - budget / 100, NO_BATCH),
        "top1": top1,
        "accuracy": at_most([lost], budget, "no image has a label that is one of the file's classes"),
    }


def least_alike(found: Comparison) -> float | None:
    """Share of images with the same class in a batch as alone, at the worst batch size; None without batches."""
    alike = [[one.answered == one.answered_alone for one in several] for several in found.batched.values() if several]
    return min((sum(same) / len(same) for same in alike), default=None)


def answers_of(found: Comparison) -> dict[int, Sequence[Measured | InBatch]]:
    """Batch size -> the images that were predicted at it."""
    return {1: found.singles, **found.batched}


def agreements(found: Comparison) -> dict[int, float]:
    """Batch size -> share of its images whose top class is the expected one. Images without a reference are skipped."""
    shares = {}
    for size, several in answers_of(found).items():
        hits = [one.answered == one.expected for one in several if one.expected is not None]
        if hits:
            shares[size] = sum(hits) / len(hits)
    return shares


def accuracies(singles: Sequence[Measured], classes: list[str], labels: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy of file and reference at batch size 1, among images whose label is one of the classes."""
    index = {name: number for number, name in enumerate(classes)}
    truths = [(one, index[labels[one.id]]) for one in singles if labels.get(one.id) in index]

    def share(hits: list[bool]) -> float | None:
        return sum(hits) / len(hits) if hits else None

    return {
        "labelled": len(truths),
        "accuracy": share([one.answered == truth for one, truth in truths]),
        "reference_accuracy": share([one.expected == truth for one, truth in truths if one.expected is not None]),
    }


def faults_gate(faults: list[str]) -> Gate:
    """Passed if there is no fault."""
    return {"value": faults, "limit": [], "passed": not faults}


def unchecked(limit: object, why: str) -> Gate:
    return {"value": None, "limit": limit, "passed": None, "why": why}


def at_most(values: Sequence[float | None], limit: float, why: str = "") -> Gate:
    """Passed if the largest value is within the limit; unchecked if a value is missing or there is none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return unchecked(limit, why)
    largest = max(known)
    # JSON has no infinity: an infinite value becomes None and fails.
    return {"value": finite(largest), "limit": limit, "passed": largest <= limit + ROUNDING * limit}


def at_least(value: float | None, limit: float, why: str) -> Gate:
    """Passed if the value reaches the limit; unchecked if there is none."""
    if value is None:
        return unchecked(limit, why)
    return {"value": value, "limit": limit, "passed": value >= limit - ROUNDING}


def worst(found: Comparison, classes: list[str], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The images furthest from the reference: wrong top class first, then by the largest excess over a limit."""
    apart = dict.fromkeys(range(len(found.singles)), 0.0)
    strays = set()
    for one in (one for several in found.batched.values() for one in several):
        apart[one.index] = max(apart[one.index], one.difference)
        if one.expected is not None and one.answered != one.expected:
            strays.add(one.index)

    def rank(index: int) -> tuple[bool, bool, float]:
        one = found.singles[index]
        off = one.expected is not None and one.answered != one.expected
        excess = [
            (one.network_difference or one.logit_difference or 0) / MAX_LOGIT_DIFFERENCE,
            one.grey_levels / MAX_GREY_LEVELS,
            one.probability_difference / MAX_PROBABILITY_DIFFERENCE,
            apart[index] / MAX_LOGIT_DIFFERENCE,
        ]
        return not off, index not in strays, -max(excess)

    def name(number: int | None) -> str | None:
        return classes[number] if number is not None and number < len(classes) else None

    return [
        {
            "id": one.id,
            "height": one.shape[0],
            "width": one.shape[1],
            "label": labels.get(one.id),
            "expected": one.expected,
            "expected_class": name(one.expected),
            "answered": one.answered,
            "answered_class": name(one.answered),
            "logit_difference": finite(one.logit_difference),
            "grey_levels": finite(one.grey_levels),
            "batch_difference": finite(apart[index]),
        }
        for index in sorted(range(len(found.singles)), key=rank)[:WORST]
        for one in [found.singles[index]]
    ]


def finite(value: float | None) -> float | None:
    """The value if JSON can represent it, else None."""
    return value if value is not None and math.isfinite(value) else None
