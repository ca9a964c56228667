"""Photos in one line: a dry run, a run from another folder, and a checkout in which nothing changed."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.stages.support.command import counted_warnings
from decant.study_files import ROOT
from toy_vehicles import generate

At = Callable[[str], ModuleType]
WRITTEN_BY_PUBLISH = ("results", "README.md", "REPORT.md")
MICRO = [
    "--set", "teachers={convnext: {recipe: micro_convnext}, probe: {recipe: micro_probe}}",
    "--set", "student={recipe: micro}",
    "--set", "clean={encoder: {architecture: test_efficientnet, weights: [none], input_px: 32}, folds: 2}",
    "--set", "soft_labels={views: 2}",
    "--set", "benchmark={latency_calls: 5, latency_rounds: 1, latency_threads: [1]}",
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "my photos"
    generate(folder, images=80, size_px=48, classes=3)
    return folder


def git_status() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain", "--", *WRITTEN_BY_PUBLISH],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def notebook(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], str]:
    """examples/own_photos.ipynb, run with tiny networks: its folder, its names, and git's status before."""
    before = git_status() if (ROOT / ".git").exists() else ""
    folder = tmp_path_factory.mktemp("notebook")
    cells = json.loads((ROOT / "examples" / "own_photos.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
                if "parameters" in cell["metadata"].get("tags", []):
                    names |= {"PHOTOS": str(photos), "OPTIONS": [*MICRO, "--wandb", "disabled"]}
    return folder, names, before


def test_the_notebook_ends_with_a_class_and_a_report(notebook: tuple[Path, dict[str, object], str]) -> None:
    _, names, _ = notebook
    assert names["answer"] in names["classes"]  # type: ignore[operator]
    assert "# " in str(names["report"])


def test_a_run_from_another_folder_leaves_its_study_and_results_there(
    notebook: tuple[Path, dict[str, object], str],
) -> None:
    folder, _, _ = notebook
    assert [path.name for path in (folder / "studies").iterdir()] == ["my-photos.yaml"]
    results = folder / "runs" / "my-photos" / "results"
    assert (results / "REPORT.md").is_file() and (results / "benchmarks" / "latency" / "metrics.csv").is_file()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_a_run_changes_no_tracked_file(notebook: tuple[Path, dict[str, object], str]) -> None:
    assert git_status() == notebook[2]


def test_a_dry_run_writes_a_study_and_runs_nothing(
    photos: Path, tmp_path: Path, script_at: At, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    script_at("distill/run.py").main([str(photos), "--dry-run", "--runs", str(tmp_path / "runs"), *MICRO])
    assert (tmp_path / "studies" / "my-photos.yaml").is_file()
    assert not (tmp_path / "runs").exists()
    assert len(capsys.readouterr().out.splitlines()) <= 13


@pytest.mark.parametrize(
    "words", [["x", "--study", "micro"], ["--time-limit", "45m"], ["--allow-downloads"], ["x", "--time-limit", "soon"]]
)
def test_options_that_contradict_each_other_end_with_code_2(words: list[str], script_at: At) -> None:
    with pytest.raises(SystemExit) as ended:
        script_at("distill/run.py").main(words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("45m", 2700), ("2h", 7200), ("90s", 90), ("5", 300), ("1.5 hours", 5400)]
)
def test_durations(text: str, seconds: float, script_at: At) -> None:
    assert script_at("distill/run.py").seconds(text) == seconds


def test_warnings_of_libraries_become_one_line_with_their_count() -> None:
    lines = ["import logging, sys, warnings", "logging.basicConfig(level=logging.INFO, format='%(message)s')",
             "from decant.stages.support.command import counted_warnings", "with counted_warnings():",
             "    warnings.warn('one'); warnings.warn('two')"]  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    (line,) = ended.stderr.splitlines()
    assert "2" in line and "UserWarning" not in line


def test_without_warnings_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), counted_warnings():
        pass
    assert caplog.records == []
