"""What W&B gets of a study: read back from the files of offline runs, with W&B's own reader."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file

from decant.stages.support.experiment import Experiment, project_of
from decant.stages.support.resolve import artifacts_read
from decant.stages.support.tracked import read_rows, replay, scores_of
from decant.tracking import Log
from decant.training.resume import FILE

pytest.importorskip("wandb")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RECORDED = ("clean", "ensemble", "soft_labels/convnext", "export", "benchmarks/precision")
SHARED = ("clean", "benchmarks/precision")
TRAINED, MORE_EPOCHS = ("teachers/convnext",), "teachers.convnext.epochs=3"
RUN = """if True:
    import sys
    from pathlib import Path
    from decant.stages.support.experiment import Experiment
    from decant.stages.support.resolve import inputs_of, record, stage_result
    from decant.study_reading import load_study

    study, data, runs, change, *stages = sys.argv[1:]
    experiment = Experiment(load_study(study, change.split()), Path(data), Path(runs), wandb="offline")
    for stage in stages:
        if stage == "teachers/convnext":
            stage_result(experiment, stage)
        else:
            record(experiment, stage, inputs_of(experiment, stage), stage_result(experiment, stage).folder)
"""


@dataclass(frozen=True)
class Run:
    """An offline run. records: of its file, by type."""

    folder: Path
    records: dict[str, list[dict[str, Any]]]

    @property
    def described(self) -> dict[str, Any]:
        return self.records["run"][0]

    @property
    def name(self) -> str:
        return str(self.described["display_name"])

    @property
    def summary(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for record in self.records["summary"]:
            merged |= record.get("update", {})
        return merged

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """Of stages, by name; not those that W&B makes of tables."""
        return {one["name"]: one for one in self.records.get("artifact", []) if one["type"] != "run_table"}


def read_run(folder: Path) -> Run:
    (file,) = folder.glob("*.wandb")
    words = [sys.executable, "-W", "ignore", "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    records: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record[record["type"]])
    return Run(folder, records)


@dataclass(frozen=True)
class Tracked:
    """A study's W&B folder and its runs by name."""

    folder: Path
    runs: dict[str, Run]
    store: Path

    @property
    def content(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def tracked(
    request: pytest.FixtureRequest,
    chain: Any,
    study_file: Path,
    data_root: Path,
    tmp_path_factory: Any,
    repository: Path,
) -> Tracked:
    """Stages of the finished chain given to W&B anew and, of the private study, a teacher that is trained with it."""
    share = f"data.may_be_shared={str(request.param).lower()}"
    runs = tmp_path_factory.mktemp("tracked") / "runs"
    shutil.copytree(chain.experiment.runs, runs, symlinks=True)
    asked = [(share, SHARED)] if request.param else [(share, RECORDED), (f"{share} {MORE_EPOCHS}", TRAINED)]
    for change, stages in asked:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RUN, str(study_file), str(data_root), str(runs), change, *stages],
            env={**os.environ, "PYTHONPATH": str(repository / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "W&B" not in done.stderr, done.stderr
    folder = runs / "tiny" / "wandb"
    found = [read_run(path) for path in sorted(folder.glob("offline-run-*"))]
    return Tracked(folder, {run.name: run for run in found}, runs / "store")


private = pytest.mark.parametrize("tracked", [False], indirect=True, scope="module")
both = pytest.mark.parametrize("tracked", [False, True], indirect=True, scope="module")


@private
def test_every_stage_is_a_run_of_the_study_s_project(tracked: Tracked) -> None:
    parts = {run.name for run in tracked.runs.values()}
    assert {"clean", "ensemble", "soft_labels/convnext", "export", "benchmarks/precision"} <= parts
    assert {"teachers/convnext/fold0", "benchmarks/precision/ensemble", "benchmarks/precision/student_onnx"} <= parts
    assert {run.described["project"] for run in tracked.runs.values()} == {"decant-tiny"} == {project_of("tiny")}


@private
def test_the_curves_of_a_teacher_are_read_back_as_they_are_in_its_history(tracked: Tracked) -> None:
    run = tracked.runs["teachers/convnext/fold0"]
    (history,) = [
        rows
        for path in tracked.store.glob("teachers/convnext/*/fold0/history.csv")
        if len(rows := read_rows(path)) == 3  # the teacher of this test
    ]
    curve = [record["item"] for record in run.records["history"] if "epoch" in record["item"]]
    assert [{name: row[name] for name in history[0]} for row in curve] == history
    steps = {metric.get("name") or metric["glob_name"]: metric["step_metric"] for metric in run.records["metric"]}
    assert steps["val_*"] == steps["loss"] == "epoch"


@private
def test_the_summary_of_a_teacher_has_its_scores_on_val_and_of_a_scored_model_its_row(
    tracked: Tracked, chain: Any
) -> None:
    run = tracked.runs["teachers/convnext/fold0"]
    assert run.summary["epochs"] == 3 and 0 <= run.summary["val_accuracy"] <= 1
    rows = read_rows(chain.stages["precision"].folder / "metrics.csv")
    (expected,) = [row for row in rows if (row["model"], row["split"]) == ("ensemble", "test")]
    summary = tracked.runs["benchmarks/precision/ensemble"].summary
    for column in ("n", "accuracy", "precision_macro", "recall_macro", "f1_macro", "map_macro", "accuracy_low"):
        assert summary[f"test/{column}"] == expected[column]


@private
def test_scores_of_test_are_in_the_runs_of_the_precision_benchmark_alone(tracked: Tracked) -> None:
    with_test = {name for name, run in tracked.runs.items() if any(key.startswith("test") for key in run.summary)}
    assert with_test == {name for name in tracked.runs if name.startswith("benchmarks/precision/")}


@private
def test_runs_are_grouped_by_model_and_tagged_with_stage_teacher_and_seed(tracked: Tracked) -> None:
    described = tracked.runs["teachers/convnext/fold1"].described
    assert (described["run_group"], described["job_type"]) == ("convnext", "teachers")
    assert set(described["tags"]) == {"stage:teachers", "teacher:convnext", "seed:0"}
    assert set(tracked.runs["ensemble"].described["tags"]) == {"stage:ensemble", "seed:0"}


@private
def test_the_config_has_the_resolved_settings_and_the_whole_study(tracked: Tracked) -> None:
    config = tracked.runs["teachers/convnext/fold0"].described["config"]["update"]
    assert config["settings"]["epochs"] == config["study"]["teachers"]["convnext"]["epochs"] == 3
    assert config["settings"]["architecture"] == "test_convnext" and config["study"]["name"] == "tiny"


@private
def test_the_lineage_goes_from_the_data_to_the_file(tracked: Tracked) -> None:
    """Offline W&B knows no inputs of a run; config and metadata name them."""
    made = {name for run in tracked.runs.values() for name in run.artifacts}
    assert {"data", "teachers-convnext-fold0", "ensemble", "soft_labels-convnext", "student-onnx"} <= made

    def inputs(run: str) -> set[str]:
        named = {name.partition(":")[0] for name in tracked.runs[run].described["config"]["update"]["inputs"]}
        for artifact in tracked.runs[run].artifacts.values():
            assert {name.partition(":")[0] for name in json.loads(artifact["metadata"])["inputs"]} == named
        return named

    assert inputs("clean") == set()
    assert inputs("teachers/convnext/fold0") == {"data"}
    assert inputs("soft_labels/convnext") == {"data", "teachers-convnext-fold0", "teachers-convnext-fold1"}
    assert {"ensemble", "student", "data"} <= inputs("export")


@private
def test_an_artifact_s_alias_is_the_fingerprint_of_its_stage(tracked: Tracked, chain: Any) -> None:
    artifact = tracked.runs["export"].artifacts["student-onnx"]
    files = {entry["path"] for entry in artifact["manifest"]["contents"]}
    assert chain.stages["export"].fingerprint in artifact["aliases"]
    assert {"student.onnx", "classes.txt", "preprocessing.json", "MODEL_CARD.md", "version.json"} <= files


@private
def test_the_exported_file_s_run_has_a_confusion_matrix_a_per_class_table_and_its_mistakes(tracked: Tracked) -> None:
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text(encoding="utf-8"))
        for path in tracked.runs["benchmarks/precision/student_onnx"].folder.rglob("*.table.json")
    }
    assert {"confusion", "per"} <= set(tables)
    assert tables["confusion"]["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert len(tables["per"]["data"]) == 2 * 3  # splits, classes


IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"GIF8")


