"""Two processes of `accelerate launch`: the result of one process, each image once, and files written by the first."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from decant.data.manifest import read_manifest
from decant.data.predictions import read_predictions
from decant.study_files import ROOT

LAUNCHER = "accelerate.commands.launch"
# Without dropout, whose random numbers differ between processes, and without trained batch norms, which would see half
# a batch. Weights of rows differ, because a mean over them is where parts of a batch are easily put together wrongly.
STUDY = {
    "extends": "micro",
    "name": "shared",
    "data": {"toy": {"images": 150, "size_px": 48, "classes": 3}},
    "teachers": {
        "convnext": {"recipe": "micro_convnext", "epochs": 2, "balance": 0.5, "drop_path": 0.0, "dropout": 0.0},
        "probe": {"recipe": "micro_probe"},
    },
    "student": {"epochs": 2, "balance": 0.5, "drop_path": 0.0, "freeze_norm": True},
}
TRAIN, DISTIL = "research/train_teacher.py", "distill/train_student.py"  # the second one makes what it needs


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    """The runs of the study by one process and by two."""
    study = tmp_path_factory.mktemp("study") / "shared.yaml"
    study.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    runs = {count: tmp_path_factory.mktemp(f"runs{count}") for count in (1, 2)}
    for count, place in runs.items():
        launch(count, DISTIL, "--study", str(study), "--runs", str(place), "--wandb", "disabled")
    yield runs


def launch(count: int, script: str, *words: str) -> str:
    # With --cpu it would start one process without MPI; with --multi_gpu and no GPU the processes use their CPU.
    launcher = ["-m", LAUNCHER, "--multi_gpu", "--num_processes", str(count), "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [sys.executable, *(launcher if count > 1 else []), str(ROOT / script), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count(f"{count} processes share the work") == (count > 1)
    return done.stdout


def stage(place: Path, name: str) -> Path:
    return (place / "shared" / name / "latest").resolve()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["teachers/convnext", "teachers/probe", "student", "student_alone"])
def test_two_processes_train_the_network_of_one(places: dict[int, Path], name: str) -> None:
    one, two = (sorted(stage(place, name).rglob("model.safetensors")) for place in places.values())
    assert len(one) == len(two) == (2 if name == "teachers/convnext" else 1)  # its folds
    for file, other in zip(one, two, strict=True):
        weights, others = load_file(file), load_file(other)
        assert weights.keys() == others.keys()
        for key, values in weights.items():
            if values.dtype.kind == "f":
                assert np.linalg.norm(others[key] - values) <= 2e-3 * np.linalg.norm(values) + 1e-4, key


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "test"])
def test_two_processes_predict_every_image_once(places: dict[int, Path], split: str) -> None:
    one, two = (read_predictions(stage(place, "predictions/convnext"), split) for place in places.values())
    rows = read_manifest(stage(places[1], "clean")).of_split(split)
    assert two.ids == one.ids == list(rows["id"])
    for member, values in one.members.items():
        np.testing.assert_allclose(two.members[member], values, atol=2e-2)


@pytest.mark.slow
def test_two_processes_store_the_soft_labels_of_one(places: dict[int, Path]) -> None:
    folders = sorted(path.parent for path in places[1].glob("store/soft_labels/*/store-*/header.json"))
    assert folders
    for folder in folders:
        (other,) = (places[2] / "store" / "soft_labels" / folder.parent.name).glob("store-*")
        assert (other / "contents.txt").read_text() == (folder / "contents.txt").read_text()
        views, others = (sorted(path.glob("view-*.npy")) for path in (folder, other))
        assert len(views) == len(others) > 0
        for view, same in zip(views, others, strict=True):
            one, two = (np.load(path, allow_pickle=False).astype(np.float32) for path in (view, same))
            np.testing.assert_allclose(two, one, atol=2e-2)


@pytest.mark.slow
def test_the_first_process_writes_and_nothing_else_is_left(places: dict[int, Path]) -> None:
    def files(place: Path) -> set[str]:
        kept = (path for path in place.rglob("*") if path.is_file() and "store-" not in str(path))
        return {path.name for path in kept if not path.name.startswith(".")}

    assert files(places[2]) == files(places[1])
    for mark in places[2].rglob("finished.json"):
        for name, size in json.loads(mark.read_text(encoding="utf-8"))["files"].items():
            assert (mark.parent / name).stat().st_size == size


@pytest.mark.slow
def test_one_process_prints_and_what_is_finished_is_kept(places: dict[int, Path], tmp_path: Path) -> None:
    study = tmp_path / "shared.yaml"
    study.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in places[2].rglob("finished.json")}
    printed = launch(2, TRAIN, "--study", str(study), "--runs", str(places[2]), "--wandb", "disabled")
    assert printed.count("teacher convnext: ") == 1
    assert {path: path.stat().st_mtime_ns for path in places[2].rglob("finished.json")} == before
