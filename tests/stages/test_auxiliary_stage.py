"""A teacher with auxiliary labels: what it saves, and that it costs nothing where it is not asked for."""

from pathlib import Path

import pytest
import torch

from decant.errors import UserError
from decant.models.checkpoint import load_checkpoint
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.teacher import learning_rate_range
from decant.study_reading import load_study

COLUMNS = "data.auxiliary_columns=[make]"
SHORT = ("teachers.convnext.folds=0", "teachers.convnext.epochs=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auxiliary")


def experiment(study: Path, data_root: Path, runs: Path, *overrides: str) -> Experiment:
    return Experiment(load_study(str(study), [*SHORT, *overrides]), data_root, runs, runs / "results", "disabled")


def test_a_teacher_with_auxiliary_labels_saves_the_outputs_of_its_classes(
    study_file: Path, data_root: Path, runs: Path
) -> None:
    folders = {
        weight: stage_result(
            experiment(study_file, data_root, runs, COLUMNS, f"teachers.convnext.auxiliary_weight={weight}"),
            "teachers/convnext",
        ).folder
        for weight in (0, 1)
    }
    without, used = (load_checkpoint(folders[weight]).classifier for weight in (0, 1))
    assert used(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    state = without.state_dict()
    assert any(not torch.equal(value, state[key]) for key, value in used.state_dict().items() if "stem" in key)
    plain = stage_result(experiment(study_file, data_root, runs), "teachers/convnext").folder
    assert plain != folders[0]
    assert (plain / "model.safetensors").read_bytes() == (folders[0] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["teachers.convnext.auxiliary_weight=1"], r"teachers\.convnext\.auxiliary_weight .*data\.auxiliary_columns"),
        (["teachers.probe.auxiliary_weight=1", COLUMNS], r"teachers\.probe\.auxiliary_weight .*kind: probe"),
        (
            ["teachers.convnext.auxiliary_weight=1", "data.auxiliary_columns=[id]"],
            r"data\.auxiliary_columns.*no two images of train share a label.*'id'",
        ),
    ],
)
def test_auxiliary_labels_that_cannot_be_learned_are_an_error(
    study_file: Path, data_root: Path, runs: Path, overrides: list[str], named: str
) -> None:
    name = "probe" if "probe" in overrides[0] else "convnext"
    with pytest.raises(UserError, match=named):
        stage_result(experiment(study_file, data_root, runs, *overrides), f"teachers/{name}")


def test_a_range_test_trains_the_auxiliary_labels_too(study_file: Path, data_root: Path, runs: Path) -> None:
    first_losses = []
    for weight in (0, 1):
        found = experiment(study_file, data_root, runs, COLUMNS, f"teachers.convnext.auxiliary_weight={weight}")
        inputs = inputs_of(found, "teachers/convnext")
        first_losses.append(learning_rate_range(found, "teachers/convnext", inputs)[0]["loss"])
    assert first_losses[1] > first_losses[0] + 0.5  # the loss of the column; at first it is the log of its classes
