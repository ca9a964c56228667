"""An experiment opens its source and computes the digest once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.stages.support import experiment as experiment_module
from decant.stages.support.experiment import Experiment, without_folders
from decant.study import Data
from decant.study_reading import load_study


class CountingSource:
    """A source whose digest is the path that the study names; `digested` lists the computed digests."""

    def __init__(self, path: str, digested: list[str]) -> None:
        self.path, self.digested = path, digested

    def digest(self) -> str:
        self.digested.append(self.path)
        return self.path


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    digests: list[str] = []
    monkeypatch.setattr(
        experiment_module, "open_source", lambda data, root, drawn, seed: CountingSource(data.path, digests)
    )
    return digests


def experiment_on(path: str, runs: Path) -> Experiment:
    study = load_study("micro").model_copy(update={"data": Data(source="folder", path=path)})
    return Experiment(study, runs, runs)


def test_an_experiment_and_its_copies_compute_the_digest_once(digested: list[str], tmp_path: Path) -> None:
    experiment = experiment_on("photos", tmp_path)
    planning = replace(experiment, may_measure=False)  # as a plan does, before the run
    assert [planning.data_digest, experiment.data_digest, planning.data_digest] == ["photos"] * 3
    assert digested == ["photos"]
    assert planning.source is experiment.source


def test_a_copy_with_other_data_has_another_source(digested: list[str], tmp_path: Path) -> None:
    experiment = experiment_on("photos", tmp_path)
    other = experiment_on("drawings", tmp_path).study
    assert [experiment.data_digest, replace(experiment, study=other).data_digest] == ["photos", "drawings"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"path": "/home/ada/photos.zip", "extra": [{"path": "more"}]},
            {"path": "…/photos.zip", "extra": [{"path": "more"}]},
        ),
        (["file:/home/ada/net.safetensors", "wheel"], ["file:…/net.safetensors", "wheel"]),
        ("C:\\Users\\ada\\photos", "…/photos"),
        ("cars.zip", "cars.zip"),
        (3, 3),
    ],
)
def test_absolute_paths_are_shown_without_their_folders(value: Any, shown: Any) -> None:
    assert without_folders(value) == shown
