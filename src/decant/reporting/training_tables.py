"""The section on training, from the tables in `results/training/`, which belong to no study."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from decant.evaluation.ablations import mean_with_interval
from decant.evaluation.markdown import link, markdown_table, section
from decant.evaluation.tables import difference, plural, read_results_table, short, with_interval
from decant.reporting.results_files import Row

SPEED_HEADER = [
    "network",
    "px",
    "batch norms",
    "images/s",
    "of timm's fastest loop",
    "times as fast",
    "of the rate in memory",
]
FROM_SCRATCH_HEADER = ["study", "network", "minutes", "seeds", "epochs", "test accuracy (95 %)"]
EFFECT_HEADER = ["study", "change", "seeds", "val accuracy", "difference", "val NLL", "difference"]
FROM_SCRATCH_TEXT = (
    "Networks from random weights, trained within a budget of minutes: means over seeds, with 95 % intervals by "
    "Student's t"
)


def training_section(results: Path, base: Path) -> str:
    """Speed beside timm's own loop, networks from random weights, and what changes of settings did; "" without tables.

    results: the folder of all results. Links are relative to the folder `base`.
    """
    files = [*results.glob("training/*.csv"), *results.glob("*/benchmarks/from_scratch.csv")]
    tables = {path.name: read_results_table(path) for path in files}
    speeds, trainings, effects = (
        tables.get(name, []) for name in ("throughput.csv", "from_scratch.csv", "effects.csv")
    )
    paths = {path.name: link(path, base) for path in files}
    linked = {name: f"[{path}]({path})" for name, path in paths.items()}
    return section(
        "Training",
        _speed_text(speeds, linked.get("throughput.csv", "")),
        markdown_table(SPEED_HEADER, [_speed_cells(row) for row in speeds]) if speeds else "",
        f"Where a step's time goes: {linked['profile.csv']}." if "profile.csv" in linked else "",
        f"What each measure for speed brings: {linked['levers.csv']}." if "levers.csv" in linked else "",
        f"{FROM_SCRATCH_TEXT}: {linked['from_scratch.csv']}." if trainings else "",
        markdown_table(FROM_SCRATCH_HEADER, from_scratch_cells(trainings), left=2) if trainings else "",
        _effects_text(linked) if effects else "",
        markdown_table(EFFECT_HEADER, [_effect_cells(row) for row in effects], left=2) if effects else "",
    )


def _speed_text(rows: Sequence[Row], where: str) -> str:
    if not rows:
        return ""
    threads = plural(int(rows[0]["threads"]), "CPU thread")
    return (
        f"Images per second from image file to training step on {threads}, beside timm's own training loop with the "
        "flags that were fastest here and beside the same steps on views in memory. The ratios are medians of "
        f"interleaved rounds, with the lowest and the highest round: {where}."
    )


def _speed_cells(row: Row) -> list[str]:
    return [
        row["architecture"],
        row["input_px"],
        row["batch_norms"] or "–",
        row["images_per_second"],
        row["timm_per_second"],
        *(
            f"{short(row[name], 2)} ({short(row[f'{name}_low'], 2)}–{short(row[f'{name}_high'], 2)})"
            for name in ("to_timm", "to_memory")
        ),
    ]


def from_scratch_cells(trainings: Sequence[Row]) -> list[list[str]]:
    """A row of cells per study, recipe and budget, the shortest budget first. trainings: rows of `from_scratch.csv`."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in trainings:
        groups.setdefault((row["study"], row["recipe"], float(row["budget_minutes"])), []).append(row)
    return [
        [study, recipe, f"{budget:g}", str(len(rows)), rows[0]["epochs"], _mean_accuracy(rows)]
        for (study, recipe, budget), rows in sorted(groups.items())
    ]


def _mean_accuracy(rows: Sequence[Row]) -> str:
    mean, low, high = mean_with_interval(np.array([float(row["accuracy"]) for row in rows]))
    return with_interval(
        {"accuracy": str(mean), "accuracy_low": str(low or ""), "accuracy_high": str(high or "")}, "accuracy"
    )


def _effects_text(linked: dict[str, str]) -> str:
    return (
        "Changes of a teacher's settings, each compared on val with the unchanged teachers of the same seeds, with "
        f"95 % intervals over the seeds where there are several: {linked['effects.csv']}, from "
        f"{linked.get('ablations.csv', '')}."
    )


def _effect_cells(row: Row) -> list[str]:
    return [
        row["study"],
        row["change"],
        row["seeds"],
        short(row["val_accuracy"]),
        difference(row, "val_accuracy_difference"),
        short(row["val_nll"]),
        difference(row, "val_nll_difference"),
    ]
