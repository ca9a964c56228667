"""`tables.py` writes the reports, and `--check` fails if a report differs from the numbers."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.evaluation.tables import read_results_table, write_results_table
from decant.reporting.root_report import README_MARKS
from decant.stages.support.command import run

At = Callable[[str], ModuleType]


@pytest.fixture
def results(repository: Path, tmp_path: Path, script_at: At) -> Path:
    """The committed numbers of one study and of the export, with reports just written, below a README."""
    folder = tmp_path / "results"
    for name in ("demo", "export"):
        shutil.copytree(repository / "results" / name, folder / name, ignore=shutil.ignore_patterns("*.png", "*.md"))
    (tmp_path / "README.md").write_text(f"# of nothing\n\n{README_MARKS[0]}\n{README_MARKS[1]}\n", encoding="utf-8")
    script_at("benchmarks/tables.py").main(["--results", str(folder)])
    return folder


def stale(results: Path, script_at: At, caplog: pytest.LogCaptureFixture) -> list[Path]:
    """The reports that a failing --check names, below the README's folder."""
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        run(script_at("benchmarks/tables.py").main, ["--results", str(results), "--check"])
    assert ended.value.code == 2
    names = caplog.messages[-1].removeprefix("error: stale: ").partition(";")[0].split(", ")
    return [Path(name).relative_to(results.parent) for name in names]


def test_reports_just_written_pass_the_check(results: Path, script_at: At, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    script_at("benchmarks/tables.py").main(["--results", str(results), "--check"])
    assert "the reports of 1 study agree with results/" in capsys.readouterr().out


def test_an_edited_table_makes_every_report_stale_that_shows_it(
    results: Path, script_at: At, caplog: pytest.LogCaptureFixture
) -> None:
    table = results / "demo" / "benchmarks" / "precision" / "metrics.csv"
    rows = [row | {"accuracy": "0.1234"} for row in read_results_table(table)]
    write_results_table(rows, table)
    assert stale(results, script_at, caplog) == [
        *(Path("results/demo") / name for name in ("REPORT.md", "APPENDIX.md")), Path("REPORT.md"), Path("README.md"),
    ]  # fmt: skip


def test_a_image_that_is_missing_makes_its_report_stale_and_another_drawing_does_not(
    results: Path, script_at: At, caplog: pytest.LogCaptureFixture
) -> None:
    figure = results / "demo" / "data" / "classes.png"
    figure.write_bytes(b"drawn with other fonts")
    script_at("benchmarks/tables.py").main(["--results", str(results), "--check"])
    figure.unlink()
    assert stale(results, script_at, caplog) == [Path("results/demo/REPORT.md"), Path("results/demo/APPENDIX.md")]
