"""int8: calibrated on train alone, judged on val, offered only where it is faster and good enough."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from decant import machine
from decant.errors import UserError
from decant.export.runtime import OnnxClassifier
from decant.models.checkpoint import load_checkpoint
from decant.stages import int8 as stage
from decant.stages.support.experiment import Experiment
from decant.stages.support.resolve import stage_result
from decant.workspace import StageResult

Chain = Any


def judged(**found: Any) -> dict[str, Any]:
    gates = {"batch_top1": {"passed": True}}
    return {"passed": True, "accuracy": 0.90, "reference_accuracy": 0.90, "gates": gates, **found}


@pytest.mark.parametrize(
    ("result", "times_as_fast", "offered"),
    [
        (judged(), 2.0, True),
        (judged(), 1.0, False),
        (judged(), 0.5, False),
        (judged(passed=False, accuracy=0.89), 2.0, False),
        (judged(accuracy=0.92), 2.0, True),
    ],
)
def test_it_is_offered_where_it_is_faster_and_within_its_budget(
    result: dict[str, Any], times_as_fast: float, offered: bool
) -> None:
    assert stage.offer(result, stage.Speedup(2.0, 1.0, times_as_fast), 0.5, 3.8)["offered"] is offered


def test_the_offer_says_what_it_rests_on() -> None:
    found = stage.offer(judged(passed=False, accuracy=0.8875), stage.Speedup(3.0, 1.5, 2.0), 0.5, 3.8141)
    assert (found["points_lost"], found["p50_ms"], found["file_mb"]) == (1.25, 1.5, 3.81)
    assert found["why"] == "2.00 times as fast as fp32, 1.250 points of val accuracy lost (0.5 allowed)"
    better = stage.offer(judged(accuracy=0.9025), stage.Speedup(3.0, 1.5, 2.0), 0.5, 3.8141)
    assert better["points_lost"] == -0.25 and better["why"].endswith(", 0.250 points of val accuracy gained")
    same = stage.offer(judged(), stage.Speedup(3.0, 1.5, 2.0), 0.5, 3.8141)
    assert same["why"].endswith(", 0.000 points of val accuracy lost (0.5 allowed)")


def test_a_file_whose_answers_change_in_batches_is_not_offered_and_says_why() -> None:
    found = stage.offer(
        judged(passed=False, gates={"batch_top1": {"passed": False}}), stage.Speedup(2.0, 1.0, 2.0), 0.5, 3.8
    )
    assert not found["offered"] and "another class in a batch than alone" in found["why"]


def test_the_stage_leaves_a_verified_file_with_its_predictions_and_its_offer(chain: Chain) -> None:
    folder: Path = chain.stages["int8"].folder
    found = json.loads((folder / "verification.json").read_text())
    assert found["precision"] == "int8" and found["labelled"] == found["n"] == 9
    assert found["gates"]["prepared"]["passed"] is True
    assert {path.name for path in (folder / "predictions").iterdir()} == {"val", "test", "predict"}
    offered = json.loads((folder / "int8.json").read_text())
    assert offered["val_accuracy"] == pytest.approx(found["accuracy"], abs=1e-4)
    assert offered["p50_ms"] > 0 and offered["p50_ms_fp32"] > 0 and offered["times_as_fast"] > 0
    for ending in ("", "_fp32"):
        assert 0 < offered[f"convolutions_ms{ending}"] < offered[f"kernels_ms{ending}"]
    assert {name: offered[name] for name in machine.cpu()} == machine.cpu()
    assert stage.offer_line(chain.stages["int8"].folder).startswith("int8 file: ")


def test_it_says_of_itself_what_the_fp32_file_says_but_for_dtype_scores_and_processor(chain: Chain) -> None:
    fp32 = OnnxClassifier(chain.stages["export"].folder / "student.onnx").metadata
    quantised = OnnxClassifier(chain.stages["int8"].folder / "student_int8.onnx").metadata
    differing = {name for name in fp32.keys() | quantised.keys() if fp32.get(name) != quantised.get(name)}
    assert {"dtype", "cpu"} <= differing <= {"dtype", "cpu", "evaluation", "accept"}
    assert json.loads(quantised["cpu"]) == machine.cpu()
    card = (chain.stages["int8"].folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "student_int8.onnx" in card
    assert "on one processor" in card and ", ".join(machine.cpu()["instruction_sets"]) in card
    assert "processor" not in (chain.stages["export"].folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_calibration_images_are_of_train_and_drawn_by_seed(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    encoded_images = Experiment.encoded_images

    def noted(self: Experiment, rows: Any) -> Any:
        asked.append(list(rows["id"]))
        return encoded_images(self, rows)

    monkeypatch.setattr(Experiment, "encoded_images", noted)
    manifest, checkpoint = chain.manifest, load_checkpoint(chain.stages["student"].folder)
    batches = [
        np.concatenate(list(stage.calibration_batches(chain.experiment, manifest, checkpoint, 20, seed)))
        for seed in (0, 0, 1)
    ]
    side = checkpoint.preprocessing.input_px
    assert batches[0].shape == (20, 3, side, side) and batches[0].dtype == np.float32
    assert asked[0] == asked[1] != asked[2] and len(set(asked[0])) == 20
    assert set(asked[0]) <= set(manifest.of_split("train")["id"])
    np.testing.assert_array_equal(batches[0], batches[1])


def again(chain: Chain, monkeypatch: pytest.MonkeyPatch, budget: float, gates: dict[str, bool]) -> StageResult:
    """The stage with another budget and the given results of the gates."""
    verify = stage.verify

    def told(*arguments: Any, **options: Any) -> dict[str, Any]:
        found = verify(*arguments, **options)
        for name, passed in gates.items():
            found["gates"][name]["passed"] = passed
        return {**found, "passed": all(gates.values())}

    monkeypatch.setattr(stage, "verify", told)
    section = chain.experiment.study.export.model_copy(update={"int8_budget_points": budget})
    study = chain.experiment.study.model_copy(update={"export": section})
    return stage_result(dataclasses.replace(chain.experiment, study=study), "int8")


def test_a_file_over_its_budget_is_made_and_not_offered(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "measured_speedup", lambda *_: stage.Speedup(2.0, 1.0, 2.0))
    made = again(chain, monkeypatch, 7.0, {"accuracy": False})
    assert not stage.is_offered(made.folder) and "not offered" in stage.offer_line(made.folder)


def test_other_timed_calls_give_another_verdict(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []
    monkeypatch.setattr(
        stage, "measured_speedup", lambda *given: timed.append(given[-1]) or stage.Speedup(2.0, 1.0, 2.0)
    )
    benchmark = chain.experiment.study.benchmark.model_copy(update={"latency_calls": 7})
    study = chain.experiment.study.model_copy(update={"benchmark": benchmark})
    stage_result(dataclasses.replace(chain.experiment, study=study), "int8")
    assert timed == [7]


def test_a_file_that_fails_otherwise_is_an_error(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"student_int8\.onnx failed prepared"):
        again(chain, monkeypatch, 8.0, {"prepared": False, "accuracy": False})


def test_the_network_is_quantised(chain: Chain) -> None:
    nodes = onnx.load(chain.stages["int8"].folder / "student_int8.onnx").graph.node
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) > 10
