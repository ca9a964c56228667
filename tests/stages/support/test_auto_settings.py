"""Settings that depend on the machine, a hub or a file are decided once and are part of the fingerprint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from decant.data.geometry import SQUARE
from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.weights import Loaded
from decant.stages.support import auto_settings as stage
from decant.stages.support import speed
from decant.stages.support.auto_settings import (
    resolve,
    resolve_dtype,
    resolve_epochs,
    resolve_source,
    source_digest,
)
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result
from decant.stages.support.sample import Sample
from decant.study import Teacher
from decant.workspace import Workspace

Chain = Any
AUTO = Teacher(architecture="test_efficientnet", input_px=32, dtype="auto")


@pytest.fixture
def fresh(chain: Chain, tmp_path: Path) -> Callable[[], Experiment]:
    """A function that gives the experiment as another process sees it, in a run folder of the test's own."""
    return lambda: Experiment(chain.experiment.study, chain.experiment.data_root, tmp_path, tmp_path, "disabled")


def test_a_dtype_is_measured_once_and_then_kept(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["bf16", "fp32"])
    monkeypatch.setattr(stage, "measured_dtype", lambda *rest: next(answers))
    assert [resolve_dtype(fresh(), AUTO) for _ in range(2)] == ["bf16", "bf16"]


def test_another_batch_size_is_measured_anew(fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["bf16", "fp32"])
    monkeypatch.setattr(stage, "measured_dtype", lambda *rest: next(answers))
    resolve_dtype(fresh(), AUTO)
    assert resolve_dtype(fresh(), AUTO.model_copy(update={"batch_size": 8})) == "fp32"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(AUTO.model_copy(update={"dtype": "bf16"}), "bf16"), (AUTO.model_copy(update={"kind": "probe"}), "fp32")],
)
def test_what_needs_no_measuring_is_not_measured(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch, settings: Teacher, expected: str
) -> None:
    monkeypatch.setattr(stage, "measured_dtype", lambda *rest: pytest.fail("measured"))
    assert resolve_dtype(fresh(), settings) == expected


def test_the_first_source_that_serves_is_resolved_and_stays(fresh: Callable[[], Experiment], tmp_path: Path) -> None:
    sources = [f"file:{tmp_path}/later.safetensors", "none"]
    settings = AUTO.model_copy(update={"dtype": "fp32", "weights": sources})
    assert resolve(fresh(), settings, SQUARE).weights == ["none"]
    network, _ = build_classifier("test_efficientnet", 3, 32, ["none"], 0)
    save_file(network.backbone.state_dict(), tmp_path / "later.safetensors")
    assert resolve(fresh(), settings, SQUARE).weights == ["none"]  # what was trained from it keeps its start


