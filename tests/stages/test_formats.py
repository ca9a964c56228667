"""Which formats are tried on a study's student, and what is written of them."""

import csv
from typing import Any

import pytest

from decant.stages import formats as stage
from decant.stages.formats import FORMAT_COLUMNS, PROFILE_COLUMNS, measure_formats

Chain = Any


@pytest.fixture(scope="module")
def tables(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    out = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "THREADS", (1,))
        patch.setattr(stage, "PROFILED_CALLS", 3)
        with chain.experiment.workspace.locked():
            measure_formats(chain.experiment, out)
    return {path.name: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in out.iterdir()}


def test_every_format_is_measured(tables: dict[str, list[dict[str, str]]]) -> None:
    rows = {row["format"]: row for row in tables["formats.csv"]}
    assert tuple(tables["formats.csv"][0]) == FORMAT_COLUMNS
    assert {"fp32", "fp16", *stage.CALIBRATIONS} <= rows.keys()
    assert all(float(row["p50_ms"]) > 0 and 0 <= float(row["val_accuracy"]) <= 1 for row in rows.values())
    assert float(rows["fp32"]["times_as_fast"]) == 1
    assert float(rows["fp32"]["logit_rms"]) == 0 and float(rows["fp32"]["as_fp32"]) == 1
    assert 0 < float(rows["fp16"]["logit_rms"]) < float(rows["int8"]["logit_rms"])
    assert float(rows["int8"]["file_mb"]) < float(rows["fp32"]["file_mb"])


def test_the_profile_shares_out_the_time_of_the_kernels(tables: dict[str, list[dict[str, str]]]) -> None:
    rows = tables["format_profile.csv"]
    assert tuple(rows[0]) == PROFILE_COLUMNS
    for name in ("fp32", "int8"):
        of_format = [row for row in rows if row["format"] == name]
        assert sum(float(row["share"]) for row in of_format) == pytest.approx(1, abs=0.01)
    assert any(row["operator"].startswith("QLinear") for row in rows if row["format"] == "int8")
