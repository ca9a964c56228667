"""results/README.md explains exactly the columns of the tables."""

import re
from pathlib import Path

import pytest
import torch

from decant.benchmarking import training_speed
from decant.benchmarking.cleaning_benchmark import CLEANING_COLUMNS
from decant.benchmarking.document_time import DOCUMENT_COLUMNS
from decant.benchmarking.hostile_run import HOSTILE_COLUMNS
from decant.benchmarking.number_formats import FORMAT_COLUMNS, PROFILE_COLUMNS
from decant.benchmarking.serving_load import LOAD_COLUMNS
from decant.benchmarking.soft_label_speed import MEMORY_COLUMNS, SPEED_COLUMNS
from decant.benchmarking.students import STUDENT_COLUMNS
from decant.cleaning.policy import ISSUE_COLUMNS
from decant.ensemble.comparison import CONTRIBUTION_COLUMNS, DIVERSITY_COLUMNS, POOLING_COLUMNS
from decant.evaluation.ablations import ABLATION_COLUMNS, EFFECT_COLUMNS
from decant.evaluation.acceptance import ACCEPT_COLUMNS
from decant.evaluation.foreign import FOREIGN_COLUMNS
from decant.evaluation.intervals import COMPARISON_COLUMNS
from decant.evaluation.metrics import (
    CLASS_COUNT_COLUMNS,
    FROM_SCRATCH_COLUMNS,
    NEAR_DUPLICATE_COLUMNS,
    PER_CLASS_COLUMNS,
    PRECISION_COLUMNS,
    RELIABILITY_COLUMNS,
    SOFT_LABEL_COLUMNS,
)
from decant.evaluation.referee import COMPARISON_COLUMNS as ARM_COMPARISON_COLUMNS
from decant.evaluation.referee import METRIC_COLUMNS as ARM_COLUMNS
from decant.timing.cold_start import COLD_START_COLUMNS
from decant.timing.export_time import EXPORT_TIME_COLUMNS
from decant.timing.models import LATENCY_COLUMNS, count_cost
from decant.timing.prediction_rate import RATE_COLUMNS
from decant.timing.preprocessing_cost import COST_COLUMNS
from decant.timing.preprocessing_error import PREPROCESSING_ERROR_COLUMNS

# The columns of these tables depend on the source's sample submission, the metrics of training and the class names.
WITHOUT_A_LIST = (
    "submission.csv, submission_student.csv", "teachers/NAME.csv", "benchmarks/precision/confusion_MODEL.csv",
)  # fmt: skip
LATENCY = "benchmarks/latency/metrics.csv"
TABLES = {
    "benchmarks/precision/metrics.csv": PRECISION_COLUMNS,
    "benchmarks/precision/per_class.csv": PER_CLASS_COLUMNS,
    "benchmarks/precision/comparisons.csv": COMPARISON_COLUMNS,
    "benchmarks/distillation/metrics.csv": ARM_COLUMNS,
    "benchmarks/students/metrics.csv": STUDENT_COLUMNS,
    "benchmarks/distillation/comparisons.csv": ARM_COMPARISON_COLUMNS,
    "benchmarks/precision/reliability.csv": RELIABILITY_COLUMNS,
    "benchmarks/precision/near_duplicates.csv": NEAR_DUPLICATE_COLUMNS,
    "benchmarks/precision/soft_labels.csv": SOFT_LABEL_COLUMNS,
    "benchmarks/precision/accept.csv": ACCEPT_COLUMNS,
    LATENCY: LATENCY_COLUMNS,
    "clean/issues.csv": ISSUE_COLUMNS,
    "data/classes.csv": CLASS_COUNT_COLUMNS,
    "cleaning/toy_vehicles.csv, cleaning/cifar10.csv, cleaning/cars_body.csv": CLEANING_COLUMNS,
    "ensemble/pooling.csv": POOLING_COLUMNS,
    "ensemble/contributions.csv": CONTRIBUTION_COLUMNS,
    "ensemble/diversity.csv": DIVERSITY_COLUMNS,
    "export/preprocessing.csv": COST_COLUMNS,
    "export/fidelity.csv": PREPROCESSING_ERROR_COLUMNS,
    "export/cold_start.csv": COLD_START_COLUMNS,
    "export/export_time.csv": EXPORT_TIME_COLUMNS,
    "export/predict.csv": RATE_COLUMNS,
    "foreign/STUDY.csv": FOREIGN_COLUMNS,
    "serving/load.csv": LOAD_COLUMNS,
    "serving/hostile.csv": HOSTILE_COLUMNS,
    "serving/documents.csv": DOCUMENT_COLUMNS,
    "training/ablations.csv": ABLATION_COLUMNS,
    "training/soft_labels.csv": SPEED_COLUMNS,
    "training/soft_label_memory.csv": MEMORY_COLUMNS,
    "training/effects.csv": EFFECT_COLUMNS,
    "cifar10/benchmarks/from_scratch.csv": FROM_SCRATCH_COLUMNS,
    "export/formats.csv": FORMAT_COLUMNS,
    "export/format_profile.csv": PROFILE_COLUMNS,
    "training/throughput.csv": training_speed.THROUGHPUT_COLUMNS,
    "training/timm_flags.csv": training_speed.FLAG_COLUMNS,
    "training/profile.csv": training_speed.PROFILE_COLUMNS,
    "training/levers.csv": training_speed.LEVER_COLUMNS,
}


def explained(repository: Path, table: str) -> list[tuple[str, str, str]]:
    """(column, unit, meaning) of each column in a table's section of the README."""
    sections = (repository / "results" / "README.md").read_text(encoding="utf-8").split("\n## ")
    (section,) = [text for text in sections if text.startswith(f"{table}\n")]
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) ?\| (.*) \|$", section, flags=re.MULTILINE)
    return [(name, unit.strip(), meaning) for names, unit, meaning in rows for name in re.findall(r"`([^`]+)`", names)]


def test_every_table_of_the_readme_is_checked(repository: Path) -> None:
    text = (repository / "results" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (.*\.csv)$", text, flags=re.MULTILINE)) == {*TABLES, *WITHOUT_A_LIST}


@pytest.mark.parametrize("table", TABLES)
def test_the_readme_explains_exactly_the_columns_of_a_table(repository: Path, table: str) -> None:
    assert sorted(name for name, _, _ in explained(repository, table)) == sorted(TABLES[table])


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_in_milliseconds_exactly_if_their_name_ends_in_ms(repository: Path, table: str) -> None:
    units = {name: unit for name, unit, _ in explained(repository, table)}
    assert {name for name, unit in units.items() if unit == "milliseconds"} == {
        name for name in units if name.endswith("_ms")
    }


def test_frozen_parameters_are_counted_as_the_readme_states(repository: Path) -> None:
    (meaning,) = [text for name, _, text in explained(repository, LATENCY) if name == "params_millions"]
    network = torch.nn.Conv2d(3, 5, kernel_size=1, bias=False).requires_grad_(False)
    assert count_cost(network, 4)[0] == 15 / 1e6
    assert "frozen" in meaning
