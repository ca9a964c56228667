"""`results/<study>/REPORT.md` and the root REPORT.md, made from the files in `results/` alone.

A section whose files are missing is left out. The text contains no dates, so the same files give the same bytes. A
report is stale if making it again gives another text.
"""

from pathlib import Path

from decant.errors import UserError
from decant.evaluation.markdown import link, markdown_image, markdown_table, paragraphs
from decant.evaluation.tables import thousands, with_interval
from decant.reporting.exported_file import exported_file_section
from decant.reporting.figures import PARETO_PNG
from decant.reporting.frontier import students_section
from decant.reporting.referee import referee_section
from decant.reporting.result_sections import headline_section, limits_section, precision_section
from decant.reporting.results_files import (
    HEADLINE_MODELS,
    ResultsFiles,
    Row,
    comparable,
    image_count,
    int8_is_offered,
    main_split,
    of_kind,
    read_results_files,
    reported_latency,
    student_row,
)
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
from decant.reporting.training_tables import training_section
from decant.workspace import replacing

SECTIONS = (
    headline_section,
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
REPORT = "REPORT.md"
README_MARKS = ("<!-- results:begin -->", "<!-- results:end -->")
TABLE_NOTE = (
    "Each model's accuracy with its 95 % bootstrap interval. px: the student's input in pixels, the side of a square "
    "or height x width of a rectangle (96x176). p50 ms: median time per image of the student's ONNX file. int8 p50 ms: "
    "the same for its int8 file, which is not offered if it lost too much accuracy, gave other predictions in a batch "
    "or was not faster. file MB: size of the fp32 file."
)
STUDIES_HEADER = (
    "study", "images", "classes", "split", *HEADLINE_MODELS, "px", "p50 ms", "int8 p50 ms", "file MB",
)  # fmt: skip


def write_report(results_folder: Path, out: Path) -> None:
    """Write a study's report. Raises UserError if its folder is missing or a file in it cannot be read."""
    _write(out, report_text(results_folder, out.parent))


def write_root_report(results: Path, out: Path) -> None:
    """Write the report on all studies below `results`."""
    _write(out, root_report_text(results, out.parent))


def is_stale(results_folder: Path, out: Path) -> bool:
    """True if `out` is missing or differs from what `write_report` would write."""
    return _differs(out, report_text(results_folder, out.parent))


def is_root_stale(results: Path, out: Path) -> bool:
    """True if `out` is missing or differs from what `write_root_report` would write."""
    return _differs(out, root_report_text(results, out.parent))


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
    """The Markdown of a study's report. Links are relative to the folder `base`."""
    results = _results_files(results_folder)
    title = results.study.get("title") or results.name
    return paragraphs(f"# {title}", *(section(results, base) for section in SECTIONS)) + "\n"


def root_report_text(results: Path, base: Path) -> str:
    """The Markdown of the root report: a row per study, then training and the exported file. Links start at `base`."""
    return (
        paragraphs(
            "# Results",
            f"{TABLE_NOTE} All columns are explained in [{link(results / 'README.md', base)}]"
            f"({link(results / 'README.md', base)}).",
            studies_table(results, base),
            training_section(results / "training", base),
            exported_file_section(results / "export", base),
        )
        + "\n"
    )


def study_folders(results: Path) -> list[Path]:
    """The folders of the published studies below `results`, ordered by name."""
    return sorted(path.parent for path in results.glob("*/study.json"))


def stale_reports(results: Path) -> list[Path]:
    """The stale ones of all reports: each study's, the root report and the README.

    Texts are compared, and missing figures are found. The pixels of figures are not compared, because they depend on
    fonts and on matplotlib's version.
    """
    stale = [folder / REPORT for folder in study_folders(results) if is_stale(folder, folder / REPORT)]
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    if is_root_stale(results, root_report):
        stale.append(root_report)
    if readme.is_file() and is_readme_stale(readme, results):
        stale.append(readme)
    return stale


def studies_table(results: Path, base: Path) -> str:
    """A Markdown table with one row per study below `results`."""
    rows = [_root_row(read_results_files(folder), base) for folder in study_folders(results)]
    return markdown_table(STUDIES_HEADER, rows) if rows else "No study has been run yet."


def readme_text(readme: Path, results: Path) -> str:
    """The README with a new block between its marks. Raises UserError if it has no marks."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(README_MARKS[0])
    _, end, after = rest.partition(README_MARKS[1])
    if not (begin and end):
        raise UserError(f"{readme}: the marks {' and '.join(README_MARKS)} are missing; add them around the table")
    block = paragraphs(
        TABLE_NOTE, studies_table(results, readme.parent), _figure_of_largest_study(results, readme.parent)
    )
    return f"{before}{begin}\n{block}\n{end}{after}"


def _figure_of_largest_study(results: Path, base: Path) -> str:
    """The figure of accuracy against latency of the study with the most images; "" if no study has it."""
    studies = [read_results_files(folder) for folder in study_folders(results) if (folder / PARETO_PNG).is_file()]
    if not studies:
        return ""
    largest = max(studies, key=image_count)  # the first by name, if several are equally large
    figure = markdown_image(largest.folder / PARETO_PNG, base, largest.name)
    return f"Accuracy against latency in {largest.name}, the study with the most images: {figure}"


def write_readme(readme: Path, results: Path) -> None:
    """Write the README's block of results."""
    _write(readme, readme_text(readme, results))


def is_readme_stale(readme: Path, results: Path) -> bool:
    """True if the README's block of results differs from what `write_readme` would write."""
    return _differs(readme, readme_text(readme, results))


def _root_row(results: ResultsFiles, base: Path) -> list[str]:
    split = main_split(results)
    student = student_row(results, split)
    timing = (reported_latency(results, student["model"]) if student else None) or {}
    images = image_count(results)
    classes = len({row["class"] for row in results.class_counts if row["class"]})
    models = [find(results, split) for find in HEADLINE_MODELS.values()]
    return [
        f"[{results.name}]({link(results.folder / REPORT, base)})",
        thousands(images) if images else "–",
        str(classes) if classes else "–",
        split or "–",
        *(with_interval(row, "accuracy") if row else "–" for row in models),
        timing.get("input_px") or "–",
        timing.get("p50_ms") or "–",
        _int8_cell(results, timing) if timing else "–",
        timing.get("file_mb") or "–",
    ]


def _int8_cell(results: ResultsFiles, timing: Row) -> str:
    """The int8 file's median milliseconds under the conditions of `timing`, marked if it is not offered."""
    for row in results.latency:
        if row["kind"] == "student_onnx_int8" and row["engine"] == timing["engine"] and comparable(row, timing):
            return row["p50_ms"] + ("" if int8_is_offered(results) else " (not offered)")
    return "–"


def _results_files(results_folder: Path) -> ResultsFiles:
    if not results_folder.is_dir():
        raise UserError(f"{results_folder} does not exist: the study has no results; run it first")
    return read_results_files(results_folder)


def _differs(out: Path, text: str) -> bool:
    return not out.is_file() or out.read_text(encoding="utf-8") != text


def _write(out: Path, text: str) -> None:
    with replacing(out) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
