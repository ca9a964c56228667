"""The root REPORT.md and the README's block of results: one page across the studies, and which reports are stale."""

from pathlib import Path

from decant.errors import UserError
from decant.evaluation.markdown import Markdown, link, markdown_image, markdown_table, paragraphs
from decant.evaluation.tables import thousands, with_interval
from decant.reporting.exported_file import exported_file_section
from decant.reporting.figures import PARETO_PNG
from decant.reporting.report import REPORT, differs, stale_parts, write
from decant.reporting.results_files import (
    HEADLINE_MODELS,
    ResultsFiles,
    Row,
    comparable,
    image_count,
    int8_is_offered,
    main_split,
    read_results_files,
    reported_latency,
    student_row,
)
from decant.reporting.serving import serving_section
from decant.reporting.training_tables import training_section

README_MARKS = ("<!-- results:begin -->", "<!-- results:end -->")
TABLE_NOTE = (
    "Each model's accuracy with its 95 % bootstrap interval. best teacher: by the study's metric on val. "
    "px: the student's input in pixels, the side of a square "
    "or height x width of a rectangle (96x176). p50 ms: median time per image of the student's ONNX file. int8 p50 ms: "
    "the same for its int8 file, which is not offered if it lost too much accuracy, gave other predictions in a batch "
    "or was not faster. file MB: size of the fp32 file."
)
STUDIES_HEADER = (
    "study", "images", "classes", "split", *HEADLINE_MODELS, "px", "p50 ms", "int8 p50 ms", "file MB",
)  # fmt: skip


def study_folders(results: Path) -> list[Path]:
    """The folders of the published studies below `results`, ordered by name."""
    return sorted(path.parent for path in results.glob("*/study.json"))


def write_root_report(results: Path, out: Path) -> None:
    """Write the report on all studies below `results`."""
    write(out, root_report_text(results, out.parent))


def is_root_stale(results: Path, out: Path) -> bool:
    """True if `out` is missing or differs from what `write_root_report` would write."""
    return differs(out, root_report_text(results, out.parent))


def root_report_text(results: Path, base: Path) -> str:
    """The Markdown of the root report: studies, training, the exported file and the app. Links start at `base`."""
    return (
        paragraphs(
            "# Results",
            f"{TABLE_NOTE} All columns are explained in [{link(results / 'README.md', base)}]"
            f"({link(results / 'README.md', base)}).",
            studies_table(results, base),
            training_section(results, base),
            exported_file_section(results / "export", base),
            serving_section(results / "serving", base),
        )
        + "\n"
    )


def stale_reports(results: Path) -> list[Path]:
    """The stale reports among each study's report and appendix, the root report and the README.

    Texts are compared, and missing figures are found. The pixels of figures are not compared, because they depend on
    fonts and on matplotlib's version.
    """
    stale = [file for folder in study_folders(results) for file in stale_parts(folder, folder / REPORT)]
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
    write(readme, readme_text(readme, results))


def is_readme_stale(readme: Path, results: Path) -> bool:
    """True if the README's block of results differs from what `write_readme` would write."""
    return differs(readme, readme_text(readme, results))


def _root_row(results: ResultsFiles, base: Path) -> list[str]:
    split = main_split(results)
    student = student_row(results, split)
    timing = (reported_latency(results, student["model"]) if student else None) or {}
    images = image_count(results)
    classes = len({row["class"] for row in results.class_counts if row["class"]})
    models = [find(results, split) for find in HEADLINE_MODELS.values()]
    return [
        Markdown(f"[{results.name}]({link(results.folder / REPORT, base)})"),
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
