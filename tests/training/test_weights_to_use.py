"""The best epoch, the mean of the last epochs, and the end of a training that no longer improves."""

from pathlib import Path

import pytest
import torch
from trainings import PLAIN, Networks, Stopped, Tasks, assert_same, history, run, stopping

from decant.models.classifier import Classifier
from decant.training.loop import Evaluate

State = dict[str, torch.Tensor]


def scoring(scores: list[float], states: list[State]) -> Evaluate:
    """An evaluation with given accuracies, one per epoch; appends each epoch's weights to `states`."""

    def evaluate(classifier: Classifier) -> dict[str, float]:
        states.append({key: value.clone() for key, value in classifier.state_dict().items()})
        return {"val_accuracy": scores[len(states) - 1]}

    return evaluate


@pytest.mark.parametrize("ema_share", [0.0, 0.3])
def test_the_best_epochs_weights_are_used(network_of: Networks, task_of: Tasks, folder: Path, ema_share: float) -> None:
    settings = PLAIN.model_copy(update={"keep": "best", "epochs": 4, "ema_share": ema_share})
    states: list[State] = []
    used, _ = run(network_of(settings), task_of(settings), settings, folder, scoring([0.2, 0.6, 0.6, 0.4], states))
    assert all(torch.equal(value, states[1][key]) for key, value in used.state_dict().items())


def test_the_soup_is_the_mean_of_the_last_epochs(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    settings = PLAIN.model_copy(update={"keep": "soup", "soup_epochs": 3, "epochs": 5})
    states: list[State] = []
    used, _ = run(network_of(settings), task_of(settings), settings, folder, scoring([0.5] * 5, states))
    for key, value in used.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([state[key] for state in states[2:]]).mean(dim=0))


@pytest.mark.parametrize("keep", ["best", "soup"])
def test_kept_weights_outlive_an_interruption(network_of: Networks, task_of: Tasks, tmp_path: Path, keep: str) -> None:
    settings = PLAIN.model_copy(update={"keep": keep, "epochs": 4})
    straight, _ = run(network_of(settings), task_of(settings), settings, tmp_path / "straight")
    with pytest.raises(Stopped):
        run(network_of(settings), task_of(settings), settings, tmp_path / "killed", stopping(4))
    resumed, _ = run(network_of(settings), task_of(settings), settings, tmp_path / "killed")
    assert_same(straight, resumed)


def test_a_training_stops_when_val_no_longer_improves(network_of: Networks, task_of: Tasks, folder: Path) -> None:
    settings = PLAIN.model_copy(update={"patience": 2, "keep": "best", "epochs": 9})
    states: list[State] = []
    scores = [0.2, 0.6, 0.5, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9]
    used, _ = run(network_of(settings), task_of(settings), settings, folder, scoring(scores, states))
    assert [row["epoch"] for row in history(folder)] == ["1", "2", "3", "4"]
    assert all(torch.equal(value, states[1][key]) for key, value in used.state_dict().items())
