"""The committed reports agree with the committed numbers."""

from pathlib import Path

from decant.reporting.root_report import stale_reports


def test_no_committed_report_is_stale(repository: Path) -> None:
    stale = [str(path.relative_to(repository)) for path in stale_reports(repository / "results")]
    assert stale == [], "run python benchmarks/tables.py and commit the files that it writes"
