"""Which of student and twin is shipped, and that everything after it works with that model."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decant.data.predictions import read_predictions
from decant.evaluation.referee import choice_text
from decant.evaluation.scores import scores
from decant.models.checkpoint import load_checkpoint
from decant.stages import shipped as stage
from decant.stages import student as student_stage
from decant.stages.shipped import ALONE, STUDENT, read_choice
from decant.stages.support.resolve import Inputs, inputs_of, stage_result
from decant.study import Study

Chain = Any


def with_export(study: Study, **change: Any) -> Study:
    return study.model_copy(update={"export": study.export.model_copy(update=change)})


def built(chain: Chain, folder: Path, score: dict[str, float], ship: str = "better") -> dict[str, Any]:
    """The stage's result where student and twin have these accuracies on val."""
    values = iter([score[STUDENT], score[ALONE]])
    names = ("clean", STUDENT, ALONE, f"predictions/{STUDENT}", f"predictions/{ALONE}")
    inputs = Inputs({name: stage_result(chain.experiment, name) for name in names})
    experiment = SimpleNamespace(study=with_export(chain.experiment.study, ship=ship))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "scores", lambda *_: {"accuracy": next(values)})
        stage.build(experiment, "shipped", inputs, folder)  # type: ignore[arg-type]
    return read_choice(folder)


@pytest.mark.parametrize(
    ("student", "alone", "ship", "expected"),
    [
        (0.9, 0.8, "better", STUDENT),
        (0.8, 0.9, "better", ALONE),
        (0.9, 0.9, "better", STUDENT),
        (0.8, 0.9, "student", STUDENT),
    ],
)
def test_the_better_one_on_val_is_shipped(
    chain: Chain, tmp_path: Path, student: float, alone: float, ship: str, expected: str
) -> None:
    choice = built(chain, tmp_path, {STUDENT: student, ALONE: alone}, ship)
    assert choice["shipped"] == expected
    for file in ("model.safetensors", "model.json", "history.csv"):
        assert (tmp_path / file).read_bytes() == (stage_result(chain.experiment, expected).folder / file).read_bytes()


def test_the_choice_has_the_scores_on_val(chain: Chain) -> None:
    experiment = replace(chain.experiment, study=with_export(chain.experiment.study, ship="better"))
    choice, manifest = read_choice(stage_result(experiment, "shipped").folder), chain.manifest
    val = manifest.of_split("val")
    for model in (STUDENT, ALONE):
        folder = stage_result(chain.experiment, f"predictions/{model}").folder
        predictions = read_predictions(folder, "val").aligned(list(val["id"])).members["identity"]
        assert choice[model] == pytest.approx(scores(predictions, manifest.targets(val))["accuracy"], abs=1e-4)
    assert choice["accuracy_difference"] == pytest.approx(choice[STUDENT] - choice[ALONE], abs=1e-4)


def test_a_shipped_twin_is_what_is_exported(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    better = iter([0.1, 0.9])
    monkeypatch.setattr(stage, "scores", lambda *_: {"f1_macro": next(better)})
    study = with_export(chain.experiment.study, ship="better").model_copy(update={"metric": "f1_macro"})
    experiment = replace(chain.experiment, study=study, runs=chain.experiment.runs)
    assert read_choice(stage_result(experiment, "shipped").folder)["shipped"] == ALONE
    exported = stage_result(experiment, "export").folder
    ids = list(chain.manifest.of_split("test")["id"])
    twin = read_predictions(stage_result(experiment, f"predictions/{ALONE}").folder, "test").aligned(ids)
    student = read_predictions(stage_result(experiment, f"predictions/{STUDENT}").folder, "test").aligned(ids)
    found = read_predictions(exported / "predictions", "test").aligned(ids).members["identity"]
    order = np.argsort(found, axis=1)
    assert (np.argsort(twin.members["identity"], axis=1) == order).mean() > 0.9
    assert (np.argsort(student.members["identity"], axis=1) == order).mean() < 0.9
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Trained on the given labels of the training images alone" in card and "the twin is shipped" in card


def test_a_shipped_twin_is_refitted_on_given_labels(
    refitted: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of(refitted.experiment, "refit_student")
    folder = tmp_path / "shipped"
    folder.mkdir()
    for path in inputs.folder("shipped").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    choice = read_choice(folder)
    (folder / "choice.json").write_text(json.dumps({**choice, "shipped": ALONE}))
    results = {**inputs.results, "shipped": replace(inputs["shipped"], folder=folder)}
    seen: list[Any] = []

    def train(classifier: Any, task: Any, *rest: Any) -> Any:
        seen.append(task)
        return classifier

    monkeypatch.setattr(student_stage, "train", train)
    student_stage.build(refitted.experiment, "refit_student", replace(inputs, results=results), tmp_path)
    labelled = refitted.manifest.of_split("train", "val", "test")
    assert len(seen[0].rows) == labelled["content"].nunique()
    assert len(load_checkpoint(tmp_path).classes) == 3


@pytest.mark.parametrize(
    ("shipped", "ship", "low", "high", "expected"),
    [
        (
            STUDENT,
            "better",
            0.01,
            0.05,
            "student is shipped: .* 0.900, that of its twin 0.870. .*the student is better",
        ),
        (ALONE, "better", -0.05, -0.01, "the twin is shipped: .*the twin is better"),
        (STUDENT, "better", -0.01, 0.05, "the student is shipped: .*neither is shown to be better"),
    ],
)
def test_the_choice_in_words(shipped: str, ship: str, low: float, high: float, expected: str) -> None:
    choice = {"shipped": shipped, "ship": ship, "metric": "precision_macro", STUDENT: 0.9, ALONE: 0.87, "n": 300}
    interval = {"accuracy_difference_low": low, "accuracy_difference_high": high}
    text = choice_text({**choice, "accuracy_difference": (low + high) / 2, **interval})
    assert "precision macro on val" in text and "300 images" in text
    assert re.search(expected, text), text


def test_a_student_that_is_shipped_in_any_case_needs_no_twin(chain: Chain) -> None:
    assert read_choice(stage_result(chain.experiment, "shipped").folder) == {"shipped": STUDENT, "ship": "student"}
    for name in ("shipped", "export"):
        assert not [read for read in inputs_of(chain.experiment, name).results if ALONE in read]
    card = (stage_result(chain.experiment, "export").folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "ships the student in any case; it was not compared with its twin" in card
