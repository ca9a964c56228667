"""The shipped file, used as its users do: from an image file to a class, without code of this project."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from PIL import Image

import decant
from decant.data.predictions import Predictions, read_predictions
from decant.models.checkpoint import load_checkpoint
from decant.stages import export as stage
from decant.stages.support.onnx_predictions import evaluation
from decant.stages.support.resolve import stage_result

Chain = Any


def asked(chain: Chain, split: str) -> tuple[list[str], np.ndarray]:
    """Probabilities from ONNX Runtime for the photos of a split, opened by Pillow."""
    session = onnxruntime.InferenceSession(chain.stages["export"].folder / "student.onnx")
    rows = chain.manifest.of_split(split)
    answers = []
    for path in rows["path"]:
        photo = np.asarray(Image.open(chain.experiment.data_root / "shapes" / path).convert("RGB"))
        answers.append(session.run(["probabilities"], {"images": photo[None]})[0][0])
    return list(rows["id"]), np.array(answers)


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_the_file_answers_as_its_stored_predictions_say(chain: Chain, split: str) -> None:
    ids, answers = asked(chain, split)
    stored = read_predictions(chain.stages["export"].folder / "predictions", split).aligned(ids)
    np.testing.assert_allclose(np.exp(stored.members["identity"]), answers, atol=1e-5)


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_the_file_gives_the_students_classes(chain: Chain, split: str) -> None:
    ids, answers = asked(chain, split)
    student = stage_result(chain.experiment, "predictions/student")
    in_torch = read_predictions(student.folder, split).aligned(ids).members["identity"]
    assert answers.argmax(axis=1).tolist() == in_torch.argmax(axis=1).tolist()


def test_the_classes_lie_beside_the_file_in_the_students_order(chain: Chain) -> None:
    lines = (chain.stages["export"].folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert lines == load_checkpoint(chain.stages["student"].folder).classes == ["Kombi", "Lkw", "Рикша"]


def test_the_verification_passed_and_says_on_what(chain: Chain) -> None:
    found = json.loads((chain.stages["export"].folder / "verification.json").read_text())
    assert set(found) >= {"n", "top1_agreement", "max_abs_logit_difference", "batch_sizes", "passed"}
    assert found["passed"] is True and found["n"] == 9 and found["top1_agreement"] == 1.0
    table = pd.read_csv(chain.stages["precision"].folder / "metrics.csv").query("split == 'val'").set_index("model")
    assert found["labelled"] == 9
    assert found["accuracy"] == pytest.approx(table.loc["student_onnx", "accuracy"], abs=1e-4)
    assert found["reference_accuracy"] == pytest.approx(table.loc["student", "accuracy"], abs=1e-4)


@dataclasses.dataclass(frozen=True)
class Licensed:
    """The chain's student exported under a licence, and what verification was given to look at."""

    folder: Path
    verified: list[object]


@pytest.fixture(scope="module")
def licensed(chain: Chain) -> Licensed:
    given: list[object] = []

    def noted(file: Path, images: object, *rest: object, **options: object) -> dict[str, object]:
        given.append(images)
        return {"gates": {}}

    section = chain.experiment.study.export.model_copy(update={"licence": "cc-by-4.0"})
    study = chain.experiment.study.model_copy(update={"export": section})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "verify", noted)
        made = stage_result(dataclasses.replace(chain.experiment, study=study), "export")
    stage_result(dataclasses.replace(chain.experiment), "export")  # `latest` is the chain's again
    return Licensed(made.folder, given)


def test_the_images_of_val_are_verified_one_at_a_time(licensed: Licensed) -> None:
    """A thousand photos of twelve megapixels would take tens of gigabytes."""
    (images,) = licensed.verified
    assert isinstance(images, Iterator)


def test_the_studys_licence_is_in_the_file_and_at_the_head_of_its_card(licensed: Licensed) -> None:
    for name in ("student.onnx", "student_bare.onnx"):
        assert said_by(licensed.folder / name)["licence"] == "cc-by-4.0"
    card = ModelCard.load(licensed.folder / "MODEL_CARD.md", ignore_metadata_errors=False)
    assert card.data.license == "cc-by-4.0" and "No licence was stated" not in card.text


def test_what_a_user_needs_lies_beside_the_file(chain: Chain) -> None:
    beside = {path.name for path in chain.stages["export"].folder.iterdir()}
    assert {"example.py", "example.mjs", "classes.txt", "preprocessing.json", "MODEL_CARD.md"} <= beside


def test_the_latest_file_is_found_without_a_fingerprint(chain: Chain) -> None:
    latest: Path = chain.experiment.workspace.folder / "export" / "latest"
    assert (latest / "student.onnx").samefile(chain.stages["export"].folder / "student.onnx")
    assert (latest / "classes.txt").is_file()


