"""What is written about a search, from trials with given values."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState
from PIL import Image

from decant.tuning.record import Subject, result_lines, trial_line, write_record
from decant.tuning.search import NLL, REASON, SECONDS, Search, next_trial, open_search
from decant.tuning.space import Space

SUBJECT = Subject("photos", "net", "accuracy", 400, "the command")


@pytest.fixture
def search(space_of: Callable[..., Space], tmp_path: Path) -> Search:
    """Trials 0 to 4, of which 3 is pruned after two epochs, and an unfinished trial 5 before its first one."""
    opened = open_search(tmp_path, "mark", space_of("drop_path: {range: [0, 0.3]}\nviews.mix: {range: [0, 0.5]}"), 3, 8)
    for number, value in enumerate((0.80, 0.84, 0.82, None, 0.84)):
        with next_trial(opened, None) as trial:
            assert trial is not None
            trial.set_user_attr(SECONDS, 12.5)
            trial.set_user_attr(REASON, "" if value else "too low")
            trial.report(0.3, 2)
            if value:
                trial.set_user_attr(NLL, 0.5 + number)
                opened.study.tell(trial, value)
            else:
                opened.study.tell(trial, state=TrialState.PRUNED)
    with next_trial(opened, None):
        pass
    return opened


def test_the_table_has_a_row_per_trial_with_its_settings(search: Search) -> None:
    write_record(search, SUBJECT)
    with (search.folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["state"] for row in table] == ["finished"] * 3 + ["pruned", "finished", "unfinished"]
    assert [row["val_accuracy"] for row in table] == ["0.8", "0.84", "0.82", "0.3", "0.84", ""]
    assert table[3]["reason"] == "too low" and table[3]["epochs"] == "2" and table[0]["seconds"] == "12.5"
    assert (float(table[0]["drop_path"]), float(table[0]["views.mix"])) == (0.0, 0.0)
    assert len({row["drop_path"] for row in table}) == len(table)


def test_the_history_is_drawn_and_with_enough_trials_the_importance_too(search: Search) -> None:
    write_record(search, SUBJECT, figures=True)
    assert not (search.folder / "importance.png").exists()  # of so few trials it would be noise
    for value in (0.81, 0.79, 0.83, 0.8):
        with next_trial(search, None) as trial:
            assert trial is not None
            trial.set_user_attr(NLL, 0.5)
            search.study.tell(trial, value)
    write_record(search, SUBJECT, figures=True)
    for name in ("history", "importance"):
        with Image.open(search.folder / f"{name}.png") as image:
            image.load()
            assert image.width > 1000


def test_the_recipe_is_the_best_trial_and_its_header_says_how_far_it_can_be_trusted(search: Search) -> None:
    write_record(search, SUBJECT)
    text = (search.folder / "net_tuned.yaml").read_text()
    # Trials 1 and 4 have the highest accuracy, trial 1 the lower likelihood loss; sqrt(0.84 * 0.16 / 400) = 0.0183.
    for said in ("(trial 1)", "4 finished", "of 5 in all", "0.8400", "on 400 images", "0.8000", "0.0183", "optimistic"):
        assert said in text
    assert set(yaml.safe_load(text)) == {"drop_path", "epochs", "views"}  # epochs: the recipe of this search has 8


def test_lines_for_people_have_the_result_and_the_best_so_far(search: Search) -> None:
    assert "trial 2" in trial_line(search, SUBJECT, 2, 20) and "5 of 20 done" in trial_line(search, SUBJECT, 2, 20)
    assert "val_accuracy 0.8200" in trial_line(search, SUBJECT, 2, 20) and "0.8400" in trial_line(
        search, SUBJECT, 2, 20
    )
    assert "too low" in trial_line(search, SUBJECT, 3, None)
    assert "trial 1" in result_lines(search, SUBJECT)[0]


def test_the_standard_error_is_that_of_an_accuracy_alone() -> None:
    assert SUBJECT.standard_error(0.84) == pytest.approx(0.018330, abs=1e-6)
    assert Subject("photos", "net", "f1_macro", 400, "").standard_error(0.84) is None
