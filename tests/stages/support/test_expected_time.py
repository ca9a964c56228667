"""Expected seconds are counted from images, epochs, views and folds."""

import pytest

from decant.data.sources.base import ListedImage
from decant.stages.support import speed
from decant.stages.support.expected_time import (
    Counts,
    corrected,
    counted,
    expected_seconds,
    stage_seconds,
    training_seconds,
)
from decant.stages.support.speed import FORWARD_SHARE, Speed, step_seconds
from decant.study import Data, Student, Study
from decant.study_reading import load_study

COUNTS, SPEED = Counts(1000, 200, 100), Speed(decode_s=0.0)
STEP_S = 0.01
FOUR_TEACHERS = [
    "teachers={}",
    *(f"teachers.{name}.recipe={name}" for name in ("lite0", "lite1", "lite2")),
    "teachers.probe.recipe=lite0_probe",
]


@pytest.fixture(autouse=True)
def step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "step_seconds", lambda architecture, arguments="{}": STEP_S)


def study_of(*overrides: str) -> Study:
    """traffic_vehicles with four teachers that have the settings of their recipes."""
    return load_study("traffic_vehicles", [*FOUR_TEACHERS, *overrides])


def seconds(name: str, *overrides: str) -> float:
    """Of a stage at the side at which steps are timed, without what every study takes."""
    sides = [f"{key}.input_px={speed.TIMED_PX}" for key in ("student", "teachers.lite1", "teachers.probe")]
    study = study_of(*sides, *overrides)
    return stage_seconds(study, name, COUNTS, SPEED) - stage_seconds(study, name, Counts(0, 0, 0), SPEED)


def test_training_is_epochs_times_images_and_val() -> None:
    epoch = STEP_S * (1000 + 200 * FORWARD_SHARE)
    head = STEP_S * FORWARD_SHARE * 2 * 1200
    assert seconds("teachers/lite1", "teachers.lite1.epochs=3") == pytest.approx(3 * epoch + head)


def test_a_refit_trains_on_all_labelled_images_and_scores_none() -> None:
    head = STEP_S * FORWARD_SHARE * 2 * 1300
    refit = seconds("refit_teachers/lite1", "teachers.lite1.epochs=3")
    assert refit == pytest.approx(3 * STEP_S * 1300 + head)


def test_folds_train_on_all_other_folds() -> None:
    whole, folded = (seconds("teachers/lite1", f"teachers.lite1.folds={folds}") for folds in (0, 4))
    assert 2.8 * whole < folded < 4 * whole


def test_time_grows_with_the_pixels() -> None:
    once, twice = (seconds("teachers/probe", f"teachers.probe.input_px={px}") for px in (64, 128))
    assert twice == pytest.approx(4 * once)


@pytest.mark.parametrize(("mode", "passes"), [("online", 5), ("frozen", 1)])
def test_teachers_beside_the_student_take_their_time(mode: str, passes: int) -> None:
    asked = [*(f"teachers.{name}.input_px={speed.TIMED_PX}" for name in ("lite0", "lite2")), "student.epochs=5"]
    teachers = 4 * STEP_S * FORWARD_SHARE * 1000
    assert seconds("student", *asked, f"student.mode={mode}") == pytest.approx(
        seconds("student", *asked) + passes * teachers
    )
    assert seconds("student_alone", *asked, f"student.mode={mode}") == seconds("student_alone", *asked)


@pytest.mark.parametrize("student", ["student", "student_alone"])
def test_a_student_trains_on_all_images_that_have_soft_labels(student: str) -> None:
    counts = Counts(1000, 0, 0, predict=100, unlabelled=10_000)
    epoch = STEP_S * 1000
    plain = [f"student.input_px={speed.TIMED_PX}", "student.epochs=1", "student.head=random"]
    for override, epochs in (
        ("soft_labels.unlabelled=true", 11),
        ("soft_labels.unlabelled=false", 1),
        ("soft_labels.transductive=true", 11.1),
    ):
        study = study_of(*plain, override)
        fixed = stage_seconds(study, student, Counts(0, 0, 0), SPEED)
        assert stage_seconds(study, student, counts, SPEED) - fixed == pytest.approx(epochs * epoch)


