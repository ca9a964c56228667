"""Every column that the tables have is explained, and nothing is explained that they do not have."""

import re
from pathlib import Path

import pytest

from decant.export.effort import EFFORT_COLUMNS
from decant.export.fidelity import FIDELITY_COLUMNS
from decant.export.preparation import COST_COLUMNS
from decant.reporting.candidates import LATENCY_COLUMNS
from decant.reporting.cold_start import COLD_START_COLUMNS
from decant.reporting.intervals import COMPARISON_COLUMNS
from decant.reporting.metrics import (
    CLASS_COUNT_COLUMNS,
    NEAR_DUPLICATE_COLUMNS,
    PER_CLASS_COLUMNS,
    PRECISION_COLUMNS,
    RELIABILITY_COLUMNS,
)

TABLES = {
    "benchmarks/precision/metrics.csv": PRECISION_COLUMNS,
    "benchmarks/precision/per_class.csv": PER_CLASS_COLUMNS,
    "benchmarks/precision/comparisons.csv": COMPARISON_COLUMNS,
    "benchmarks/precision/reliability.csv": RELIABILITY_COLUMNS,
    "benchmarks/precision/near_duplicates.csv": NEAR_DUPLICATE_COLUMNS,
    "benchmarks/latency/metrics.csv": LATENCY_COLUMNS,
    "data/classes.csv": CLASS_COUNT_COLUMNS,
    "export/preprocessing.csv": COST_COLUMNS,
    "export/fidelity.csv": FIDELITY_COLUMNS,
    "export/cold_start.csv": COLD_START_COLUMNS,
    "export/export_time.csv": EFFORT_COLUMNS,
}


@pytest.mark.parametrize("table", TABLES)
def test_the_readme_explains_exactly_the_columns_of(repository: Path, table: str) -> None:
    sections = (repository / "results" / "README.md").read_text(encoding="utf-8").split("\n## ")
    (section,) = [text for text in sections if text.startswith(f"{table}\n")]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, flags=re.MULTILINE)
    explained = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(explained) == sorted(TABLES[table])
