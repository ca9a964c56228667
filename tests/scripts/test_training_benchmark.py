"""benchmarks/training.py on a network of a few thousand weights: its tables, and the training that it times."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from decant.benchmarking import training_speed
from decant.benchmarking.photo_folder import copy_photos, draw_photos, median_size
from decant.benchmarking.timed_training import Job, StageTraining, TimedViews, train_in_stage
from decant.benchmarking.training_speed import Prepared, fastest, flags_of_networks, prepare
from decant.data.images import header_size
from decant.data.sources import open_source
from decant.errors import UserError
from decant.study import Data
from decant.timing.step_profile import VIEWS, step_parts
from decant.timing.timm_training import Flags

At = Callable[[str], ModuleType]
NETWORK = {"architecture": "test_efficientnet", "input_px": 32, "dtype": "fp32"}
NETWORKS = {"tiny": NETWORK, "tiny_frozen": {**NETWORK, "freeze_norm": True}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two networks and photos for two steps."""
    folder = tmp_path_factory.mktemp("training_speed")
    draw_photos(folder / "photos", 64, (30, 40))
    return prepare(folder, NETWORKS, rounds=2, processes=1, threads=1)


class Answers:
    """In place of `Turns`: the answers of the program."""

    def __init__(self) -> None:
        self.of_turns: list[Any] = []

    def wait(self) -> None:
        pass

    def answer(self, value: Any) -> None:
        self.of_turns.append(value)


def test_drawn_photos_differ_and_every_class_is_in_every_split(prepared: Prepared) -> None:
    photos = prepared.folder / "photos"
    assert len(list((photos / "train").rglob("*.jpg"))) == prepared.images() == 64
    assert [len(list((photos / split).rglob("*.jpg"))) for split in ("val", "test")] == [10, 10]
    contents = {path.read_bytes() for path in photos.rglob("*.jpg")}
    assert len(contents) == 84
    assert median_size(photos) == (30, 40)
    assert len(StageTraining(prepared.job("stage", "tiny")).views.partners) == 64


def test_jpeg_files_of_a_source_are_copied_and_other_files_left_out(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "source" / "car").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "source" / "car" / "drawing.png")
    shutil.copytree(prepared.folder / "photos" / "train", tmp_path / "source", dirs_exist_ok=True)
    source = open_source(Data(source="folder", path="source"), tmp_path, tmp_path / "work", 0)
    copy_photos(source, tmp_path / "copied", 20)
    copied = list((tmp_path / "copied" / "train").rglob("*.jpg"))
    assert len(copied) == 20 and {header_size(path.read_bytes()) for path in copied} == {(40, 30)}
    with pytest.raises(UserError, match="44 JPEG files"):
        copy_photos(source, tmp_path / "too_many", 1000)


def test_the_stage_answers_each_turn_with_its_rate(prepared: Prepared) -> None:
    answers = Answers()
    train_in_stage(prepared.job("stage", "tiny"), answers)  # type: ignore[arg-type]
    assert len(answers.of_turns) == 2 and min(answers.of_turns) > 0


def test_views_in_memory_are_the_stage_s_own_first_views(prepared: Prepared) -> None:
    training = StageTraining(prepared.job("memory", "tiny"))
    stored, rows = training.in_memory(), training.views.partners[:5]
    expected = training.views.render(rows, 0, 32)
    for view in (0, 3):
        assert torch.equal(stored.render(rows, view, 32), expected)


def test_a_profile_finds_the_parts_of_a_step(prepared: Prepared) -> None:
    training = StageTraining(prepared.job("profile", "tiny", turns=1))
    views = TimedViews(**vars(training.views))
    parts = step_parts(lambda: training.train(views, lambda metrics: None, training.teacher))
    found = {part for part, milliseconds in parts.items() if milliseconds > 0}
    expected = {"convolution forward", "convolution backward", "norms", "optimiser", "average of weights", "clipping"}
    assert expected <= found and VIEWS not in parts
    assert len(views.seconds) == 2 and min(views.seconds) > 0


