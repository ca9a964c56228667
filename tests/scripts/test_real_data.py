"""Every study of real photos goes through the whole chain, on a few photos a class and with tiny networks."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from decant.data.manifest import Manifest, read_manifest
from decant.study_reading import load_study

pytestmark = pytest.mark.data
# study: photos of each class to train on
STUDIES = {
    "vehicle_dataset": 6,
    "traffic_vehicles": 8,
    "traffic_vehicles_random": 8,
    "cars_body": 8,
    "cars_make": 4,
    "cifar10": 6,
    "cifar10_worse": 6,
    "cifar10_aggre": 6,
}
TINY: dict[str, Any] = {
    "clean": {"encoder": {"architecture": "test_efficientnet", "weights": ["none"], "input_px": 32}, "folds": 2},
    "ensemble": {"pooling": "equal"},
    "soft_labels": {"views": 1},
    "student": {"recipe": "micro", "architecture": "test_efficientnet", "weights": ["none"], "head": "random"}
    | {"input_px": 32, "epochs": 1, "batch_size": 16, "dtype": "fp32"},
    "benchmark": {"latency_calls": 5, "latency_batches": [1], "latency_threads": [1], "latency_rounds": 1}
    | {"latency_engines": ["onnxruntime"]},
}


@dataclass(frozen=True)
class Ran:
    """A study's subset, run to its report."""

    name: str
    runs: Path
    results: Path
    manifest: Manifest
    data: Path


@pytest.fixture(scope="module", params=list(STUDIES))
def ran(
    request: pytest.FixtureRequest,
    real_data: Path,
    script_at: Callable[[str], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    name: str = request.param
    place = tmp_path_factory.mktemp(name)
    teachers: dict[str, Any] = dict.fromkeys(load_study(name).teachers)
    teachers |= {"tiny": {"recipe": "micro_convnext", "epochs": 1}, "tiny_probe": {"recipe": "micro_probe"}}
    study = {"extends": name, "name": name, "data": {"limit": STUDIES[name]}, "teachers": teachers, **TINY}
    (place / "subset.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    words = ["--study", str(place / "subset.yaml"), "--data", str(real_data), "--wandb", "disabled"]
    script_at("distill/run.py").main([*words, "--runs", str(place / "runs")])
    runs = place / "runs" / name
    manifest = read_manifest(runs / "clean" / "latest")
    return Ran(name, runs, runs / "results", manifest, real_data)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sample_of(ran: Ran) -> list[list[str]]:
    """The Kaggle sample submission, read from the archive itself."""
    with zipfile.ZipFile(ran.data / "cars.zip") as archive:
        text = archive.read(f"sample_submission_{ran.name.removeprefix('cars_')}.csv").decode()
    return list(csv.reader(io.StringIO(text)))


def test_every_model_is_in_the_table_on_test_and_val(ran: Ran) -> None:
    rows = rows_of(ran.results / "benchmarks" / "precision" / "metrics.csv")
    kinds = {"teacher", "ensemble", "student_alone", "student", "student_onnx", "student_onnx_int8"}
    assert {(row["kind"], row["split"]) for row in rows} == {
        (kind, split) for kind in kinds for split in ("test", "val")
    }
    for split in ("test", "val"):
        assert {int(row["n"]) for row in rows if row["split"] == split} == {len(ran.manifest.of_split(split))}


def test_the_shipped_file_was_verified_and_the_report_written(ran: Ran) -> None:
    assert json.loads((ran.results / "export" / "verification.json").read_text())["passed"] is True
    assert (ran.runs / "export" / "latest" / "classes.txt").read_text().splitlines() == ran.manifest.classes
    for name in ("REPORT.md", "provenance.json", "clean/issues.csv", "benchmarks/latency/metrics.csv"):
        assert (ran.results / name).is_file(), name


def test_all_classes_of_the_study_are_there(ran: Ran) -> None:
    classes = {"vehicle": 10, "traffic": 6, "cars_body": 9, "cars_make": 49, "cifar10": 10}
    (expected,) = [count for name, count in classes.items() if ran.name.startswith(name)]
    assert len(ran.manifest.classes) == expected
    assert set(ran.manifest.of_split("train")["label"]) == set(ran.manifest.classes)


def test_no_group_spans_two_splits(ran: Ran) -> None:
    kept = ran.manifest.kept()
    measured = kept[kept["split"].isin(["train", "val", "test"])]
    assert (measured.groupby("group")["split"].nunique() == 1).all()


def test_photos_to_predict_get_a_submission_of_each_kind(ran: Ran) -> None:
    predict = ran.manifest.of_split("predict")
    names = {Path(path).name for path in predict["path"]}
    files = [ran.results / name for name in ("submission.csv", "submission_student.csv")]
    if not ran.name.startswith(("vehicle", "cars")):
        assert not names and not any(file.exists() for file in files)
        return
    header = sample_of(ran)[0] if ran.name.startswith("cars") else ["id", "label"]
    for file in files:
        rows = rows_of(file)
        assert list(rows[0]) == header
        assert {row[header[0]] for row in rows} == names and len(rows) == len(predict)
        assert {row[header[1]] for row in rows} <= set(ran.manifest.classes)


def test_a_sample_submission_gives_the_order(ran: Ran) -> None:
    if not ran.name.startswith("cars"):
        pytest.skip("this study has no sample submission")
    order = {row[0]: place for place, row in enumerate(sample_of(ran)[1:])}
    places = [order[row["id"]] for row in rows_of(ran.results / "submission.csv")]
    assert places == sorted(places) and len(places) > 10


def test_rows_without_a_label_are_kept_as_unlabelled(ran: Ran) -> None:
    unlabelled = ran.manifest.of_split("unlabelled")
    assert (len(unlabelled) > 0) == (ran.name == "cars_body")
    assert unlabelled["label"].isna().all()


def test_the_given_split_is_kept(ran: Ran) -> None:
    if ran.name != "traffic_vehicles":
        pytest.skip("no split file")
    given = {row["path"]: row["split"] for row in rows_of(ran.data / "traffic_vehicles_split.csv")}
    kept = ran.manifest.kept()
    found = {"/".join(Path(path).parts[-2:]): split for path, split in zip(kept["path"], kept["split"], strict=True)}
    assert found.items() <= given.items()


def test_noisy_labels_are_learned_and_true_ones_tested(ran: Ran) -> None:
    if not ran.name.startswith("cifar10_"):
        pytest.skip("the given labels are the true ones")
    plain = load_study("cifar10").data
    assert load_study(ran.name).data.model_copy(update={"label_column": plain.label_column}) == plain
    assert set(ran.manifest.of_split("test")["label"]) == set(ran.manifest.classes)
