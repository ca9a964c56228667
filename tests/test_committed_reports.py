"""The reports that are committed say what the committed numbers say."""

from pathlib import Path

from decant.reporting.report import stale_reports


def test_no_committed_report_is_stale(repository: Path) -> None:
    names = [str(path.relative_to(repository)) for path in stale_reports(repository / "results")]
    assert names == [], "run python benchmarks/tables.py and commit what it writes"
