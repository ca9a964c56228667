"""`results/<study>/REPORT.md` and its appendix, made from the files in `results/` and the study alone.

The report has seven sections, one module of `chapters/` each; the appendix has every table and the origin of the files.
A section whose files are missing is left out. The text contains no dates, so the same files give the same bytes. A
report is stale if making it again gives another text.
"""

from pathlib import Path

from decant.errors import UserError
from decant.evaluation.markdown import paragraphs, plain
from decant.evaluation.tables import with_interval
from decant.reporting.appendix.data import cleaning_section, data_section
from decant.reporting.appendix.ensemble import ensemble_section
from decant.reporting.appendix.onnx_file import export_section
from decant.reporting.appendix.precision import limits_section, precision_section
from decant.reporting.appendix.provenance import provenance_section
from decant.reporting.appendix.student import student_section
from decant.reporting.appendix.teachers import teachers_section
from decant.reporting.chapters.abstract import abstract
from decant.reporting.chapters.architecture import architecture
from decant.reporting.chapters.data_analysis import data_analysis
from decant.reporting.chapters.experiments import experiments
from decant.reporting.chapters.findings import findings
from decant.reporting.chapters.future_work import future_work
from decant.reporting.chapters.preprocessing import preprocessing
from decant.reporting.frontier import students_section
from decant.reporting.pictures import pictures_section
from decant.reporting.referee import referee_section
from decant.reporting.results_files import (
    ResultsFiles,
    main_split,
    of_kind,
    read_results_files,
    reported_latency,
    student_row,
)
from decant.reporting.times import latency_section
from decant.workspace import replacing

CHAPTERS = (abstract, data_analysis, preprocessing, architecture, experiments, findings, future_work)
APPENDIX_SECTIONS = (
    pictures_section,
    data_section,
    cleaning_section,
    teachers_section,
    ensemble_section,
    student_section,
    referee_section,
    students_section,
    export_section,
    precision_section,
    latency_section,
    limits_section,
    provenance_section,
)
REPORT, APPENDIX = "REPORT.md", "APPENDIX.md"


def write_report(results_folder: Path, out: Path) -> None:
    """Write a study's report, and its appendix beside it.

    Raises UserError if the study's folder is missing or a file in it cannot be read.
    """
    for file, text in report_files(results_folder, out).items():
        write(file, text)


def stale_parts(results_folder: Path, out: Path) -> list[Path]:
    """Which of `out` and the appendix beside it are missing or differ from what `write_report` would write."""
    return [file for file, text in report_files(results_folder, out).items() if differs(file, text)]


def report_files(results_folder: Path, out: Path) -> dict[Path, str]:
    """The files of a study's report and their texts: the report at `out`, and the appendix."""
    return {
        out: report_text(results_folder, out.parent),
        out.with_name(APPENDIX): appendix_text(results_folder, out.parent),
    }


def headline(results_folder: Path) -> str:
    """The result in one line: the shipped student, the ensemble and the student alone.

    Raises:
        UserError: the study has no folder, or its precision table has no student.
    """
    results = _results_files(results_folder)
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        raise UserError(f"{results_folder}: benchmarks/precision/metrics.csv has no student; run the benchmarks")
    parts = [f"{student['model']} on {split} (n {student['n']}): accuracy {with_interval(student, 'accuracy')}"]
    parts.append(f"macro precision {with_interval(student, 'precision_macro')}")
    for kind, name in (("ensemble", "ensemble"), ("student_alone", "student alone")):
        row = of_kind(results, kind, split)
        if row:
            parts.append(f"{name} {with_interval(row, 'accuracy')}")
    timing = reported_latency(results, student["model"])
    if timing:
        parts.append(f"{timing['p50_ms']} ms")
        parts.append(f"{timing['file_mb']} MB")
    return " | ".join(parts)


def report_text(results_folder: Path, base: Path) -> str:
    """The Markdown of a study's report, in seven sections. Links are relative to the folder `base`."""
    results = _results_files(results_folder)
    sections = [chapter(results, base) for chapter in CHAPTERS]
    if not any(sections):
        return f"# {title_of(results)}\n"
    more = (
        f"Every table, the conditions of the measurements and the origin of the files: [{APPENDIX}]({APPENDIX}). The "
        "scripts wrote this report: numbers come from the files beside it, reasons from the study and its recipes."
    )
    return paragraphs(f"# {title_of(results)}", *sections, more) + "\n"


def appendix_text(results_folder: Path, base: Path) -> str:
    """The Markdown of the appendix: every table and the origin of the files. Links are relative to `base`."""
    results = _results_files(results_folder)
    sections = (section(results, base) for section in APPENDIX_SECTIONS)
    return paragraphs(f"# Appendix: {title_of(results)}", *sections) + "\n"


def title_of(results: ResultsFiles) -> str:
    """The study's title as Markdown."""
    return plain(results.title)


def _results_files(results_folder: Path) -> ResultsFiles:
    if not results_folder.is_dir():
        raise UserError(f"{results_folder} does not exist: the study has no results; run it first")
    return read_results_files(results_folder)


def differs(out: Path, text: str) -> bool:
    return not out.is_file() or out.read_text(encoding="utf-8") != text


def write(out: Path, text: str) -> None:
    with replacing(out) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
