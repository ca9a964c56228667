"""Which models of a teacher label an image."""

import json
from pathlib import Path

from decant.stages.support.labelling import labelling_models


def test_an_image_is_labelled_by_the_model_that_was_trained_without_it(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text(json.dumps({"a": 0, "b": 2}))
    labelling = labelling_models(tmp_path, ["a", "b", "c"], 3)
    assert labelling.T.tolist() == [[True, False, False], [False, False, True], [True, True, True]]


def test_without_folds_the_one_model_labels_every_image(tmp_path: Path) -> None:
    assert labelling_models(tmp_path, ["a", "b"], 1).tolist() == [[True, True]]
