"""Metrics of a model's predictions: the tables of `benchmarks/precision/`."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from decant.evaluation.intervals import Groups, bootstrap_intervals

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

KINDS = ("teacher", "ensemble", "student_alone", "student", "student_onnx", "student_onnx_int8")
PRECISION_COLUMNS = (
    "model", "kind", "split", "n",
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "map_macro", "nll", "ece",
    "agreement_with_ensemble",
    "accuracy_low", "accuracy_high", "precision_macro_low", "precision_macro_high",
)  # fmt: skip
PER_CLASS_COLUMNS = (
    "model", "kind", "split", "class", "n", "predicted", "precision", "recall", "f1", "average_precision",
)  # fmt: skip
RELIABILITY_COLUMNS = ("model", "kind", "split", "bin_low", "bin_high", "n", "confidence", "accuracy")
NEAR_DUPLICATE_COLUMNS = (
    "model", "kind", "split", "subset", "n", "train_set_aside", "train_kept",
    "accuracy", "accuracy_low", "accuracy_high",
)  # fmt: skip
FROM_SCRATCH_COLUMNS = ("study", "recipe", "budget_minutes", "seed", "minutes", "epochs", "accuracy")
SOFT_LABEL_COLUMNS = ("model", "kind", "views", "n", "accuracy", "probability")
CLASS_COUNT_COLUMNS = ("split", "class", "images")

ECE_BINS = 15
LEAST_LOG_PROBABILITY = float(np.log(np.finfo(np.float32).tiny))  # so that an underflow keeps the mean finite


def precision_row(
    model: str,
    kind: str,
    split: str,
    log_probabilities: Floats,
    targets: Integers,
    ensemble_log_probabilities: Floats | None = None,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, object]:
    """One row of `benchmarks/precision/metrics.csv`; its keys are PRECISION_COLUMNS, in order.

    Macro precision, recall and F1 average over the classes that occur among the targets or the predictions, as
    scikit-learn does, and a class that is never predicted counts 0.

    Args:
        kind: one of KINDS.
        log_probabilities: [n, K], natural logarithms; each row's probabilities sum to 1.
        targets: [n], class indices in [0, K).
        ensemble_log_probabilities: [n, K] in the same order of images, or None (an empty cell).
        seed: of the bootstrap.
        groups: [n], equal for images that depend on one another; None: no image depends on another.

    Raises:
        ValueError: the kind is unknown, there are no images, shapes do not match, targets are outside [0, K), or rows
            are not log-probabilities (for example logits).
    """
    if kind not in KINDS:
        raise ValueError(f"{model}: {kind!r} is not a kind of model; known kinds: {', '.join(KINDS)}")
    _check(model, log_probabilities, targets)
    predictions = log_probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(targets, predictions, average="macro", zero_division=0)
    intervals = bootstrap_intervals(targets, predictions, seed=seed, groups=groups)
    return {
        "model": model,
        "kind": kind,
        "split": split,
        "n": len(targets),
        "accuracy": float(accuracy_score(targets, predictions)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "map_macro": mean_average_precision(log_probabilities, targets),
        "nll": negative_log_likelihood(log_probabilities, targets),
        "ece": expected_calibration_error(log_probabilities, targets),
        "agreement_with_ensemble": _agreement(predictions, ensemble_log_probabilities),
        "accuracy_low": intervals["accuracy"][0],
        "accuracy_high": intervals["accuracy"][1],
        "precision_macro_low": intervals["precision_macro"][0],
        "precision_macro_high": intervals["precision_macro"][1],
    }


def per_class_rows(
    model: str,
    kind: str,
    split: str,
    log_probabilities: Floats,
    targets: Integers,
    classes: Sequence[str],
) -> list[dict[str, object]]:
    """One row per class, in the order of `classes` ([K] names); keys are PER_CLASS_COLUMNS.

    `n` counts the images of the class, `predicted` the images predicted as the class. Precision of a class that is
    never predicted is 0; recall and average precision of a class without images are empty.
    """
    _check(model, log_probabilities, targets, len(classes))
    matrix = confusion(log_probabilities, targets)
    labels = np.arange(len(classes))
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, log_probabilities.argmax(axis=1), labels=labels, average=None, zero_division=0
    )
    average_precision = _average_precision_per_class(log_probabilities, targets)
    support = matrix.sum(axis=1)
    return [
        {
            "model": model,
            "kind": kind,
            "split": split,
            "class": name,
            "n": int(support[label]),
            "predicted": int(matrix[:, label].sum()),
            "precision": float(precision[label]),
            "recall": float(recall[label]) if support[label] else None,
            "f1": float(f1[label]),
            "average_precision": float(average_precision[label]),
        }
        for label, name in enumerate(classes)
    ]


def confusion(log_probabilities: Floats, targets: Integers) -> npt.NDArray[np.int64]:
    """[K, K] counts: row = target, column = prediction."""
    _check("confusion", log_probabilities, targets)
    labels = np.arange(log_probabilities.shape[1])
    return np.asarray(confusion_matrix(targets, log_probabilities.argmax(axis=1), labels=labels), dtype=np.int64)


def confusion_rows(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, object]]:
    """The rows of `benchmarks/precision/confusion_<model>.csv`: `target`, then a column per class."""
    if len(set(classes)) != len(classes) or "target" in classes:
        classes = [f"{number} {name}" for number, name in enumerate(classes)]  # column names must differ
    return [
        {"target": name, **dict(zip(classes, map(int, counts), strict=True))}
        for name, counts in zip(classes, matrix, strict=True)
    ]


def mean_average_precision(log_probabilities: Floats, targets: Integers) -> float:
    """Mean over the classes with images of the one-vs-rest average precision (scikit-learn's step integral)."""
    return float(np.nanmean(_average_precision_per_class(log_probabilities, targets)))


def negative_log_likelihood(log_probabilities: Floats, targets: Integers) -> float:
    """Mean −ln p(target), in nats; an underflowed probability counts as float32's smallest, 1.2e-38."""
    of_target = np.asarray(log_probabilities, dtype=np.float64)[np.arange(len(targets)), targets]
    return float(-np.maximum(of_target, LEAST_LOG_PROBABILITY).mean())


def expected_calibration_error(log_probabilities: Floats, targets: Integers, bins: int = ECE_BINS) -> float:
    """Σ_b n_b/n · |accuracy_b − confidence_b| over equal-width bins (0, 1/M], … (Guo et al. 2017, eq. 3)."""
    n, confidence, accuracy = _reliability(log_probabilities, targets, bins)
    filled = n > 0
    return float((n[filled] * np.abs(accuracy[filled] - confidence[filled])).sum() / n.sum())


def reliability_rows(
    model: str, kind: str, split: str, log_probabilities: Floats, targets: Integers, bins: int = ECE_BINS
) -> list[dict[str, object]]:
    """One row per bin of the calibration error; keys are RELIABILITY_COLUMNS. Cells of empty bins are empty."""
    _check(model, log_probabilities, targets)
    n, confidence, accuracy = _reliability(log_probabilities, targets, bins)
    return [
        {
            "model": model,
            "kind": kind,
            "split": split,
            "bin_low": number / bins,
            "bin_high": (number + 1) / bins,
            "n": int(n[number]),
            "confidence": float(confidence[number]),
            "accuracy": float(accuracy[number]),
        }
        for number in range(bins)
    ]


def near_duplicate_rows(
    model: str,
    kind: str,
    split: str,
    log_probabilities: Floats,
    targets: Integers,
    repeated: npt.NDArray[np.bool_],
    in_train: tuple[int, int],
    seed: int = 0,
    groups: Groups | None = None,
) -> list[dict[str, object]]:
    """Accuracy on all images, on those with a duplicate in train and on the others; keys are NEAR_DUPLICATE_COLUMNS.

    Args:
        repeated: bool [n], True for an image with a duplicate in train.
        in_train: how many of these duplicates in train cleaning set aside, and how many it kept.
        seed: of the bootstrap.
        groups: as in `precision_row`.
    """
    _check(model, log_probabilities, targets)
    if repeated.shape != targets.shape or repeated.dtype != bool:
        raise ValueError(f"{model}: repeated must be bool {targets.shape}, not {repeated.dtype} {repeated.shape}")
    predictions = log_probabilities.argmax(axis=1)
    subsets = {"all": np.ones_like(repeated), "with_duplicate": repeated, "without_duplicate": ~repeated}
    rows: list[dict[str, object]] = []
    for subset, mask in subsets.items():
        set_aside, kept = (0, 0) if subset == "without_duplicate" else in_train
        row: dict[str, object] = {"model": model, "kind": kind, "split": split, "subset": subset}
        row |= {"n": int(mask.sum()), "train_set_aside": set_aside, "train_kept": kept}
        mask_groups = None if groups is None else groups[mask]
        rows.append(row | _accuracy_cells(targets[mask], predictions[mask], seed, mask_groups))
    return rows


def _accuracy_cells(targets: Integers, predictions: Integers, seed: int, groups: Groups | None) -> dict[str, object]:
    """Accuracy and its interval; empty without images."""
    if not len(targets):
        return {"accuracy": None, "accuracy_low": None, "accuracy_high": None}
    low, high = bootstrap_intervals(targets, predictions, seed=seed, groups=groups)["accuracy"]
    return {"accuracy": float(accuracy_score(targets, predictions)), "accuracy_low": low, "accuracy_high": high}


def soft_label_row(model: str, kind: str, labelled_views: Iterable[tuple[Floats, Integers]]) -> dict[str, object]:
    """Accuracy of soft labels against the given labels, and the mean probability of these; keys are SOFT_LABEL_COLUMNS.

    labelled_views: per view the probabilities [n, K] and the given labels [n]; n may differ and be 0.
    """
    views, correct, label_probabilities = 0, [], []
    for probabilities, targets in labelled_views:
        views += 1
        correct.append(probabilities.argmax(axis=1) == targets)
        label_probabilities.append(probabilities[np.arange(len(targets)), targets])
    n = sum(map(len, correct))
    return {
        "model": model,
        "kind": kind,
        "views": views,
        "n": n,
        "accuracy": float(np.concatenate(correct).mean()) if n else None,
        "probability": float(np.concatenate(label_probabilities).mean()) if n else None,
    }


def class_count_rows(splits: Sequence[str], labels: Sequence[str | None]) -> list[dict[str, object]]:
    """The rows of `data/classes.csv` from each image's split and class name, "" for an unlabelled image."""
    counts: dict[tuple[str, str], int] = {}
    for split, label in zip(splits, labels, strict=True):
        key = (split, label if isinstance(label, str) else "")
        counts[key] = counts.get(key, 0) + 1
    return [{"split": split, "class": name, "images": counts[split, name]} for split, name in sorted(counts)]


def _reliability(log_probabilities: Floats, targets: Integers, bins: int) -> tuple[Floats, Floats, Floats]:
    """Per bin: images, mean confidence and accuracy (NaN if empty), each [bins]."""
    confidence = np.exp(np.asarray(log_probabilities, dtype=np.float64).max(axis=1))
    correct = (log_probabilities.argmax(axis=1) == targets).astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    n = np.bincount(bin_of, minlength=bins).astype(np.float64)
    divisor = np.where(n > 0, n, np.nan)
    return (
        n,
        np.bincount(bin_of, weights=confidence, minlength=bins) / divisor,
        np.bincount(bin_of, weights=correct, minlength=bins) / divisor,
    )


def _average_precision_per_class(log_probabilities: Floats, targets: Integers) -> npt.NDArray[np.float64]:
    """Average precision of each class, [K]; NaN for a class without images, whose recall is undefined."""
    scores = np.exp(np.asarray(log_probabilities, dtype=np.float64))
    result = np.full(scores.shape[1], np.nan)
    for label in np.unique(targets):
        result[label] = average_precision_score(targets == label, scores[:, label])
    return result


def _agreement(predictions: Integers, ensemble_log_probabilities: Floats | None) -> float | None:
    if ensemble_log_probabilities is None:
        return None
    if len(ensemble_log_probabilities) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions but {len(ensemble_log_probabilities)} of the ensemble")
    return float((predictions == ensemble_log_probabilities.argmax(axis=1)).mean())


def _check(model: str, log_probabilities: Floats, targets: Integers, classes: int | None = None) -> None:
    if log_probabilities.ndim != 2 or targets.shape != log_probabilities.shape[:1] or not len(targets):
        raise ValueError(
            f"{model}: expected log-probabilities [n, K] and targets [n] with n ≥ 1, "
            f"got {log_probabilities.shape} and {targets.shape}"
        )
    if classes is not None and classes != log_probabilities.shape[1]:
        raise ValueError(f"{model}: {classes} class names but {log_probabilities.shape[1]} columns")
    if targets.min() < 0 or targets.max() >= log_probabilities.shape[1]:
        raise ValueError(f"{model}: targets must be in [0, {log_probabilities.shape[1]}); remove unlabelled rows")
    sums = np.exp(np.asarray(log_probabilities, dtype=np.float64)).sum(axis=1)
    if not np.allclose(sums, 1, atol=5e-3):
        raise ValueError(
            f"{model}: rows must be log-probabilities whose exponentials sum to 1; the worst row sums to "
            f"{sums[np.abs(sums - 1).argmax()]:.4g}. Pass log-probabilities, not logits or probabilities."
        )
