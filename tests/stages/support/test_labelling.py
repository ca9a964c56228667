"""Which models of a teacher label an image."""

import json
from pathlib import Path

from decant.stages.support.labelling import labelling_models


def test_only_the_blind_model_speaks_where_one_is_blind(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text(json.dumps({"a": 0, "b": 2}))
    speakers = labelling_models(tmp_path, ["a", "b", "c"], 3)
    assert speakers.T.tolist() == [[True, False, False], [False, False, True], [True, True, True]]


def test_without_folds_the_one_model_always_speaks(tmp_path: Path) -> None:
    assert labelling_models(tmp_path, ["a", "b"], 1).tolist() == [[True, True]]
