"""Which formats are tried on a student, and what is written of them. Here, beside the chain that all stages share."""

import csv
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from decant.benchmarking import number_formats as stage
from decant.benchmarking.number_formats import FORMAT_COLUMNS, PROFILE_COLUMNS, measure_formats
from decant.errors import UserError
from decant.stages.int8 import CALIBRATION_BATCH, TIMED_ROUNDS
from decant.stages.support.experiment import Experiment
from decant.timing import profiler

Chain = Any
QuantisationOf = Callable[[onnx.ModelProto], Any]


def calibrated_with(chain: Chain, images: int) -> Experiment:
    """The chain's experiment with `images` calibration images."""
    section = chain.experiment.study.export.model_copy(update={"calibration_images": images})
    study = chain.experiment.study.model_copy(update={"export": section})
    return dataclasses.replace(chain.experiment, study=study)


@dataclass
class Measured:
    """What `measure_formats` wrote, the models that it timed, in how many rounds, and what it logged."""

    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    models: dict[str, onnx.ModelProto] = field(default_factory=dict)
    rounds: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def measured(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """On whole calibration batches, so that the formats differ by their options alone; timed in one round."""
    out, found = tmp_path_factory.mktemp("formats"), Measured()
    make, measure, find = stage.files_of_formats, stage.measure_speedups, stage.importlib.util.find_spec

    def made(*arguments: Any) -> dict[str, Path]:
        files = make(*arguments)
        found.models.update({name: onnx.load(file) for name, file in files.items()})
        return files

    def timed(candidates: Any, threads: Any, calls: int, rounds: int) -> list[dict[str, object]]:
        found.rounds.append(rounds)
        return measure(candidates, threads, calls, rounds=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "THREADS", (1,))
        patch.setattr(profiler, "CALLS", 3)
        patch.setattr(stage, "files_of_formats", made)
        patch.setattr(stage, "measure_speedups", timed)
        patch.setattr(stage.importlib.util, "find_spec", lambda name: None if name == "onnxslim" else find(name))
        patch.setattr(stage.log, "info", lambda message, *values: found.told.append(message % values))
        measure_formats(calibrated_with(chain, 2 * CALIBRATION_BATCH), out)
    for path in out.iterdir():
        found.tables[path.name] = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return found


def test_every_format_is_measured(measured: Measured) -> None:
    rows = {row["format"]: row for row in measured.tables["formats.csv"]}
    assert tuple(measured.tables["formats.csv"][0]) == FORMAT_COLUMNS
    assert rows.keys() == {"fp32", "fp16", *stage.CALIBRATIONS}
    assert all(float(row["p50_ms"]) > 0 and 0 <= float(row["val_accuracy"]) <= 1 for row in rows.values())
    assert float(rows["fp32"]["times_as_fast"]) == 1
    assert float(rows["fp32"]["logit_rms"]) == 0 and float(rows["fp32"]["as_fp32"]) == 1
    assert 0 < float(rows["fp16"]["logit_rms"]) < float(rows["int8"]["logit_rms"])
    assert float(rows["int8"]["file_mb"]) < float(rows["fp32"]["file_mb"])


def test_the_formats_are_timed_as_the_int8_verdict_is(measured: Measured) -> None:
    assert measured.rounds == [TIMED_ROUNDS]


def test_a_tool_that_is_not_installed_is_told(measured: Measured) -> None:
    assert any("onnxslim is not installed" in line for line in measured.told)


def test_each_calibration_is_another_one(measured: Measured, quantisation_of: QuantisationOf) -> None:
    found = {name: quantisation_of(measured.models[name]) for name in stage.CALIBRATIONS}
    plain = found.pop("int8")
    assert all(scales.ndim == 1 for scales in plain.scales) and not plain.last_layer and plain.largest_weight == 64
    assert all(scales.ndim == 0 for scales in found.pop("int8 one scale a tensor").scales)
    assert found.pop("int8 last layer too").last_layer
    assert found.pop("int8 full range").largest_weight == 127
    percentile = found.pop("int8 percentile").ranges
    assert percentile.keys() == plain.ranges.keys()
    assert all(scale <= plain.ranges[name] for name, scale in percentile.items()) and percentile != plain.ranges
    assert not found  # another calibration needs another line here


def calibrated_on(chain: Chain, images: int, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that a format is calibrated on."""
    sizes: list[int] = []

    def noted(network: Any, batches: Iterator[np.ndarray], **options: Any) -> None:
        sizes.extend(len(batch) for batch in batches)

    monkeypatch.setattr(stage, "int8_network", noted)
    experiment = calibrated_with(chain, images)
    checkpoint = stage.load_checkpoint(chain.stages["student"].folder)
    stage.makers(experiment, chain.manifest, checkpoint, onnx.ModelProto())[name]()
    return sizes


def test_the_shipped_calibration_takes_every_image_and_a_histogram_equal_batches(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calibrated_on(chain, 20, "int8", monkeypatch) == [16, 4]
    assert calibrated_on(chain, 20, "int8 percentile", monkeypatch) == [16]
    assert calibrated_on(chain, 10, "int8", monkeypatch) == [10]
    with pytest.raises(UserError, match="needs at least 16 images of train"):
        calibrated_on(chain, 10, "int8 percentile", monkeypatch)


def test_the_profile_shares_out_the_time_of_the_kernels(measured: Measured) -> None:
    rows = measured.tables["format_profile.csv"]
    assert tuple(rows[0]) == PROFILE_COLUMNS
    for name in ("fp32", "int8"):
        of_format = [row for row in rows if row["format"] == name]
        assert sum(float(row["share"]) for row in of_format) == pytest.approx(1, abs=0.01)
    assert any(row["operator"].startswith("QLinear") for row in rows if row["format"] == "int8")
