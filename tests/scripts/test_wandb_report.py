"""The review of a study: a page without a server, a report with one, and what to run with the offline runs."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from decant import tracking
from decant.errors import UserError
from decant.stages.support import review
from decant.study_files import ROOT

STUDY = "traffic_vehicles"
At = Callable[[str], ModuleType]


@pytest.fixture
def reviewed(script_at: At, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that reviews a study's published results with runs in a folder of its own, and returns the output."""

    def call(*words: str) -> str:
        script_at("research/wandb_report.py").main(["--study", STUDY, "--runs", str(tmp_path / "runs"), *words])
        return capsys.readouterr().out

    return call


@pytest.fixture
def offline_runs(tmp_path: Path) -> Path:
    """A W&B folder with three offline runs; the first was sent."""
    folder = tmp_path / "runs" / STUDY / "wandb"
    for name in ("one", "two", "three"):
        run = folder / f"offline-run-{name}"
        run.mkdir(parents=True)
        (run / f"run-{name}.wandb").touch()
    (folder / "offline-run-one" / "run-one.wandb.synced").touch()
    return folder


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_warned", set())


def test_offline_it_writes_a_page_below_the_runs(reviewed: Callable[..., str], tmp_path: Path) -> None:
    printed = reviewed()
    page = tmp_path / "runs" / STUDY / "review.html"
    assert f"review: {page}" in printed
    assert "<h2>Teachers</h2>" in page.read_text(encoding="utf-8")


def test_it_says_how_to_see_and_to_send_the_runs_that_wait(
    reviewed: Callable[..., str], offline_runs: Path, tmp_path: Path
) -> None:
    printed = reviewed()
    assert f"  wandb leet {offline_runs}\n" in printed and f"  wandb sync {offline_runs}/offline-run-*\n" in printed
    assert "2 offline runs" in printed and f"decant-{STUDY}" in printed
    assert f"wandb sync {offline_runs}/offline-run-*" in (tmp_path / "runs" / STUDY / "review.html").read_text()


def test_without_runs_that_wait_it_names_none(reviewed: Callable[..., str]) -> None:
    assert "wandb sync" not in reviewed()


def test_results_of_a_run_come_before_the_published_ones(reviewed: Callable[..., str], tmp_path: Path) -> None:
    own = tmp_path / "runs" / STUDY / "results"
    shutil.copytree(ROOT / "results" / STUDY, own)
    table = own / "benchmarks" / "precision" / "metrics.csv"
    table.write_text(table.read_text().replace("ensemble,ensemble,test", "my_own,ensemble,test"))
    reviewed()
    assert "<td>my_own</td>" in (tmp_path / "runs" / STUDY / "review.html").read_text()


def test_a_study_without_results_says_what_to_run_first(script_at: At, tmp_path: Path) -> None:
    words = ["--study", "micro", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    with pytest.raises(UserError, match=r"benchmarks/report\.py --study micro"):
        script_at("research/wandb_report.py").main(words)
    assert not (tmp_path / "runs").exists()


class FakeRun:
    """Notes the summary of a W&B run."""

    def __init__(self, summaries: dict[str, dict[str, Any]], job: tracking.Job) -> None:
        self.summary: dict[str, Any] = {}
        summaries[job.name] = self.summary
        self.log, self.define_metric = (lambda *given: None), (lambda *given, **named: None)

    def finish(self, exit_code: int) -> None:
        assert exit_code == 0


def test_online_it_saves_a_report_and_gives_the_runs_accuracy_and_time(
    reviewed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: None
) -> None:
    saved: list[tuple[Any, ...]] = []
    summaries: dict[str, dict[str, Any]] = {}

    def report(results: Any, project: str, *given: str) -> Any:
        return SimpleNamespace(save=lambda: saved.append((project, *given)), url="https://example.org/report")

    monkeypatch.setattr(review, "review_report", report)
    monkeypatch.setattr(tracking, "wandb_init", lambda mode, folder, job: FakeRun(summaries, job))
    assert "report: https://example.org/report" in reviewed("--wandb", "online")
    ((project, title, *_),) = saved
    assert project == f"decant-{STUDY}" and title.startswith("Review of ")
    assert {"review/ensemble", "review/student_onnx"} <= set(summaries)
    assert set(summaries["review/student_onnx"]) == {"p50_ms", "accuracy"}
    assert (tmp_path / "runs" / STUDY / "review.html").is_file()


def test_a_server_that_fails_leaves_the_page_and_says_so_once(
    reviewed: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    told: None,
) -> None:
    def failing(*given: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(review, "review_report", failing)
    monkeypatch.setattr(tracking, "wandb_init", failing)
    with caplog.at_level(logging.WARNING):
        printed = reviewed("--wandb", "online")
    assert "report:" not in printed and (tmp_path / "runs" / STUDY / "review.html").is_file()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(set(messages)) and "no route to host" in messages[-1]