def said_by(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_the_intervals_of_the_card_draw_images_that_depend_on_each_other_together(chain: Chain) -> None:
    manifest = chain.manifest
    rows = manifest.rows.assign(group="all alike")
    folder = chain.stages["export"].folder / "predictions"
    alone = evaluation(manifest, folder, "student_onnx")["test"]
    together = evaluation(dataclasses.replace(manifest, rows=rows), folder, "student_onnx")["test"]
    assert alone["accuracy_low"] < alone["accuracy"] < alone["accuracy_high"]
    assert together["accuracy_low"] == together["accuracy"] == together["accuracy_high"]  # one group is drawn whole


@pytest.mark.parametrize("name", ["student.onnx", "student_bare.onnx"])
def test_the_file_says_how_good_it_is_and_where_it_comes_from(chain: Chain, name: str) -> None:
    said = said_by(chain.stages["export"].folder / name)
    table = pd.read_csv(chain.stages["precision"].folder / "metrics.csv").query("model == 'student_onnx'")
    for split, scores in json.loads(said["evaluation"]).items():
        row = table[table["split"] == split].iloc[0]
        assert scores["n"] == 9
        assert scores == {column: pytest.approx(row[column], abs=1e-9) for column in scores}
        assert {"accuracy", "precision_macro", "accuracy_low", "map_macro"} <= scores.keys()
    teachers = json.loads(said["teachers"])
    assert {name: one["fingerprint"] for name, one in teachers.items()} == {
        name: chain.stages[f"teachers/{name}"].fingerprint for name in teachers
    }
    assert sum(one["weight"] for one in teachers.values()) == pytest.approx(1, abs=1e-3)
    assert said["study"] == "tiny" and said["student"] == stage_result(chain.experiment, "shipped").fingerprint
    assert said["data_digest"] == chain.experiment.data_digest and said["dtype"] == "fp32"
    assert said["code"] == chain.experiment.workspace.code and said["code_version"] == decant.__version__


def test_the_model_card_is_one_that_hugging_face_reads(chain: Chain) -> None:
    card = ModelCard.load(chain.stages["export"].folder / "MODEL_CARD.md", ignore_metadata_errors=False)
    said = json.loads(said_by(chain.stages["export"].folder / "student.onnx")["evaluation"])
    found = {(one.dataset_split, one.metric_type): one.metric_value for one in card.data.eval_results}
    assert found["test", "accuracy"] == said["test"]["accuracy"] and found["val", "f1"] == said["val"]["f1_macro"]
    assert card.data.pipeline_tag == "image-classification" and card.data.license is None
    assert "# Painted shapes" in card.text and "Рикша" in card.text and "No licence was stated" in card.text


def accepted(stored: Predictions, thresholds: Any) -> np.ndarray:
    """bool [n]: the predictions that reach both thresholds."""
    assert stored.log_sums is not None
    top = np.exp(stored.members["identity"].astype(np.float64)).max(axis=1)
    return (top >= thresholds["threshold"]) & (stored.log_sums >= thresholds["log_sum_threshold"])


def test_the_thresholds_of_val_are_in_the_file_its_card_and_accept_json(chain: Chain) -> None:
    for stage_name, name in (("export", "student.onnx"), ("int8", "student_int8.onnx")):
        folder = chain.stages[stage_name].folder
        accept = json.loads((folder / "accept.json").read_text())
        assert json.loads(said_by(folder / name)["accept"]) == accept
        assert accept["n"] == 9 and accept["accept_precision"] == 0.95
        assert accept["shown"] is False  # nine images cannot show it
        assert accepted(read_predictions(folder / "predictions", "val"), accept).sum() == accept["accepted"]
        assert "## Accepting a prediction" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_accepted_predictions_are_counted_on_test_and_val(chain: Chain) -> None:
    table = pd.read_csv(chain.stages["precision"].folder / "accept.csv").set_index(["model", "split"])
    assert set(table.index) == {(m, s) for m in ("student_onnx", "student_onnx_int8") for s in ("val", "test")}
    for (model, split), row in table.iterrows():
        folder = chain.stages["int8" if model.endswith("int8") else "export"].folder
        ids = list(chain.manifest.of_split(split)["id"])
        stored = read_predictions(folder / "predictions", split).aligned(ids)
        both = accepted(stored, row)
        right = stored.members["identity"].argmax(axis=1) == chain.manifest.targets(chain.manifest.of_split(split))
        assert (row["accepted"], row["correct"]) == (both.sum(), (both & right).sum())
