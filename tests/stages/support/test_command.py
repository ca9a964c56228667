"""What the scripts share: options, the experiment that they describe, and how mistakes end."""

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.stages.support.command import experiment_of, parser, run
from decant.stages.support.experiment import default_data_root
from decant.study_files import ROOT


def test_without_arguments_the_demo_study_is_meant() -> None:
    experiment = experiment_of(parser("what", "example").parse_args([]))
    assert experiment.study.name == "demo"
    assert (experiment.runs, experiment.results, experiment.wandb) == (ROOT / "runs", ROOT / "results", "offline")
    assert experiment.as_committed


def test_an_override_makes_a_variant() -> None:
    experiment = experiment_of(parser("what", "example").parse_args(["--study", "micro", "--set", "seed=3"]))
    assert experiment.study.seed == 3 and not experiment.as_committed


def test_paths_are_made_absolute_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = experiment_of(parser("what", "example").parse_args(["--runs", "r", "--results", "s", "--data", "d"]))
    assert (experiment.runs, experiment.results, experiment.data_root) == (
        tmp_path / "r",
        tmp_path / "s",
        tmp_path / "d",
    )


def test_the_data_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.setenv("DECANT_DATA", "")
    assert default_data_root() == ROOT / "data"


def test_a_users_mistake_ends_in_one_line_and_code_2(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(arguments: Sequence[str] | None) -> None:
        raise UserError("the file is missing; put it there")

    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        run(wrong, [])
    assert ended.value.code == 2
    assert [record.getMessage() for record in caplog.records] == ["error: the file is missing; put it there"]


def test_an_interruption_says_that_the_same_command_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def stopped(arguments: Sequence[str] | None) -> None:
        raise KeyboardInterrupt

    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        run(stopped, [])
    assert ended.value.code == 130
    assert "the same command goes on from here" in caplog.text


@pytest.mark.parametrize(("number", "mend"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "permissions")])
def test_an_error_of_the_file_system_names_the_file_and_what_to_do(
    number: int, mend: str, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(arguments: Sequence[str] | None) -> None:
        raise OSError(number, "reason", "photos.zip")

    with pytest.raises(SystemExit) as ended:
        run(failing, [])
    assert ended.value.code == 2
    assert "photos.zip: reason; " in caplog.text and mend in caplog.text


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def broken(arguments: Sequence[str] | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(broken, [])
