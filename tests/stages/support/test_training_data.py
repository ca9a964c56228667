"""What training receives for each cached image."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from decant.data.manifest import COLUMNS, Manifest
from decant.stages.support.training_data import labels_of, learned_splits

Chain = Any


class Cache:
    """As much of a pixel cache as labels need."""

    def __init__(self, contents: list[str]) -> None:
        self.contents = contents

    def __len__(self) -> int:
        return len(self.contents)

    def rows_of(self, contents: Any) -> np.ndarray:
        return np.array([self.contents.index(content) for content in contents], dtype=np.int64)


def manifest(*rows: dict[str, Any]) -> Manifest:
    plain = {"given_label": "car", "label": "car", "split": "train", "group": "g", "weight": 1.0, "action": "none"}
    whole = [
        {"id": f"id{n}", "content": f"c{n}", "path": f"{n}.png", "reason": "", "width": 9, "height": 9, **plain, **row}
        for n, row in enumerate(rows)
    ]
    return Manifest(pd.DataFrame(whole, columns=COLUMNS), ["bus", "car"])


def test_labels_weights_and_groups_go_to_the_row_of_their_content() -> None:
    cache = Cache(["c2", "c0", "c1"])
    rows = manifest(
        {"label": "bus", "group": "a"}, {"weight": 0.5, "group": "b"}, {"split": "unlabelled", "label": None}
    )
    labels = labels_of(rows, cache)
    assert labels.targets.tolist() == [-1, 0, 1]
    assert labels.weight.tolist() == [0.0, 1.0, 0.5]
    assert labels.group.tolist() == ["", "a", "b"]
    assert labels.labelled.tolist() == [1, 2]


def test_the_cleaned_label_counts_and_not_the_given_one() -> None:
    assert labels_of(manifest({"given_label": "car", "label": "bus"}), Cache(["c0"])).targets.tolist() == [0]


def test_a_row_of_weight_zero_is_not_trained_on() -> None:
    labels = labels_of(manifest({"weight": 0.0}, {}), Cache(["c0", "c1"]))
    assert labels.labelled.tolist() == [1]


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_no_label_of_another_split_is_taken(split: str) -> None:
    rows = manifest({"split": split, "label": "bus"}, {})
    labels = labels_of(rows, Cache(["c0", "c1"]))
    assert labels.targets.tolist() == [-1, 1]
    assert labels.labelled.tolist() == [1]


def test_a_refit_learns_val_and_test_too_but_no_label_of_weight_zero() -> None:
    rows = manifest({"split": "val"}, {"split": "test", "label": "bus"}, {"split": "val", "weight": 0.0}, {})
    labels = labels_of(rows, Cache(["c0", "c1", "c2", "c3"]), learned_splits("refit_teachers/lite1"))
    assert labels.targets.tolist() == [1, 0, 1, 1]
    assert labels.labelled.tolist() == [0, 1, 3]


def test_a_row_that_was_set_aside_gives_no_label() -> None:
    rows = manifest({"action": "drop", "label": "bus"}, {})
    assert labels_of(rows, Cache(["c0", "c1"])).targets.tolist() == [-1, 1]


def test_the_labels_of_the_chain_are_those_of_the_table(chain: Chain) -> None:
    data = chain.data
    table = pd.read_csv(chain.experiment.data_root / "shapes" / "train.csv", dtype=str)
    given = dict(zip("train/" + table["id"] + ".png", table["body"], strict=True))
    of_content = data.manifest.kept().set_index("content")
    for row, content in enumerate(data.cache.contents):
        label = given[of_content.loc[content, "path"]]
        assert data.labels.targets[row] == (-1 if pd.isna(label) else data.manifest.classes.index(label))
    assert (data.labels.targets == -1).sum() == 9