def test_a_source_that_stands_in_for_a_failed_download_is_not_stored(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([Loaded("none", is_final=False), Loaded("timm", is_final=True)])
    monkeypatch.setattr(stage, "load_first", lambda *rest: next(found))
    decided = []
    for _ in range(3):
        monkeypatch.setattr(Workspace, "_passing", {})  # another process
        decided.append(resolve_source(fresh(), "test_efficientnet", ["timm", "none"], 32, {}))
    assert decided == ["none", "timm", "timm"]


def test_where_no_source_serves_all_are_named(fresh: Callable[[], Experiment]) -> None:
    with pytest.raises(UserError, match=r"wheel: .*; file:nowhere\.safetensors: "):
        resolve_source(fresh(), "test_efficientnet", ["wheel", "file:nowhere.safetensors"], 32, {})


def test_a_weight_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    first = source_digest(f"file:{path}")
    path.write_bytes(b"two")
    assert source_digest(f"file:{path}") != first
    path.rename(tmp_path / "moved.safetensors")
    path.write_bytes(b"one")
    assert source_digest(f"file:{path}") == first
    assert source_digest("wheel") == "wheel"


def test_other_weights_in_the_same_file_train_another_teacher(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    study = chain.experiment.study
    probe = study.teachers["probe"].model_copy(update={"weights": [f"file:{path}"]})
    experiment = replace(
        chain.experiment, study=study.model_copy(update={"teachers": {**study.teachers, "probe": probe}})
    )
    marks = []
    for seed in (1, 2):
        network, _ = build_classifier("test_efficientnet", 3, 32, ["none"], seed)
        save_file(network.backbone.state_dict(), path)
        marks.append(stage_result(replace(experiment), "teachers/probe").fingerprint)
    assert marks[0] != marks[1]


def test_another_metric_chooses_heads_anew(chain: Chain) -> None:
    study = chain.experiment.study
    other = replace(chain.experiment, study=study.model_copy(update={"metric": "f1_macro"}))
    assert study.metric != "f1_macro"
    assert stage_result(other, "teachers/probe").fingerprint != chain.stages["teachers/probe"].fingerprint


def decoding_takes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(stage, "look_at_sample", lambda *rest: Sample([], seconds))


def test_a_time_limit_lowers_the_epochs_once_and_for_all(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_takes(monkeypatch, 0.0)
    limited = AUTO.model_copy(update={"input_px": speed.TIMED_PX, "epochs": 20, "minutes": 1.0})
    for seconds_per_image in (0.01, 0.5):  # 1,000 images take 10 s, and 100 images of val 0.27 s
        monkeypatch.setattr(speed, "step_seconds", lambda *rest, seconds=seconds_per_image: seconds)
        assert resolve_epochs(fresh(), limited, 1000, 100, "data").epochs == 5


def test_a_shorter_training_has_a_shorter_warm_up_and_unfreezes_earlier(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_takes(monkeypatch, 0.0)
    monkeypatch.setattr(speed, "step_seconds", lambda *rest: 0.01)
    settings = {"epochs": 20, "warmup_epochs": 2.0, "unfreeze_epochs": [4, 4, 0], "minutes": 1.0}
    limited = AUTO.model_copy(update={"input_px": speed.TIMED_PX, **settings})
    short = resolve_epochs(fresh(), limited, 1000, 100, "data")
    assert (short.epochs, short.warmup_epochs, short.unfreeze_epochs) == (5, 0.5, [1, 1, 0])


def test_a_time_limit_counts_the_time_to_decode_val(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "step_seconds", lambda *rest: 0.0)
    limited = AUTO.model_copy(update={"epochs": 200, "minutes": 10.0})
    decoding_takes(monkeypatch, 0.3)  # large photos: 60 s for 200 of them
    assert resolve_epochs(fresh(), limited, 1000, 200, "photos").epochs == 10
    decoding_takes(monkeypatch, 0.03)
    assert resolve_epochs(fresh(), limited, 1000, 200, "thumbnails").epochs == 100


def test_a_time_limit_is_divided_among_the_folds(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_takes(monkeypatch, 0.0)
    monkeypatch.setattr(speed, "step_seconds", lambda *rest: 0.01)
    limited = AUTO.model_copy(update={"input_px": speed.TIMED_PX, "epochs": 90, "minutes": 5.0})
    whole, folded = (
        resolve_epochs(fresh(), limited.model_copy(update={"folds": folds}), 1000, 0, "data").epochs for folds in (0, 5)
    )
    assert (whole, folded) == (30, 6)


def test_a_time_limit_leaves_one_epoch_and_adds_none(
    fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "step_seconds", lambda *rest: 1.0)
    assert resolve_epochs(fresh(), AUTO.model_copy(update={"minutes": 0.1}), 1000, 0, "data").epochs == 1
    assert resolve_epochs(fresh(), AUTO.model_copy(update={"minutes": 1e6}), 1000, 0, "data").epochs == AUTO.epochs


def test_without_a_limit_nothing_is_timed(fresh: Callable[[], Experiment], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "step_seconds", lambda *rest: pytest.fail("timed"))
    assert resolve_epochs(fresh(), AUTO, 1000, 100, "data") == AUTO
