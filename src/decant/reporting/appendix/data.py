"""The data and its cleaning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.data.sources import SOURCES
from decant.evaluation.markdown import capitalised, link, markdown_image, markdown_table, plain, section
from decant.evaluation.tables import is_number, thousands
from decant.reporting.appendix.label_noise import label_noise_table
from decant.reporting.figures import CLASSES_PNG
from decant.reporting.results_files import ResultsFiles, Row, chosen_text, images_text, splits_in_order

TOTALS = {  # key of clean/metrics.json -> text
    "found": "images found",
    "kept": "images kept",
    "set_aside": "images set aside",
    "groups_of_several": "groups of duplicates with more than one kept image",
}
COUNTED = {"issues": "issues found"}  # an image may have several issues; all other counts are of images
SPLIT_HEADERS = {"splits": "split (images kept)", "splits_set_aside": "split (images set aside)"}


def data_section(results: ResultsFiles, base: Path) -> str:
    if not results.class_counts:
        return ""
    images: dict[str, int] = {}
    for row in results.class_counts:
        images[row["split"]] = images.get(row["split"], 0) + int(row["images"])
    classes = {row["class"] for row in results.class_counts if row["class"]}
    data = results.study.get("data", {})
    kind = SOURCES.get(str(data.get("source")))
    source = f"{capitalised(kind.caption)}: " if kind else ""
    sentences = [f"{source}{images_text(results)}."]
    if results.study.get("metric"):
        sentences.append(chosen_text(results))
    if results.geometry:
        sentences.append(f"Input of all networks: {results.geometry['description']}; {results.geometry['why']}.")
    splits = splits_in_order(list(images))
    sentences += absent_classes(results.class_counts, classes)
    return section(
        "The task and the data",
        " ".join(sentences),
        markdown_table(splits, [[thousands(images[split]) for split in splits]], left=0),
        markdown_image(results.folder / CLASSES_PNG, base, "Images per class and split"),
    )


def absent_classes(counts: Sequence[Row], classes: set[str]) -> list[str]:
    """A sentence for val and for test if the split lacks classes, with the consequence."""
    consequences = {"val": "all choices rest on these alone", "test": "the scores do not cover the others"}
    sentences = []
    for split, consequence in consequences.items():
        present = {row["class"] for row in counts if row["split"] == split and row["class"] and int(row["images"])}
        if present and present != classes:
            names = ", ".join(map(plain, sorted(present)[:5])) + (" …" if len(present) > 5 else "")
            sentences.append(
                f"{split} has images of {len(present)} of {len(classes)} classes ({names}): {consequence}."
            )
    return sentences


def cleaning_section(results: ResultsFiles, base: Path) -> str:
    counts = results.clean_metrics
    if not counts and not results.issues:
        return ""
    tables = [
        markdown_table([SPLIT_HEADERS.get(name, name.rstrip("s").replace("_", " ")), COUNTED.get(name, "images")], rows)
        for name, value in sorted(counts.items())
        if isinstance(value, dict) and (rows := _count_rows(value))
    ]
    if not tables and results.issues:
        tables = [_issue_table(results.issues)]
    totals = [
        f"{TOTALS.get(name, name.replace('_', ' '))}: {thousands(value)}"
        for name, value in sorted(counts.items(), key=lambda item: _position(item[0]))
        if is_number(value)
    ]
    policy = results.study.get("clean", {}).get("policy")
    return section(
        "Cleaning",
        f"{capitalised('; '.join(totals))}." if totals else "",
        f"Policy: {policy}." if policy else "",
        *tables,
        label_noise_table(counts),
        _listed_issues(results, base),
    )


def _position(name: str) -> tuple[int, str]:
    """Sort key: the keys of TOTALS in their order, then all others by name."""
    return (list(TOTALS).index(name) if name in TOTALS else len(TOTALS), name)


def _listed_issues(results: ResultsFiles, base: Path) -> str:
    """A sentence with a link to the list of issues; it gives the numbers if the list is not complete."""
    if not results.issues:
        return ""
    path = link(results.folder / "clean" / "issues.csv", base)
    total = sum(results.clean_metrics.get("issues", {}).values())
    which = "All issues"
    if total > len(results.issues):
        which = f"{thousands(len(results.issues))} of {thousands(total)} issues, the highest-scoring ones per type,"
    return f"{which} with their scores and actions: [{path}]({path})."


def _count_rows(counts: Mapping[str, Any]) -> list[list[str]]:
    return [[name.replace("_", " "), thousands(value)] for name, value in counts.items() if isinstance(value, int)]


def _issue_table(issues: Sequence[Row]) -> str:
    types, actions = sorted({row["issue"] for row in issues}), sorted({row["action"] for row in issues})
    rows = [
        [
            issue,
            *(str(sum(row["issue"] == issue and row["action"] == action for row in issues)) for action in actions),
        ]
        for issue in types
    ]
    return markdown_table(["issue", *actions], rows)