def test_with_a_refit_the_images_to_predict_take_time_in_the_refit_alone() -> None:
    asked = ["soft_labels.transductive=true", "final=refit"]
    plain, transductive = (study_of(*words) for words in (asked[1:], asked))
    counts = Counts(1000, 100, 100, predict=500)

    def longer(name: str) -> float:
        return stage_seconds(transductive, name, counts, SPEED) / stage_seconds(plain, name, counts, SPEED)

    assert longer("student") == longer("soft_labels/lite1") == 1
    assert longer("refit_student") > 1.2 and longer("refit_soft_labels/lite1") > 1.2


def test_every_head_that_is_fitted_takes_time() -> None:
    student = Student(input_px=speed.TIMED_PX, epochs=1)
    clip = "open_clip:ViT-B-32-quickgelu/openai"
    fitted, random = (
        student.model_copy(update={"architecture": clip, "head": head}) for head in ("zero_shot", "random")
    )
    assert training_seconds(fitted, 1000, COUNTS, SPEED) > training_seconds(random, 1000, COUNTS, SPEED)


def test_a_teacher_whose_name_begins_like_the_students_is_timed_as_a_teacher() -> None:
    study = study_of()
    named = study.model_copy(update={"teachers": {"student_big": study.teachers["lite1"]}})
    assert stage_seconds(named, "predictions/student_big", COUNTS, SPEED) == stage_seconds(
        study, "predictions/lite1", COUNTS, SPEED
    )


def test_soft_labels_grow_with_their_views() -> None:
    two, six = (seconds("soft_labels/lite1", f"soft_labels.views={views}") for views in (2, 6))
    assert six == pytest.approx(3 * two)


def probes_take(probed: int, counts: Counts = COUNTS, decode_s: float = 0.0) -> float:
    """Seconds that probes of this many geometries add, with the student at the side that is timed."""
    study = study_of(f"student.input_px={speed.TIMED_PX}")
    with_probes, without = (
        expected_seconds(study, ["clean", "pixels"], counts, Speed(decode_s), number) for number in (probed, 0)
    )
    assert with_probes["clean"] == without["clean"]
    return with_probes["pixels"] - without["pixels"]


def test_each_probed_geometry_passes_train_and_val_through_the_encoder_once() -> None:
    assert probes_take(0) == 0
    assert probes_take(3) == pytest.approx(3 * 1200 * FORWARD_SHARE * STEP_S)
    assert probes_take(1, decode_s=0.5) == pytest.approx(1200 * (0.5 + FORWARD_SHARE * STEP_S))


def test_probes_of_many_images_take_no_longer() -> None:
    assert probes_take(2, Counts(10**6, 10**5, 0)) == probes_take(2, Counts(10**5, 10**4, 10**6))


def test_a_run_that_is_past_the_choice_of_a_geometry_does_not_wait_for_probes() -> None:
    assert expected_seconds(study_of(), ["ensemble"], COUNTS, SPEED, 3) == {"ensemble": 2.0}


def test_splits_that_are_missing_are_counted_as_they_are_drawn() -> None:
    items = [ListedImage(f"{n}", "a", None) for n in range(100)] + [ListedImage("x", None, "predict")]
    items += [ListedImage("y", None, None), ListedImage("z", None, "train")]
    counts = counted(items, Data(val_fraction=0.2, test_fraction=0.1))
    assert counts == Counts(70, 20, 10, predict=1, unlabelled=2)
    given = [ListedImage(f"{split}{n}", "a", split) for split in ("train", "val", "test") for n in range(10)]
    assert counted(given, Data()) == Counts(10, 10, 10)


def test_what_is_left_follows_the_time_that_was_taken() -> None:
    expected = {"a": 100.0, "b": 200.0}
    assert corrected(expected, {}) == 300.0
    slow = corrected(expected, {"a": 400.0})
    assert 200.0 < slow < 800.0
    assert corrected({"a": 1e4, "b": 200.0}, {"a": 4e4}) == pytest.approx(800.0, rel=0.05)


def test_a_step_is_timed_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 0 < step_seconds("test_convnext") < 5


def test_hidden_labels_are_counted_as_unlabelled() -> None:
    items = [ListedImage(str(number), "a", "train") for number in range(100)]
    counts = counted(items, Data(labelled_share=0.1))
    assert (counts.unlabelled, counts.total) == (counted(items, Data()).train - counts.train, 100)
    assert counts.train == round(0.1 * counted(items, Data()).train)
