"""Every column that the tables have is explained, and nothing is explained that they do not have."""

import re
from pathlib import Path

import pytest
import torch

from decant.cleaning.policy import ISSUE_COLUMNS
from decant.evaluation.intervals import COMPARISON_COLUMNS
from decant.evaluation.metrics import (
    CLASS_COUNT_COLUMNS,
    NEAR_DUPLICATE_COLUMNS,
    PER_CLASS_COLUMNS,
    PRECISION_COLUMNS,
    RELIABILITY_COLUMNS,
    SOFT_LABEL_COLUMNS,
)
from decant.stages.support.number_formats import FORMAT_COLUMNS, PROFILE_COLUMNS
from decant.timing.cold_start import COLD_START_COLUMNS
from decant.timing.export_time import EXPORT_TIME_COLUMNS
from decant.timing.models import LATENCY_COLUMNS, count_cost
from decant.timing.preprocessing_cost import COST_COLUMNS
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS

# Their columns depend on the source's sample, on a training's metrics and on the class names.
WITHOUT_A_LIST = (
    "submission.csv, submission_student.csv", "teachers/NAME.csv", "benchmarks/precision/confusion_MODEL.csv",
)  # fmt: skip
LATENCY = "benchmarks/latency/metrics.csv"
TABLES = {
    "benchmarks/precision/metrics.csv": PRECISION_COLUMNS,
    "benchmarks/precision/per_class.csv": PER_CLASS_COLUMNS,
    "benchmarks/precision/comparisons.csv": COMPARISON_COLUMNS,
    "benchmarks/precision/reliability.csv": RELIABILITY_COLUMNS,
    "benchmarks/precision/near_duplicates.csv": NEAR_DUPLICATE_COLUMNS,
    "benchmarks/precision/soft_labels.csv": SOFT_LABEL_COLUMNS,
    LATENCY: LATENCY_COLUMNS,
    "clean/issues.csv": ISSUE_COLUMNS,
    "data/classes.csv": CLASS_COUNT_COLUMNS,
    "export/preprocessing.csv": COST_COLUMNS,
    "export/fidelity.csv": PREPROCESSING_ERROR_COLUMNS,
    "export/cold_start.csv": COLD_START_COLUMNS,
    "export/export_time.csv": EXPORT_TIME_COLUMNS,
    "export/formats.csv": FORMAT_COLUMNS,
    "export/format_profile.csv": PROFILE_COLUMNS,
}


def explained(repository: Path, table: str) -> list[tuple[str, str, str]]:
    """(column, unit, meaning) as the README has them."""
    sections = (repository / "results" / "README.md").read_text(encoding="utf-8").split("\n## ")
    (section,) = [text for text in sections if text.startswith(f"{table}\n")]
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) ?\| (.*) \|$", section, flags=re.MULTILINE)
    return [(name, unit.strip(), meaning) for names, unit, meaning in rows for name in re.findall(r"`([^`]+)`", names)]


def test_no_table_of_the_readme_goes_unchecked(repository: Path) -> None:
    text = (repository / "results" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (.*\.csv)$", text, flags=re.MULTILINE)) == {*TABLES, *WITHOUT_A_LIST}


@pytest.mark.parametrize("table", TABLES)
def test_the_readme_explains_exactly_the_columns_of(repository: Path, table: str) -> None:
    assert sorted(name for name, _, _ in explained(repository, table)) == sorted(TABLES[table])


@pytest.mark.parametrize("table", TABLES)
def test_exactly_the_columns_that_say_so_are_in_milliseconds(repository: Path, table: str) -> None:
    units = {name: unit for name, unit, _ in explained(repository, table)}
    assert {name for name, unit in units.items() if unit == "milliseconds"} == {n for n in units if n.endswith("_ms")}


def test_parameters_that_are_frozen_count_too_and_the_readme_says_so(repository: Path) -> None:
    (meaning,) = [text for name, _, text in explained(repository, LATENCY) if name == "params_millions"]
    network = torch.nn.Conv2d(3, 5, kernel_size=1, bias=False).requires_grad_(False)
    assert count_cost(network, 4)[0] == 15 / 1e6
    assert "frozen ones included" in meaning
