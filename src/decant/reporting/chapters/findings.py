"""Results and Key Findings: the scores, and what the paired comparisons show."""

from collections.abc import Iterator
from pathlib import Path

from decant.evaluation.markdown import figure_row, markdown_table, section
from decant.evaluation.referee import choice_text
from decant.evaluation.tables import difference, plural, short, with_interval
from decant.reporting.figures import PARETO_PNG, confusion_png
from decant.reporting.paired import distillation_gain, paired, shown_by
from decant.reporting.pictures import ACTIVATION, CAPTIONS, WORST
from decant.reporting.referee import MEANING
from decant.reporting.results_files import (
    ResultsFiles,
    headline_rows,
    int8_is_offered,
    main_split,
    most_accurate_teacher,
    of_kind,
    owner,
    plain_teachers,
    reported_latency,
    student_row,
    transductive_text,
)

SCORES = {
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "f1_macro": "macro F1",
    "map_macro": "mAP",
}


def findings(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return ""
    model = student["model"]
    return section(
        "Results and Key Findings",
        _answer(results, split),
        scores_table(results, split),
        "\n".join(f"- {finding}" for finding in key_findings(results, split)),
        figure_row(
            base,
            {
                f"Confusion matrix of {model} on {split}": results.folder / confusion_png(model),
                "Accuracy against latency; area: file size": results.folder / PARETO_PNG,
            },
        ),
        figure_row(
            base,
            {
                CAPTIONS[WORST]: results.folder / WORST,
                CAPTIONS[ACTIVATION]: results.folder / ACTIVATION,
            },
        ),
        _uncertainty(results, split),
    )


def _answer(results: ResultsFiles, split: str) -> str:
    student = student_row(results, split)
    if student is None:
        return ""
    form = "ONNX file" if student["kind"].startswith("student_onnx") else "network"
    sentences = [
        f"The {owner(results)}'s {form} has an accuracy of {with_interval(student, 'accuracy')} on "
        f"{plural(int(student['n']), 'image')} of {split}."
    ]
    if timing := reported_latency(results, student["model"]):
        sentences.append(
            f"Its median time per image is {timing['p50_ms']} ms on {plural(int(timing['threads']), 'CPU thread')}, "
            f"its size {timing['file_mb']} MB."
        )
    return " ".join(sentences)


def scores_table(results: ResultsFiles, split: str) -> str:
    """The teachers, the other models of the headline and the int8 file, if it is offered, with every metric."""
    rows = [row for row in plain_teachers(results) if row["split"] == split]
    rows += [row for row in headline_rows(results, split) if row not in rows]
    distilled, int8 = (of_kind(results, kind, split) for kind in ("student", "student_onnx_int8"))
    rows += [distilled] if distilled and owner(results) == "twin" else []
    rows += [int8] if int8 and int8_is_offered(results) and int8 not in rows else []
    cells = []
    for row in rows:
        timing = reported_latency(results, row["model"]) or {}
        times = [timing.get("p50_ms") or "–", timing.get("file_mb") or "–"]
        cells.append([row["model"], with_interval(row, "accuracy"), *(short(row.get(name)) for name in SCORES), *times])
    return markdown_table(["model", f"{split} accuracy (95 %)", *SCORES.values(), "p50 ms", "MB"], cells)


def key_findings(results: ResultsFiles, split: str) -> Iterator[str]:
    """Sentences that each rest on a paired comparison or on a threshold that was chosen on val."""
    student = student_row(results, split)
    if student is None:
        return
    yield from _teachers(results, split)
    yield from _twin(results, split)
    if row := paired(results, student["model"], "ensemble", split):
        yield (
            f"{student['model']} minus the ensemble: {difference(row, 'accuracy_difference')}; "
            f"{shown_by(row, student['model'], 'the ensemble')}."
        )
    if (row := paired(results, student["model"], "student_onnx_int8", split)) and results.int8:
        offered = "offered" if int8_is_offered(results) else "not offered"
        yield (
            f"{student['model']} minus the int8 file: {difference(row, 'accuracy_difference')}; "
            f"{shown_by(row, 'fp32', 'int8')}. The int8 file is {offered}: {results.int8.get('why')}."
        )
    for row in results.accept:
        if (row["model"], row["split"]) == (student["model"], split):
            yield (
                f"With its thresholds the file accepts a share of {short(row['share_accepted'])} of {split}, with a "
                f"precision of {with_interval(row, 'precision')} (asked for: {short(row['accept_precision'])})."
            )


def _teachers(results: ResultsFiles, split: str) -> Iterator[str]:
    """The ensemble beside the most accurate teacher, and how it was pooled."""
    best = most_accurate_teacher(results, split)
    row = paired(results, "ensemble", best["model"], split) if best else None
    pooling = results.weights.get("pooling")
    pooled = f" Its teachers are pooled by `{pooling}`." if pooling else ""
    if best and row:
        yield (
            f"Ensemble minus {best['model']}, the most accurate teacher on val: "
            f"{difference(row, 'accuracy_difference')}; {shown_by(row, 'the ensemble', best['model'])}.{pooled}"
        )


def _twin(results: ResultsFiles, split: str) -> Iterator[str]:
    """Sentences on distillation: the gain of this training, what is shipped, and the referee's verdict over seeds."""
    if row := distillation_gain(results, split):
        yield (
            f"Distillation, the student minus its twin: {difference(row, 'accuracy_difference')} with one training of "
            f"each; {shown_by(row, 'the student', 'the twin')}."
        )
    if results.choice:
        yield choice_text(results.choice)
    primary = next((row for row in results.arm_comparisons if row["primary"] == "true"), None)
    if primary:
        yield (
            f"The referee over {plural(int(primary['seeds']), 'seed')}: {difference(primary, 'accuracy_difference')}. "
            f"{MEANING.get(primary['verdict'], '')}"
        )


def _uncertainty(results: ResultsFiles, split: str) -> str:
    sentences = [
        "Intervals are 95 % bootstrap intervals for another sample of images; they do not include the variation "
        "between training seeds."
    ]
    if split != "test":
        sentences.append(f"There is no labelled test split; the numbers are for {split}.")
    if results.study.get("soft_labels", {}).get("transductive"):
        sentences.append(transductive_text(results))
    if results.study.get("final") == "refit":
        sentences.append("The submissions come from refitted models, whose accuracy cannot be measured.")
    if unreadable := results.clean_metrics.get("splits_set_aside", {}).get("predict"):
        sentences.append(
            f"{plural(unreadable, 'image')} to predict cannot be read; the submissions give the most frequent class of "
            "train for each."
        )
    return " ".join(sentences)
