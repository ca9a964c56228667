"""Mistakes in order of their probability, and the commonest confusions, on predictions worked by hand."""

import numpy as np
import pytest

from decant.evaluation.mistakes import commonest_confusions, mistakes


def log_probabilities(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.log(np.array(rows, dtype=np.float64)).astype(np.float32)


VALUES = log_probabilities((0.8, 0.1, 0.1), (0.6, 0.3, 0.1), (0.1, 0.85, 0.05), (0.2, 0.7, 0.1), (0.3, 0.3, 0.4))
TARGETS = np.array([0, 1, 0, 2, 1])


def test_wrong_predictions_alone_are_listed_and_the_most_probable_is_first() -> None:
    found = mistakes(VALUES, TARGETS)
    assert [(one.row, one.label, one.predicted) for one in found] == [(2, 0, 1), (3, 2, 1), (1, 1, 0), (4, 1, 2)]
    assert [one.probability for one in found] == pytest.approx([0.85, 0.7, 0.6, 0.4], abs=1e-6)


def test_a_perfect_model_has_no_mistakes() -> None:
    assert mistakes(VALUES, VALUES.argmax(axis=1)) == []
    assert commonest_confusions([], 3) == []


def test_the_commonest_confusion_is_first_and_its_typical_mistake_leads() -> None:
    sure, usual, unsure, other = (0.1, 0.9, 0.0001), (0.35, 0.6, 0.05), (0.4, 0.5, 0.1), (0.1, 0.2, 0.7)
    found = mistakes(log_probabilities(other, sure, usual, unsure), np.array([1, 0, 0, 0]))
    pairs = commonest_confusions(found, 2)
    assert [[one.row for one in pair] for pair in pairs] == [[2, 3, 1], [0]]
    assert len(commonest_confusions(found, 1)) == 1