@both
def test_no_image_code_commit_or_file_name_is_in_the_files_unless_they_may_be_shared(
    tracked: Tracked, data_root: Path, repository: Path
) -> None:
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True)
    names = [path.name.encode() for path in (data_root / "shapes" / "train").iterdir() if len(path.name) > 8]
    assert names
    content, artifacts = tracked.content, [a for run in tracked.runs.values() for a in run.artifacts.values()]
    sent = {entry["path"] for artifact in artifacts for entry in artifact["manifest"]["contents"]}
    may_be_shared = tracked.runs["clean"].described["config"]["update"]["study"]["data"]["may_be_shared"]
    images = [
        path for path in tracked.folder.rglob("*") if path.is_file() and path.read_bytes().startswith(IMAGE_STARTS)
    ]
    assert bool(images) is may_be_shared  # so the search finds what is there
    assert ("manifest.parquet" in sent) is may_be_shared
    assert not [path for path in tracked.folder.rglob("*") if path.suffix in (".py", ".patch")]
    to_send = b"".join(path.read_bytes() for path in tracked.folder.rglob("*.wandb"))
    assert (sys.executable.encode() in to_send) is may_be_shared
    if not may_be_shared:
        # The folder of the runs is there: `wandb sync` must find the files of artifacts.
        assert not [folder for folder in (repository, data_root) if str(folder).encode() in to_send]
        assert not [name for name in names if name in content]
        assert not git.returncode and git.stdout.strip().encode() not in content
        assert not any(
            "image" in json.loads(path.read_text())["columns"] for path in tracked.folder.rglob("*.table.json")
        )


