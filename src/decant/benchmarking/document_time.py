"""How long a study's report takes as a page, a PDF and slides."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from decant.reporting.documents import HTML, PDF, SLIDES
from decant.scripts import script_path
from decant.timing.process import MEGABYTE

DOCUMENT_COLUMNS = ("study", "rounds", "wall_s", "slowest_s", "html_mb", "pdf_mb", "slides_mb")
FILES = {"html_mb": HTML, "pdf_mb": PDF, "slides_mb": SLIDES}


def document_row(results: Path, rounds: int) -> dict[str, object]:
    """Make the documents of the study in `results` again and again, as a person does; keys are DOCUMENT_COLUMNS."""
    seconds = []
    with tempfile.TemporaryDirectory() as runs:
        script = str(script_path("benchmarks/report.py"))
        words = [sys.executable, script, "--from-results", str(results), "--runs", runs, "--pdf", "--slides"]
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - began)
        made = Path(runs) / results.name / "results"
        sizes = {column: (made / name).stat().st_size / MEGABYTE for column, name in FILES.items()}
    middle = statistics.median(seconds)
    return {"study": results.name, "rounds": rounds, "wall_s": middle, "slowest_s": max(seconds), **sizes}
