"""Verification: does the exported file do what the student does? NumPy, ONNX Runtime and Pillow suffice."""

import importlib.util
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from decant.errors import UserError
from decant.export.comparison import InBatch, Measured, Picture, Reference, measure, measure_batches
from decant.export.independent import PillowReference
from decant.export.runtime import BrokenFile, OnnxClassifier, open_session

BATCH_SIZES = (1, 7, 32)
MAX_LOGIT_DIFFERENCE = 1e-3  # fp32 against fp32
MAX_GREY_LEVELS = 1.0
MIN_TOP1_AGREEMENT = 0.999
MAX_PROBABILITY_DIFFERENCE = 1e-5
WORST = 8  # how many pictures are named

Gate = dict[str, Any]  # value, limit, passed: True | False | None (could not be checked)


def verify(
    path: Path,
    pictures: Sequence[Picture],
    reference: Reference | None = None,
    bare_path: Path | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int = 1,
) -> dict[str, Any]:
    """Hold an exported file against the student on `pictures`: pairs (id, uint8 [H, W, 3], RGB, oriented).

    reference: `decant.export.reference.TorchReference(checkpoint)` or the like: picture -> prepared float32
    [3, S, S] in [0, 1], logits [K]; its `classes`, if it has any, must be the file's. Without one, Pillow
    prepares the pictures and the bare graph answers. bare_path: default `<name>_bare.onnx` beside the file,
    where it is there. batch_sizes: pictures of equal size go together; 1 is always among them. threads: of each
    of the up to four sessions; idle pools spin, and so slow each other and PyTorch.

    Returns, ready for JSON: n, top1_agreement (the lowest of the batch sizes), max_abs_logit_difference (the
    networks alone, on equal tensors), batch_sizes, passed (no gate failed); and for people gates, skipped
    (gates that could not be checked here), agreement_by_batch_size and worst (pictures). A broken file is a
    failed gate, not an exception. Raises ValueError without pictures, UserError where there is nothing to
    compare with.
    """
    if not len(pictures):
        raise ValueError("nothing to verify: no pictures given")
    sizes = sorted({1, *batch_sizes})
    parts = open_parts(path, bare_path or path.with_name(f"{path.stem}_bare.onnx"), threads)
    gates = {"structure": faults_gate(parts.faults)}
    try:
        classifier = OnnxClassifier(path, threads)
        networks = dict(parts.networks)
        reference = reference or independent_reference(classifier, networks)
        singles = [measure(classifier, picture, reference, networks, parts.before) for picture in pictures]
        batched = {size: measure_batches(classifier, pictures, singles, size) for size in sizes if size > 1}
    except BrokenFile as error:
        gates["answers"] = faults_gate([str(error)])
        return verdict(len(pictures), sizes, gates, {}, [])
    agreement = agreements(singles, batched)
    gates |= {
        "answers": faults_gate([]),
        "classes": faults_gate(class_faults(path, classifier, reference, len(singles[0].logits))),
        "prepared": at_most((one.grey_levels for one in singles), MAX_GREY_LEVELS),
        "network": at_most((one.network_difference for one in singles), MAX_LOGIT_DIFFERENCE),
        "batches": at_most((one.difference for found in batched.values() for one in found), MAX_LOGIT_DIFFERENCE),
        "probabilities": at_most((one.probability_difference for one in singles), MAX_PROBABILITY_DIFFERENCE),
        "top1": at_least(min(agreement.values()), MIN_TOP1_AGREEMENT),
    }
    return verdict(len(pictures), sizes, gates, agreement, singles)


@dataclass(frozen=True)
class Parts:
    """What can be had of a file apart from its answers.

    networks: name -> session prepared -> logits: "bare", the file beside it, and "full", cut out of the file
    itself. before: session images -> prepared. faults: of structure; None where they cannot be looked for.
    """

    networks: dict[str, onnxruntime.InferenceSession]
    before: onnxruntime.InferenceSession | None
    faults: list[str] | None


