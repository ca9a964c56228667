"""How long a stage is expected to take, from earlier runs."""

from pathlib import Path

from decant.stages.support.plan import earlier_seconds
from decant.workspace import FINISHED, Workspace, point_latest, write_json


def finished(runs: Path, study: str, name: str, mark: str, seconds: float) -> None:
    folder = runs / "store" / name / mark
    write_json(folder / FINISHED, {"seconds": seconds})
    point_latest(runs / study / name, folder)


def test_the_studys_own_last_run_counts_more_than_those_of_other_studies(tmp_path: Path) -> None:
    for study, mark, seconds in (("photos", "a", 900.0), ("faces", "b", 700.0), ("demo", "c", 60.0)):
        finished(tmp_path, study, "teachers/lite0", mark, seconds)
    assert earlier_seconds(Workspace(tmp_path, "demo"), "teachers/lite0") == 60.0


def test_a_study_that_never_ran_has_the_median_of_others_of_the_stage_then_of_the_family(tmp_path: Path) -> None:
    for study, mark, seconds in (("photos", "a", 900.0), ("faces", "b", 700.0), ("demo", "c", 60.0)):
        finished(tmp_path, study, "teachers/lite0", mark, seconds)
    assert earlier_seconds(Workspace(tmp_path, "new"), "teachers/lite0") == 700.0
    assert earlier_seconds(Workspace(tmp_path, "new"), "teachers/vit") == 700.0
    assert earlier_seconds(Workspace(tmp_path, "new"), "student") is None
