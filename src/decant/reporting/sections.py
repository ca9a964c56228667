"""Sections on data, teachers, student and file. Each is text from the study's files, "" if they are missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.data.sources import SOURCES
from decant.evaluation.markdown import capitalised, link, markdown_table, picture, section
from decant.evaluation.tables import is_number, magnitude, number, plural, short, significant, thousands, with_interval
from decant.reporting.figures import CLASSES_PNG, curves_png
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    best_teacher,
    main_split,
    of_kind,
    splits_in_order,
    student_row,
)

SLOWEST = 5  # stages whose minutes are named
COUNTED = {"issues": "issues found"}  # an image may have several; everything else that is counted are images


def data_section(results: ResultsFiles, base: Path) -> str:
    if not results.class_counts:
        return ""
    images: dict[str, int] = {}
    for row in results.class_counts:
        images[row["split"]] = images.get(row["split"], 0) + int(row["images"])
    classes = {row["class"] for row in results.class_counts if row["class"]}
    data = results.study.get("data", {})
    kind = SOURCES.get(str(data.get("source")))
    source = kind.caption if kind else ""
    sentences = [
        f"{capitalised(source)}: {plural(sum(images.values()), 'image')}, {plural(len(classes), 'class', 'classes')}."
        if source
        else f"{plural(sum(images.values()), 'image')}, {plural(len(classes), 'class', 'classes')}."
    ]
    if results.study.get("metric"):
        sentences.append(
            f"Choices were made on val: weights and temperatures by likelihood, heads and the best teacher by "
            f"{results.study['metric']}."
        )
    splits = splits_in_order(list(images))
    return section(
        "The task and the data",
        " ".join(sentences),
        markdown_table(splits, [[thousands(images[split]) for split in splits]], left=0),
        picture(results.folder / CLASSES_PNG, base, "Images per class and split"),
    )


def cleaning_section(results: ResultsFiles, base: Path) -> str:
    counts = results.clean_metrics
    if not counts and not results.issues:
        return ""
    tables = [
        markdown_table([name.rstrip("s").replace("_", " "), COUNTED.get(name, "images")], rows)
        for name, value in sorted(counts.items())
        if isinstance(value, dict) and (rows := _count_rows(value))
    ]
    if not tables and results.issues:
        tables = [_issue_table(results.issues)]
    totals = [
        f"{name.replace('_', ' ')}: {thousands(value)}" for name, value in sorted(counts.items()) if is_number(value)
    ]
    policy = results.study.get("clean", {}).get("policy")
    return section(
        "Cleaning",
        f"Policy: {policy}." if policy else "",
        f"{capitalised('; '.join(totals))}." if totals else "",
        *tables,
        _listed_issues(results, base),
    )


def _listed_issues(results: ResultsFiles, base: Path) -> str:
    """Where the issues are listed, and how many of them."""
    if not results.issues:
        return ""
    listed = link(results.folder / "clean" / "issues.csv", base)
    found = sum(results.clean_metrics.get("issues", {}).values())
    which = "Every issue"
    if found > len(results.issues):
        which = (
            f"The highest-scoring {thousands(len(results.issues))} of {thousands(found)} issues, chosen per type, each"
        )
    return f"{which} with its score and what was done: [{listed}]({listed})."


def _count_rows(counts: Mapping[str, Any]) -> list[list[str]]:
    return [[name.replace("_", " "), thousands(value)] for name, value in counts.items() if isinstance(value, int)]


def _issue_table(issues: Sequence[Row]) -> str:
    kinds, actions = sorted({row["issue"] for row in issues}), sorted({row["action"] for row in issues})
    rows = [
        [
            kind,
            *(str(sum(r["issue"] == kind and r["action"] == action for r in issues)) for action in actions),
        ]
        for kind in kinds
    ]
    return markdown_table(["issue", *actions], rows)


def teachers_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    rows = [row for row in results.precision if row["kind"] == "teacher" and row["split"] == split]
    asked = results.study.get("teachers", {})
    names = [row["model"] for row in rows] or list(results.histories)
    if not names:
        return ""
    scores = {row["model"]: row for row in rows}
    cells = [
        [name, *_asked_cells(asked.get(name.removesuffix("_tta"), {})), with_interval(scores.get(name, {}), "accuracy")]
        for name in names
    ]
    curves = [picture(results.folder / curves_png(name), base, f"Learning curves of {name}") for name in names]
    return section(
        "Teachers",
        markdown_table(["teacher", "network", "trained as", "px", f"accuracy on {split or 'test'}"], cells, left=3),
        *curves,
    )


def _asked_cells(teacher: Mapping[str, Any]) -> list[str]:
    folds = teacher.get("folds") or 0
    how = {"finetune": "fine-tuned", "probe": "linear probe"}.get(str(teacher.get("kind")), "–")
    if how == "fine-tuned" and teacher.get("weights") == ["none"]:
        how = "from scratch"
    return [
        str(teacher.get("architecture", "–")),
        f"{how}, {folds} folds" if folds else how,
        str(teacher.get("input_px", "–")),
    ]


def ensemble_section(results: ResultsFiles, base: Path) -> str:
    weights, temperatures = (
        _per_teacher(results.weights, "weight"),
        _per_teacher(results.weights, "temperature"),
    )
    if not weights:
        return ""
    split = main_split(results)
    row, best = of_kind(results, "ensemble", split), best_teacher(results, split)
    sentences = []
    if row:
        sentences.append(f"On {split} the ensemble has an accuracy of {with_interval(row, 'accuracy')}")
        if best:
            sentences[-1] += f"; the best teacher, {best['model']}, has {with_interval(best, 'accuracy')}"
        sentences[-1] += "."
    pooling = results.study.get("ensemble", {}).get("pooling")
    tta = results.study.get("ensemble", {}).get("tta")
    if pooling:
        sentences.append(f"Weights: {pooling}, fitted on val.")
    if tta:
        sentences.append(f"Test-time augmentation: {', '.join(map(_tta_name, tta))}.")
    header = ["teacher", "weight", *(["temperature"] if temperatures else [])]
    cells = [
        [name, short(str(weight)), *([short(str(temperatures.get(name, "")))] if temperatures else [])]
        for name, weight in weights.items()
    ]
    return section("Ensemble", " ".join(sentences), markdown_table(header, cells))


def _tta_name(member: object) -> str:
    return " ".join(map(str, member)) if isinstance(member, dict) else str(member)


def _per_teacher(content: Mapping[str, Any], what: str) -> dict[str, float]:
    """teacher → weight, from {"teachers": {teacher: {"weight": w}}}."""
    return {name: float(member[what]) for name, member in content.get("teachers", {}).items() if what in member}


def student_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    asked = results.study.get("student", {})
    if student is None:
        return ""
    sentences = []
    if asked.get("architecture"):
        views = results.study.get("soft_labels", {}).get("views")
        sentences.append(
            f"The student is {asked['architecture']} at {asked.get('input_px')} px, trained for "
            f"{plural(int(asked.get('epochs', 0)), 'epoch')} on the ensemble's probabilities"
            + (f" for {plural(views, 'stored view')} of every image." if views else ".")
        )
    if "hard_weight" in asked:
        sentences.append(f"In its loss the given label has the weight {asked['hard_weight']}.")
    taught = next((row for row in results.soft_labels if row["kind"] == "ensemble"), None)
    if taught and taught["accuracy"]:
        sentences.append(
            f"The soft labels agree with the given label for a share of {short(taught['accuracy'])} of the stored "
            f"views of train, and give it a mean probability of {short(taught['probability'])}."
        )
    compared = [row for row in results.comparisons if row["model"] == student["model"] and row["split"] == split]
    return section(
        "Distillation and student",
        " ".join(sentences),
        f"{student['model']} minus the other model, on the same images of {split}:" if compared else "",
        markdown_table(
            ["against", "accuracy", "macro precision", "only student right", "only other right", "McNemar p"],
            [_comparison_cells(row) for row in compared],
        )
        if compared
        else "",
    )


def _comparison_cells(row: Row) -> list[str]:
    return [
        row["other"],
        _difference(row, "accuracy_difference"),
        _difference(row, "precision_macro_difference"),
        row["only_model_right"],
        row["only_other_right"],
        "< 0.001" if number(row["mcnemar_p"]) < 0.001 else short(row["mcnemar_p"]),
    ]


def _difference(row: Row, column: str) -> str:
    texts = [short(row[f"{column}{end}"]) for end in ("", "_low", "_high")]
    value, low, high = (text if text.startswith("-") else f"+{text}" for text in texts)
    return f"{value} ({low} to {high})"


def export_section(results: ResultsFiles, base: Path) -> str:
    found = results.verification
    if not found:
        return ""
    sentences = []
    if "n" in found and "top1_agreement" in found:
        sentences.append(
            f"From image file to class, the ONNX file gives the PyTorch student's class for a share of "
            f"{short(str(found['top1_agreement']), 4)} of {plural(int(found['n']), 'image')}."
        )
    if is_number(found.get("max_abs_logit_difference")):
        sentences.append(f"The largest difference of a logit is {magnitude(found['max_abs_logit_difference'])}.")
    if found.get("batch_sizes"):
        sentences.append(f"Checked at {_batch_sizes(found['batch_sizes'], found.get('pictures_by_batch_size', {}))}.")
    if "passed" in found:
        sentences.append("The file passed." if found["passed"] else "**The file did not pass.**")
    card = results.folder / "export" / "MODEL_CARD.md"
    about = f"For its users: [the model card]({link(card, base)})." if card.is_file() else ""
    return section("The ONNX file", " ".join(sentences), _int8_sentences(results.int8), about)


def _batch_sizes(sizes: Sequence[int], images: Mapping[str, int]) -> str:
    """ "the batch sizes 1 (204 images), 7 (69) and 32 (24)"; older results contain the sizes alone."""
    if not all(str(size) in images for size in sizes):
        return f"the batch sizes {', '.join(map(str, sizes))}"
    first, *others = sizes
    told = [f"{first} ({plural(images[str(first)], 'image')})"]
    told += [f"{size} ({thousands(images[str(size)])})" for size in others]
    if not others:
        return f"the batch size {told[0]}"
    return f"the batch sizes {', '.join(told[:-1])} and {told[-1]}"


def _int8_sentences(found: Mapping[str, Any]) -> str:
    """Whether the int8 file is offered and why. The latency section has times measured beside all models."""
    if not found:
        return ""
    offered = "is offered" if found["offered"] else "is **not** offered"
    return (
        f"The int8 file {offered}: {found['why']}. On val it has an accuracy of {short(str(found['val_accuracy']))} "
        f"and fp32 {short(str(found['val_accuracy_fp32']))}; it has {found['file_mb']} MB. The two files were timed "
        f"in turns on {plural(int(found['threads']), 'CPU thread')}.{_profile_sentence(found)}"
    )


def _profile_sentence(found: Mapping[str, Any]) -> str:
    """Where int8 saves time; "" for a file from before it was profiled."""
    if "convolutions_ms" not in found:
        return ""
    before, after = found["convolutions_ms_fp32"], found["convolutions_ms"]
    left_before, left_after = (found[f"kernels_ms{ending}"] - part for ending, part in (("_fp32", before), ("", after)))
    return (
        f" On one thread the convolutions take {significant(before)} ms in fp32 and {significant(after)} ms in int8 "
        f"({before / after:.1f} times as fast) and all other operators, preprocessing included, "
        f"{significant(left_before)} ms and {significant(left_after)} ms (ONNX Runtime's profiler)."
    )


def provenance_section(results: ResultsFiles, base: Path) -> str:
    found = results.provenance
    labels = {"command": "Command", "commit": "Published at", "data_digest": "Data", "lock_digest": "Packages"}
    lines = [f"- {label}: `{found[key]}`" for key, label in labels.items() if isinstance(found.get(key), str)]
    built_by = found.get("stages_built_by")
    if built_by:
        lines.append(f"- Stages built by: {_builders(built_by)}")
    if seconds := found.get("seconds"):
        slowest = sorted(seconds, key=lambda stage: -seconds[stage])[:SLOWEST]
        said = ", ".join(f"{stage} {seconds[stage] / 60:.1f}" for stage in slowest)
        lines.append(f"- Minutes: {sum(seconds.values()) / 60:.0f} in all stages ({said})")
    return section("Provenance", "\n".join(lines)) if lines else ""


def _builders(built_by: Mapping[str, Sequence[str]]) -> str:
    """ "`abc` (clean, teachers), `def+` (export; changed checkout)": commits with the stages that their code built."""
    commits_of: dict[str, set[str]] = {}
    for commit, stages in built_by.items():
        for stage in stages:
            commits_of.setdefault(stage.partition("/")[0], set()).add(commit)

    def short_name(stage: str) -> str:
        """ "teachers" for "teachers/lite1", where one commit built all of them."""
        family = stage.partition("/")[0]
        return family if len(commits_of[family]) == 1 else stage

    said = []
    for commit, stages in built_by.items():
        names = ", ".join(dict.fromkeys(map(short_name, stages)))
        said.append(f"`{commit or 'unknown'}` ({names}{'; changed checkout' if commit.endswith('+') else ''})")
    return ", ".join(said)