def test_a_study_that_is_not_tracked_reads_no_artifacts(chain: Any) -> None:
    assert chain.experiment.wandb == "disabled" and artifacts_read(chain.experiment, "export") == []


def test_trouble_with_the_records_of_a_stage_does_not_fail_it(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from decant.stages import ensemble
    from decant.stages.support.resolve import stage_result

    def records(*given: object) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(ensemble, "records", records)
    shutil.copytree(chain.experiment.runs, tmp_path / "runs", symlinks=True)
    shutil.rmtree(tmp_path / "runs" / "store" / "ensemble")
    again = Experiment(chain.experiment.study, chain.experiment.data_root, tmp_path / "runs", wandb="offline")
    assert (stage_result(again, "ensemble").folder / "weights.json").is_file()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["ensemble: W&B did not get all of its results: no space left on device"]


class Noted:
    """Notes the rows that a W&B run is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def metrics(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def test_a_continued_training_gives_w_and_b_its_earlier_epochs(tmp_path: Path) -> None:
    epochs, noted = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}], Noted()
    save_file({"weight": torch.zeros(1)}, tmp_path / FILE, metadata={"history": json.dumps(epochs)})
    replay(cast(Log, noted), tmp_path)
    assert noted.rows == epochs


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_a_training_that_starts_anew_has_no_earlier_epochs(tmp_path: Path, content: bytes | None) -> None:
    noted = Noted()
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    replay(cast(Log, noted), tmp_path)
    assert noted.rows == []


def history(folder: Path, accuracies: list[float]) -> None:
    lines = [f"{epoch},{value}" for epoch, value in enumerate(accuracies, 1)]
    (folder / "history.csv").write_text("epoch,val_accuracy\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(("keep", "epoch"), [("best", 2), ("last", 3)])
def test_the_scores_are_those_of_the_epoch_whose_weights_are_kept(tmp_path: Path, keep: str, epoch: int) -> None:
    history(tmp_path, [0.1, 0.9, 0.5])
    assert scores_of(tmp_path, keep, "accuracy")["epoch"] == epoch


def test_the_scores_of_a_probe_are_those_of_the_best_strength(tmp_path: Path) -> None:
    (tmp_path / "regularisation.csv").write_text("strength,val_accuracy\n0.1,0.5\n1,0.8\n10,0.7\n")
    assert scores_of(tmp_path, "last", "accuracy") == {"strength": 1.0, "val_accuracy": 0.8}


def test_a_refit_without_val_has_no_scores(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n")
    assert scores_of(tmp_path, "best", "accuracy") == {"epoch": 2.0, "loss": 0.4, "epochs": 2}
