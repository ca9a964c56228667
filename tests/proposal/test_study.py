"""How large a study is proposed: by the number of photos, their size and the time limit."""

from collections.abc import Callable

import pytest

from decant.errors import UserError
from decant.proposal.networks import Choice, network_sets
from decant.proposal.study import EFFORTS, Facts, Proposed, epochs_factor, proposals, proposed_study
from decant.stages.support import speed
from decant.stages.support.expected_time import Counts
from decant.stages.support.sample import Sample

HEAD = {"name": "mine", "metric": "accuracy", "data": {"source": "folder", "path": "/photos"}}
WHEELS = network_sets()[-1]
HUB_CPU = network_sets()[1]
Seconds = dict[str, float]


@pytest.fixture(autouse=True)
def step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of lite2 takes twice as long as one of the others."""
    monkeypatch.setattr(
        speed, "step_seconds", lambda architecture, arguments="{}": 0.02 if "lite2" in architecture else 0.01
    )


@pytest.fixture
def facts() -> Callable[..., Facts]:
    def of(train: int = 1000, shorter_px: int = 400, aspect: float = 1.0) -> Facts:
        return Facts(Counts(train, train // 5, train // 5), Sample([(round(aspect * shorter_px), shorter_px)], 0.002))

    return of


def of_all_efforts(facts: Facts) -> list[Proposed]:
    return list(proposals(HEAD, [], WHEELS, facts))


def test_each_effort_takes_less_time_than_the_one_before(facts: Callable[..., Facts]) -> None:
    seconds = [proposed.seconds for proposed in of_all_efforts(facts())]
    assert len(seconds) == len(EFFORTS) and seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == len(seconds)


def test_without_a_limit_the_recipes_are_taken_whole_if_25_minutes_are_enough(facts: Callable[..., Facts]) -> None:
    study = proposed_study(HEAD, [], Choice(WHEELS, {}), facts(), None).study
    assert set(study.teachers) == set(WHEELS.teachers)
    assert study.teachers["lite1"].epochs == 5 and study.student.epochs == 12
    assert study.teachers["lite1"].input_px == WHEELS.teacher_px


@pytest.mark.parametrize("minutes_of_largest", [26, 1e6])
def test_without_a_limit_a_slow_machine_has_a_smaller_study(
    facts: Callable[..., Facts], monkeypatch: pytest.MonkeyPatch, minutes_of_largest: float
) -> None:
    every = of_all_efforts(facts())
    monkeypatch.setattr("decant.proposal.study.USUAL_S", every[0].seconds * 25 / minutes_of_largest)
    raw = proposed_study(HEAD, [], Choice(WHEELS, {}), facts(), None).raw
    assert raw == (every[1] if minutes_of_largest < 100 else every[-1]).raw


def test_the_largest_study_within_the_limit_is_taken(facts: Callable[..., Facts]) -> None:
    every = of_all_efforts(facts())
    for wanted in every:
        assert proposed_study(HEAD, [], Choice(WHEELS, {}), facts(), wanted.seconds + 0.1).raw == wanted.raw


def test_a_short_time_keeps_the_faster_teacher_and_the_probe(facts: Callable[..., Facts]) -> None:
    studies = [proposed.study for proposed in of_all_efforts(facts())]
    assert list(studies[3].teachers) == ["lite1", "probe"]
    assert list(studies[-1].teachers) == ["probe"]


def test_a_limit_below_the_smallest_study_is_refused(facts: Callable[..., Facts]) -> None:
    with pytest.raises(UserError, match="time-limit"):
        proposed_study(HEAD, [], Choice(WHEELS, {}), facts(), 10.0)


@pytest.mark.parametrize(("images", "factor"), [(50, 3.0), (150, 2.0), (1000, 1.0), (8000, 1.0), (80_000, 0.1)])
def test_few_images_have_more_epochs_and_many_have_fewer(images: int, factor: float) -> None:
    assert epochs_factor(images) == pytest.approx(factor)


@pytest.mark.parametrize(("shorter_px", "teacher_px", "student_px"), [(32, 64, 64), (90, 96, 96), (2000, 160, 128)])
def test_inputs_are_no_larger_than_the_images(
    facts: Callable[..., Facts], shorter_px: int, teacher_px: int, student_px: int
) -> None:
    study = of_all_efforts(facts(shorter_px=shorter_px))[0].study
    assert {teacher.input_px for teacher in study.teachers.values()} == {teacher_px}
    assert study.student.input_px == student_px


def test_a_network_of_one_input_size_keeps_it(facts: Callable[..., Facts]) -> None:
    small = next(proposals(HEAD, [], HUB_CPU, facts(shorter_px=64))).study
    sides = {name: teacher.input_px for name, teacher in small.teachers.items()}
    assert sides == {"convnext": 64, "vit": 224, "clip": 224}


def test_probes_of_geometries_are_in_the_expected_time(facts: Callable[..., Facts]) -> None:
    square, wide = (next(proposals(HEAD, [], WHEELS, facts(aspect=aspect))) for aspect in (1.0, 1.87))
    named = next(proposals(HEAD, ["geometry.fit=stretch"], WHEELS, facts(aspect=1.87)))
    assert (square.possible.probed, wide.possible.probed, named.possible.probed) == (0, 3, 0)
    assert wide.seconds > square.seconds == named.seconds


def test_a_network_for_squares_leaves_no_rectangle_to_probe(facts: Callable[..., Facts]) -> None:
    possible = next(proposals(HEAD, [], HUB_CPU, facts(aspect=1.87))).possible
    assert {geometry.aspect for geometry in possible.geometries} == {1} and "vit" in possible.why


def test_an_override_is_in_the_study_and_in_its_time(facts: Callable[..., Facts]) -> None:
    plain, longer = (
        proposed_study(HEAD, words, Choice(WHEELS, {}), facts(), None) for words in ([], ["student.epochs=40"])
    )
    assert longer.study.student.epochs == 40 and longer.seconds > plain.seconds


def test_a_teacher_with_an_override_stays_on_a_slow_machine(facts: Callable[..., Facts]) -> None:
    studies = [proposed.study for proposed in proposals(HEAD, ["teachers.lite2.epochs=1"], WHEELS, facts())]
    assert len(studies) == len(EFFORTS)
    assert all(study.teachers["lite2"].epochs == 1 for study in studies)
    assert list(studies[-1].teachers) == ["lite2", "probe"]


def test_an_override_of_an_unknown_teacher_is_refused(facts: Callable[..., Facts]) -> None:
    with pytest.raises(UserError, match=r"no teacher lite9; did you mean lite"):
        list(proposals(HEAD, ["teachers.lite9.epochs=1"], WHEELS, facts()))
