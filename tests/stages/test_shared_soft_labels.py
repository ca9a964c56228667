"""Stages of soft labels with different numbers of views share one store."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from decant.distillation.soft_labels import SoftLabelStore
from decant.stages import soft_labels as stage
from decant.stages.support.resolve import Inputs
from decant.workspace import StageResult

CONTENTS = ["a", "b", "c"]
HEADER = {"teacher_digest": "d", "folds": 0, "view_version": 1}


def test_two_studies_that_share_a_store_label_each_view_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled: list[int] = []
    twice = threading.Event()

    def label(experiment: Any, store: SoftLabelStore, views: Any, trained: Path, wanted: range) -> None:
        for view in store.missing(wanted):
            labelled.append(view)
            if labelled.count(view) > 1:
                twice.set()
            twice.wait(0.2)  # time for the other study to begin
            store.write(view, np.full((len(CONTENTS), 2), 0.5, np.float32))

    data = SimpleNamespace(cache=SimpleNamespace(contents=CONTENTS), labels=None)
    monkeypatch.setattr(stage, "read_training_data", lambda inputs, name: data)
    monkeypatch.setattr(stage, "input_geometry", lambda experiment, cleaned: None)
    monkeypatch.setattr(stage, "stored_views", lambda *parts: None)
    monkeypatch.setattr(stage, "model_folders", lambda trained: [trained])
    monkeypatch.setattr(stage, "load_checkpoint", lambda folder: SimpleNamespace(classes=["x", "y"]))
    monkeypatch.setattr(stage, "header", lambda *parts: HEADER)
    monkeypatch.setattr(stage, "label_missing_views", label)

    def build(views: int) -> Path:
        folder = tmp_path / f"with-{views}-views"
        experiment = SimpleNamespace(study=SimpleNamespace(soft_labels=SimpleNamespace(views=views)))
        results = {name: StageResult(name, "", tmp_path) for name in ("clean", "teachers/t")}
        stage.build(cast(Any, experiment), "soft_labels/t", Inputs(results), folder)
        return stage.open_store(folder).folder

    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(build, (2, 3)))
    assert sorted(labelled) == [0, 1, 2]
    assert folders[0] == folders[1]