def open_parts(path: Path, bare_path: Path, threads: int) -> Parts:
    """Open what is there; what is there but broken is a fault. UserError without the file itself."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; export the student first")
    networks: dict[str, onnxruntime.InferenceSession] = {}
    faults: list[str] = []
    before = None
    try:
        if bare_path.is_file():
            networks["bare"] = open_session(bare_path, threads)
    except BrokenFile as error:
        faults.append(str(error))
    if importlib.util.find_spec("onnx") is None:
        return Parts(networks, None, faults or None)
    from decant.export import structure  # not above: a machine that only runs the file may lack onnx

    for file in (one for one in (path, bare_path) if one.is_file()):
        faults += [f"{file.name}: {fault}" for fault in structure.structural_faults(file)]
    try:
        first, second = structure.cut(path)
        before, networks["full"] = open_session(first, threads), open_session(second, threads)
    except BrokenFile as error:
        faults.append(f"{path.name}: {error}")
    return Parts(networks, before, faults)


def independent_reference(
    classifier: OnnxClassifier, networks: dict[str, onnxruntime.InferenceSession]
) -> PillowReference:
    """Pillow in front of one of the networks, which is taken out of those to be compared."""
    if not networks:
        raise UserError("nothing to compare with: give the checkpoint, the bare file, or install onnx")
    network = networks.pop(next(iter(networks)))
    steps = json.loads(classifier.metadata["preprocessing"])
    return PillowReference(network, classifier.classes, steps["input_px"], steps["resize_px"])


def class_faults(path: Path, classifier: OnnxClassifier, reference: Reference, logits: int) -> list[str]:
    """Where the file's classes are not the student's, not those of classes.txt, or not one per logit."""
    faults = []
    if classifier.classes != getattr(reference, "classes", classifier.classes):
        faults.append("the classes in the file are not the student's, or in another order")
    beside = path.with_name("classes.txt")
    if beside.is_file() and beside.read_text(encoding="utf-8").split("\n")[:-1] != classifier.classes:
        faults.append("classes.txt is not what the file says")
    if len(classifier.classes) != logits:
        faults.append(f"{len(classifier.classes)} classes, {logits} logits")
    return faults


def agreements(singles: Sequence[Measured], batched: Mapping[int, Sequence[InBatch]]) -> dict[int, float]:
    """Batch size -> share of the pictures whose top class is the reference's."""

    def share(hits: list[bool]) -> float:
        return sum(hits) / len(hits)

    return {1: share([one.answered == one.expected for one in singles])} | {
        size: share([one.answered == singles[one.index].expected for one in found]) for size, found in batched.items()
    }


def faults_gate(faults: list[str] | None) -> Gate:
    """Passed where there are none."""
    return {"value": faults, "limit": [], "passed": None if faults is None else not faults}


def at_most(values: Iterable[float | None], limit: float) -> Gate:
    """Passed where the largest is within the limit; unchecked where a value is missing or there is none."""
    known = list(values)
    if not known or None in known:
        return {"value": None, "limit": limit, "passed": None}
    largest = max(value for value in known if value is not None)
    # JSON has no infinity: what is beyond all measure has no value and fails.
    return {"value": largest if math.isfinite(largest) else None, "limit": limit, "passed": largest <= limit}


def at_least(value: float, limit: float) -> Gate:
    """Passed where the value reaches the limit."""
    return {"value": value, "limit": limit, "passed": value >= limit}


def verdict(
    n: int,
    sizes: list[int],
    gates: Mapping[str, Gate],
    agreement: Mapping[int, float],
    singles: Sequence[Measured],
) -> dict[str, Any]:
    """All that `verify` returns."""
    return {
        "n": n,
        "top1_agreement": gates["top1"]["value"] if "top1" in gates else None,
        "max_abs_logit_difference": gates["network"]["value"] if "network" in gates else None,
        "batch_sizes": sizes,
        "passed": all(gate["passed"] is not False for gate in gates.values()),
        "gates": gates,
        "skipped": sorted(name for name, gate in gates.items() if gate["passed"] is None),
        "agreement_by_batch_size": {str(size): share for size, share in agreement.items()},
        "worst": worst(singles),
    }


def worst(singles: Sequence[Measured]) -> list[dict[str, Any]]:
    """The pictures furthest from the reference: wrong top class first, then by their logits."""
    ranked = sorted(singles, key=lambda one: (one.answered == one.expected, -one.logit_difference))
    return [
        {
            "id": one.id,
            "height": one.shape[0],
            "width": one.shape[1],
            "expected": one.expected,
            "answered": one.answered,
            "logit_difference": finite(one.logit_difference),
            "grey_levels": finite(one.grey_levels),
        }
        for one in ranked[:WORST]
    ]


def finite(value: float | None) -> float | None:
    """The value where JSON has it."""
    return value if value is not None and math.isfinite(value) else None
