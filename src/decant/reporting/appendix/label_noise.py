"""The part of the report on label noise, from `label_noise` of `clean/metrics.json`."""

from collections.abc import Mapping
from typing import Any

from decant.evaluation.markdown import markdown_table, paragraphs
from decant.evaluation.tables import short, thousands

HEADER = (
    "label noise", "labels", "estimated rate", "from predictions", "from duplicates", "confident joint", "suspects",
    "suggested",
)  # fmt: skip
NOTE = (
    "Estimated share of wrong labels, with 95 % intervals: from out-of-fold predictions, without the mistakes that the "
    "calibrated classifier itself expects, and from pairs of duplicates with different labels. The estimated rate is "
    "the first, moved into the interval of the second. Suspects are labels that confident learning doubts: with a weak "
    "classifier there are many, also where no label is wrong. Only as many as the rate warrants, those with the "
    "highest scores, are suggested for a check. The confident joint, without a correction, also counts mistakes of a "
    "weak classifier. Mistakes between similar classes look like classes that overlap, so predictions alone make the "
    "rate too low for them."
)


def label_noise_table(clean_metrics: Mapping[str, Any]) -> str:
    """A table with a row per set of labels, and its note; "" for results without an estimate."""
    noise = clean_metrics.get("label_noise", {})
    rows = [_cells(name.replace("_", " "), estimates) for name, estimates in noise.items()]
    return paragraphs(NOTE, markdown_table(HEADER, rows)) if rows else ""


def _cells(name: str, estimates: Mapping[str, Any]) -> list[str]:
    return [
        name,
        thousands(estimates["labels"]),
        _share(estimates["rate"]),
        _interval(estimates["from_joint"]),
        _interval(estimates["from_duplicates"]),
        _share(estimates["confident_joint"]),
        thousands(estimates["suspects"]),
        thousands(estimates["suggested"]),
    ]


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "–"
    rate, low, high = (_share(estimate[name]) for name in ("rate", "low", "high"))
    return f"{rate} ({low}–{high}, n {thousands(estimate['n'])})"


def _share(value: float | None) -> str:
    return short(None if value is None else str(value))
