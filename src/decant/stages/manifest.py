"""Stage manifest: one row per image that the source offers, before anything is done."""

from pathlib import Path
from typing import Any

from decant.data.manifest import build_manifest, write_manifest
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import Inputs
from decant.study import non_defaults
from decant.tracking import progress

# 6: test without a label is to predict, val is set aside; Parquet files and split files in one split; 5: splits below
# classes, a table per split; 4: reasons for decoder warnings, more kinds of tables
VERSION = 6
NOT_READ = ("cache_px", "may_be_shared", "attribution", "download", "labelled_share")


def settings(experiment: Experiment, name: str, inputs: Inputs) -> dict[str, Any]:
    return {**non_defaults(experiment.study.data, *NOT_READ), "seed": experiment.study.seed}


def build(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Write `manifest.parquet`."""
    study = experiment.study
    write_manifest(build_manifest(experiment.source, study.data, study.seed, progress), folder)
