"""`results/<study>/REPORT.md` and the root REPORT.md, made from files in `results/` alone.

A section whose files are missing is left out. The text has no dates and no values from memory, so that making
it again from the same files gives the same bytes: that is how a stale report is found.
"""

from pathlib import Path

from decant.errors import UserError
from decant.reporting.evidence import (
    Evidence,
    best_teacher,
    main_split,
    of_kind,
    read_evidence,
    reported_latency,
    student_row,
)
from decant.reporting.figures import PARETO_PNG
from decant.reporting.findings import headline_section, limits_section, precision_section
from decant.reporting.format import thousands, with_interval
from decant.reporting.markdown import link, markdown_table, paragraphs
from decant.reporting.sections import (
    cleaning_section,
    data_section,
    ensemble_section,
    export_section,
    provenance_section,
    student_section,
    teachers_section,
)
from decant.reporting.times import latency_section
from decant.workspace import replacing

SECTIONS = (
    headline_section,
    data_section,
    cleaning_section,
    teachers_section,
    ensemble_section,
    student_section,
    export_section,
    precision_section,
    latency_section,
    limits_section,
    provenance_section,
)
REPORT = "REPORT.md"
README_MARKS = ("<!-- results:begin -->", "<!-- results:end -->")
TABLE_NOTE = (
    "Accuracy with its 95 % bootstrap interval; the time is the student's for one picture, the size its file's."
)


def write_report(results_folder: Path, out: Path) -> None:
    """Writes a study's report. Raises UserError where its folder or a readable file in it is missing."""
    _write(out, report_text(results_folder, out.parent))


def write_root_report(results: Path, out: Path) -> None:
    """Writes the report that gathers all studies below `results`."""
    _write(out, root_report_text(results, out.parent))


def is_stale(results_folder: Path, out: Path) -> bool:
    """Whether `out` is missing or is not what `write_report` would write now."""
    return _differs(out, report_text(results_folder, out.parent))


def is_root_stale(results: Path, out: Path) -> bool:
    """Whether `out` is missing or is not what `write_root_report` would write now."""
    return _differs(out, root_report_text(results, out.parent))


def headline(results_folder: Path) -> str:
    """The one line that says what came out: the shipped student beside the ensemble and the student alone.

    Raises:
        UserError: the study has no precision table with a student in it.
    """
    evidence = _evidence(results_folder)
    split = main_split(evidence)
    student = student_row(evidence, split)
    if student is None:
        raise UserError(f"{results_folder}: no student in benchmarks/precision/metrics.csv; run the benchmarks")
    parts = [f"{student['model']} on {split} (n {student['n']}): accuracy {with_interval(student, 'accuracy')}"]
    parts.append(f"macro precision {with_interval(student, 'precision_macro')}")
    for kind, name in (("ensemble", "ensemble"), ("student_alone", "student alone")):
        row = of_kind(evidence, kind, split)
        if row:
            parts.append(f"{name} {with_interval(row, 'accuracy')}")
    timing = reported_latency(evidence, student["model"])
    if timing:
        parts.append(f"{timing['p50_ms']} ms")
        parts.append(f"{timing['file_mb']} MB")
    return " | ".join(parts)


def report_text(results_folder: Path, base: Path) -> str:
    """The report's Markdown; links are relative to the folder `base` in which it will lie."""
    evidence = _evidence(results_folder)
    title = evidence.study.get("title") or evidence.name
    return paragraphs(f"# {title}", *(section(evidence, base) for section in SECTIONS)) + "\n"


def root_report_text(results: Path, base: Path) -> str:
    """One row per study, in the order of their names; links are relative to the folder `base`."""
    return (
        paragraphs(
            "# Results",
            f"{TABLE_NOTE} What each column means: [{link(results / 'README.md', base)}]"
            f"({link(results / 'README.md', base)}).",
            studies_table(results, base),
        )
        + "\n"
    )


def study_folders(results: Path) -> list[Path]:
    """The folders of the published studies below `results`, in the order of their names."""
    return sorted(path.parent for path in results.glob("*/study.json"))


def stale_reports(results: Path) -> list[Path]:
    """The reports that are not what the files below `results` say: of each study, of all, and the README.

    Texts are compared, so a picture that is missing is noticed and one that is drawn differently is not: how it comes
    out depends on fonts and on matplotlib's version.
    """
    stale = [folder / REPORT for folder in study_folders(results) if is_stale(folder, folder / REPORT)]
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    if is_root_stale(results, root_report):
        stale.append(root_report)
    if readme.is_file() and is_readme_stale(readme, results):
        stale.append(readme)
    return stale


def studies_table(results: Path, base: Path) -> str:
    """The studies below `results` as a Markdown table."""
    folders = study_folders(results)
    header = [
        "study", "images", "classes", "split", "best teacher", "ensemble", "student ONNX", "student alone",
        "p50 ms", "file MB",
    ]  # fmt: skip
    rows = [_root_row(read_evidence(folder), base) for folder in folders]
    return markdown_table(header, rows) if rows else "No study has been run yet."


def readme_text(readme: Path, results: Path) -> str:
    """The README with the table and the picture between its marks made anew. UserError where it has no marks."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(README_MARKS[0])
    _, end, after = rest.partition(README_MARKS[1])
    if not (begin and end):
        raise UserError(f"{readme} lacks the marks {' and '.join(README_MARKS)} between which the table stands")
    pictures = [
        f"Accuracy against latency, {folder.name}: ![{folder.name}]({link(folder / PARETO_PNG, readme.parent)})"
        for folder in sorted(results.iterdir())
        if (folder / PARETO_PNG).is_file()
    ]
    block = paragraphs(TABLE_NOTE, studies_table(results, readme.parent), *pictures[-1:])
    return f"{before}{begin}\n{block}\n{end}{after}"


def write_readme(readme: Path, results: Path) -> None:
    """Makes the table in the README anew."""
    _write(readme, readme_text(readme, results))


def is_readme_stale(readme: Path, results: Path) -> bool:
    """Whether the README's table is not what `write_readme` would write now."""
    return _differs(readme, readme_text(readme, results))


def _root_row(evidence: Evidence, base: Path) -> list[str]:
    split = main_split(evidence)
    student = student_row(evidence, split)
    timing = (reported_latency(evidence, student["model"]) if student else None) or {}
    images = sum(int(row["images"]) for row in evidence.class_counts)
    classes = len({row["class"] for row in evidence.class_counts if row["class"]})
    rows = [
        best_teacher(evidence, split),
        of_kind(evidence, "ensemble", split),
        student,
        of_kind(evidence, "student_alone", split),
    ]
    return [
        f"[{evidence.name}]({link(evidence.folder / REPORT, base)})",
        thousands(images) if images else "–",
        str(classes) if classes else "–",
        split or "–",
        *(with_interval(row, "accuracy") if row else "–" for row in rows),
        timing.get("p50_ms") or "–",
        timing.get("file_mb") or "–",
    ]


def _evidence(results_folder: Path) -> Evidence:
    if not results_folder.is_dir():
        raise UserError(f"{results_folder}: no results of this study; run it first")
    return read_evidence(results_folder)


def _differs(out: Path, text: str) -> bool:
    return not out.is_file() or out.read_text(encoding="utf-8") != text


def _write(out: Path, text: str) -> None:
    with replacing(out) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
