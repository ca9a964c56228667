"""The root REPORT.md, results/MEASUREMENTS.md and the README's block of results, and which reports are stale."""

from collections.abc import Sequence
from pathlib import Path

from decant.errors import UserError
from decant.evaluation.markdown import Markdown, link, markdown_image, markdown_table, paragraphs, section
from decant.evaluation.tables import difference, plural, thousands, with_interval
from decant.reporting.exported_file import exported_file_section
from decant.reporting.figures import PARETO_PNG
from decant.reporting.paired import DIFFERENCE, distillation_gain, paired, sign_of
from decant.reporting.report import REPORT, differs, stale_parts, write
from decant.reporting.results_files import (
    HEADLINE_MODELS,
    ResultsFiles,
    Row,
    best_teacher,
    comparable,
    image_count,
    int8_is_offered,
    main_split,
    owner,
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
MEASUREMENTS = "MEASUREMENTS.md"
MEASUREMENTS_TITLE = "Measurements of training, of the exported file and of the app"
GAINS_HEADER = ("study", "ensemble - best teacher", "student - twin", "ONNX file - ensemble", "exported")
GAINS_NOTE = (
    "Differences in accuracy on the same images, with 95 % intervals; the effect of another training seed is not "
    "included."
)
STUDIES_HEADER = (
    "study", "images", "classes", "split", *HEADLINE_MODELS, "px", "p50 ms", "int8 p50 ms", "file MB",
)  # fmt: skip


def study_folders(results: Path) -> list[Path]:
    """The folders of the published studies below `results`, ordered by name."""
    return sorted(path.parent for path in results.glob("*/study.json"))


def write_root_report(results: Path, out: Path) -> None:
    """Write the report on all studies below `results`, and beside the results the measurements that it links."""
    write(out, root_report_text(results, out.parent))
    if text := measurements_text(results):
        write(results / MEASUREMENTS, text)


def stale_root_reports(results: Path, out: Path) -> list[Path]:
    """The files that are missing, or differ from what `write_root_report` would write."""
    texts = {out: root_report_text(results, out.parent), results / MEASUREMENTS: measurements_text(results)}
    return [path for path, text in texts.items() if text and differs(path, text)]


def root_report_text(results: Path, base: Path) -> str:
    """The Markdown of the root report: the studies, and what their steps gained. Links start at `base`."""
    columns, measurements = (link(results / name, base) for name in ("README.md", MEASUREMENTS))
    return (
        paragraphs(
            "# Results",
            f"{TABLE_NOTE} All columns are explained in [{columns}]({columns}).",
            studies_table(results, base),
            gains_section(results, base),
            f"{MEASUREMENTS_TITLE}: [{measurements}]({measurements})." if measurements_text(results) else "",
        )
        + "\n"
    )


def measurements_text(results: Path) -> str:
    """The Markdown of results/MEASUREMENTS.md; "" if nothing was measured."""
    sections = (
        training_section(results, results),
        exported_file_section(results / "export", results),
        serving_section(results / "serving", results),
    )
    return paragraphs(f"# {MEASUREMENTS_TITLE}", *sections) + "\n" if any(sections) else ""


def gains_section(results: Path, base: Path) -> str:
    """What pooling and distilling gained in each study, on its main split; "" if no study compares its models."""
    studies = [read_results_files(folder) for folder in study_folders(results)]
    compared = [study for study in studies if study.comparisons]
    if not compared:
        return ""
    pooled, distilled, _ = zip(*map(gains, compared), strict=True)
    return section(
        "What pooling and distilling gained",
        f"{GAINS_NOTE} The ensemble is shown to be better than its best teacher in {_shown(pooled)}, and the student "
        f"than its twin, which learned from the given labels alone, in {_shown(distilled)}.",
        markdown_table(GAINS_HEADER, [_gain_cells(study, base) for study in compared], left=1),
    )


def _shown(rows: Sequence[Row | None]) -> str:
    """ "2 of 4 studies": in how many comparisons the interval lies above zero."""
    compared = [row for row in rows if row]
    return f"{sum(sign_of(row) > 0 for row in compared)} of {plural(len(compared), 'study', 'studies')}"


def gains(results: ResultsFiles) -> tuple[Row | None, Row | None, Row | None]:
    """Ensemble minus best teacher, student minus its twin, file minus ensemble; None where they are not compared."""
    split = main_split(results)
    teacher = best_teacher(results, split)
    return (
        paired(results, "ensemble", teacher["model"], split) if teacher else None,
        distillation_gain(results, split),
        paired(results, "student_onnx", "ensemble", split),
    )


def _gain_cells(results: ResultsFiles, base: Path) -> list[str]:
    return [
        _study_link(results, base),
        *(difference(row, DIFFERENCE) if row else "–" for row in gains(results)),
        owner(results),
    ]


def _study_link(results: ResultsFiles, base: Path) -> str:
    return Markdown(f"[{results.name}]({link(results.folder / REPORT, base)})")


def stale_reports(results: Path) -> list[Path]:
    """The stale reports among each study's report and appendix, the root report and the README.

    Texts are compared, and missing figures are found. The pixels of figures are not compared, because they depend on
    fonts and on matplotlib's version.
    """
    stale = [file for folder in study_folders(results) for file in stale_parts(folder, folder / REPORT)]
    root_report, readme = results.parent / REPORT, results.parent / "README.md"
    stale += stale_root_reports(results, root_report)
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
        _study_link(results, base),
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