def test_timm_has_no_settings_of_decant_and_decant_has_its_own(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    timm, stage = (training_speed.environment(prepared, prepared.job(way, "tiny")) for way in ("timm", "stage"))
    assert timm["DECANT_UNTUNED"] == "1" and "DECANT_UNTUNED" not in stage
    assert "OMP_WAIT_POLICY" not in timm and "GOMP_SPINCOUNT" not in timm
    assert (stage["OMP_WAIT_POLICY"], stage["GOMP_SPINCOUNT"]) == ("PASSIVE", "7")
    assert timm["OMP_NUM_THREADS"] == stage["OMP_NUM_THREADS"] == "1"


def test_the_fastest_value_of_each_flag_is_kept(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(prepared: Prepared, name: str, flags: Flags) -> float | None:
        if flags.compiled:
            return None
        return 10.0 + flags.workers - 5 * flags.prefetcher + flags.channels_last

    monkeypatch.setattr(training_speed, "flag_rate", rate)
    rows, flags = flags_of_networks(prepared, list(NETWORKS))
    best = Flags(workers=2, prefetcher=False)
    assert flags == {"tiny": best, "tiny_frozen": best}
    assert [row["flags"] for row in rows if row["chosen"]] == ["workers 2, channels last"]
    assert [row["images_per_second"] for row in rows if "compiled" in str(row["flags"])] == [None]
    assert fastest({Flags(): None, best: 1.0}) == best


def test_a_job_survives_the_command_line(prepared: Prepared) -> None:
    job = prepared.job("timm", "tiny", flags={"workers": 2}, keep_memory=False)
    words = training_speed.command(job)
    assert Job(**json.loads(words[-1])) == job


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--profile"]])
def test_the_script_writes_its_tables(
    script_at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    script = script_at("benchmarks/training.py")
    monkeypatch.setattr(script, "NETWORKS", NETWORKS)
    monkeypatch.setattr(script, "LEVERS_OF", ("tiny_frozen", "tiny"))
    monkeypatch.setattr(script, "draw_photos", lambda folder, count: draw_photos(folder, count, (30, 40)))
    monkeypatch.setattr(training_speed, "alternatives", lambda may_have_bf16, may_compile: [[{"workers": 0}]])
    words = ["--steps", "2", "--rounds", "2", "--processes", "1", "--threads", "1", "--out", str(tmp_path)]
    script.main([*options, "--networks", *NETWORKS, *words])
    tables = {path.name: read(path) for path in tmp_path.glob("*.csv")}
    assert set(json.loads((tmp_path / "provenance.json").read_text())) == set(tables)
    if options:
        parts = [row for row in tables["profile.csv"] if row["part"] != "whole step"]
        assert {row["batch_norms"] for row in parts} == {"trained", "frozen"} and len(parts) > 10
        levers = [row["lever"] for row in tables["levers.csv"]]
        assert levers == ["frozen batch norms", "number format", "freed memory is kept", "waiting threads spin"]
        return
    assert [row["batch_norms"] for row in tables["throughput.csv"]] == ["trained", "frozen"]
    for row in tables["throughput.csv"]:
        assert (row["images"], row["rounds"]) == ("64", "2")
        for ratio in ("to_timm", "to_memory"):
            low, middle, high = (float(row[f"{ratio}{end}"]) for end in ("_low", "", "_high"))
            assert 0 < low <= middle <= high
    assert len(tables["timm_flags.csv"]) == 2


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_unknown_network_names_the_known_ones(script_at: At) -> None:
    with pytest.raises(UserError, match="lite0"):
        script_at("benchmarks/training.py").main(["--networks", "lite00"])


def test_frozen_norms_and_networks_without_norms_are_named(prepared: Prepared) -> None:
    assert [prepared.cells(name)["batch_norms"] for name in NETWORKS] == ["trained", "frozen"]
    vit = prepared.teacher("tiny").model_copy(update={"architecture": "test_vit"})
    assert training_speed.batch_norms(vit) == ""
