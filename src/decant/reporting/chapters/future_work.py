"""Future Work: the weaknesses that the tables show, the greatest first; nothing else."""

from collections.abc import Iterator
from pathlib import Path

from decant.evaluation.markdown import plain, section
from decant.evaluation.tables import difference, joined, number, plural, points, short, thousands
from decant.reporting.appendix.precision import FEW_IMAGES
from decant.reporting.paired import distillation_gain, paired, sign_of
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    confusion_rows,
    int8_is_offered,
    main_split,
    student_row,
)

WEAKEST = 3  # classes and confusions that are named
LOW_RECALL = 0.9  # a class above is not weak
OPEN = ("suggest", "review")  # actions that wait for a person


def future_work(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return ""
    lines = [
        *_weak_classes(results, student["model"], split),
        *_labels(results),
        *_gap(results, student["model"], split),
        *_evidence(results, student, split),
        *_refused(results, student["model"], split),
        *_int8(results),
    ]
    return section("Future Work", "\n".join(f"- {line}" for line in lines))


def _weak_classes(results: ResultsFiles, model: str, split: str) -> Iterator[str]:
    rows = [row for row in results.per_class if (row["model"], row["split"]) == (model, split)]
    weak = sorted(
        (row for row in rows if int(row["n"]) >= FEW_IMAGES and number(row["recall"]) < LOW_RECALL),
        key=lambda row: number(row["recall"]),
    )[:WEAKEST]
    if weak:
        names = joined([f"{plain(row['class'])} ({short(row['recall'])} of {row['n']})" for row in weak])
        commonest = _commonest_confusions(confusion_rows(results, model))
        mistaken = f" The commonest mistakes: {joined(commonest)}." if commonest else ""
        yield f"More images of the classes with the lowest recall: {names}.{mistaken}"


def _commonest_confusions(rows: list[Row]) -> list[str]:
    """ "Coupe taken for Convertible (11)": a label, the prediction and how often, the commonest first."""
    first = confusions(rows)[:WEAKEST]
    return [f"{plain(target)} taken for {plain(predicted)} ({count})" for count, target, predicted in first]


def confusions(rows: list[Row]) -> list[tuple[int, str, str]]:
    """(images, label, prediction) of all wrong predictions of a confusion matrix, the commonest first."""
    pairs = [
        (int(count), row["target"], predicted)
        for row in rows
        for predicted, count in row.items()
        if predicted not in ("target", row["target"]) and count.isdecimal() and int(count)
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _labels(results: ResultsFiles) -> Iterator[str]:
    """A sentence on suspect labels that wait for a decision by a person."""
    actions = results.clean_metrics.get("issue_actions", {}).get("label", {})
    waiting = sum(actions.get(action, 0) for action in OPEN)
    if waiting:
        yield f"A check by a person of the {plural(waiting, 'label')} in doubt that cleaning only listed."


def _gap(results: ResultsFiles, model: str, split: str) -> Iterator[str]:
    row = paired(results, model, "ensemble", split)
    if row and sign_of(row) < 0:
        yield (
            f"A larger student or more stored views: accuracy minus that of the ensemble is "
            f"{difference(row, 'accuracy_difference')}."
        )


def _evidence(results: ResultsFiles, student: Row, split: str) -> Iterator[str]:
    """Sentences on where more images or more seeds would give clearer results."""
    width = points(student.get("accuracy_low"), student.get("accuracy_high"))
    yield (
        f"More labelled images of {split}: with {thousands(int(student['n']))} the interval of the accuracy is {width} "
        "points wide."
    )
    few = [
        row["class"]
        for row in results.per_class
        if (row["model"], row["split"]) == (student["model"], split) and int(row["n"]) < FEW_IMAGES
    ]
    if few:
        yield (
            f"{plural(len(few), 'class has', 'classes have')} fewer than {FEW_IMAGES} images of {split}, too few for "
            "figures per class."
        )
    row = distillation_gain(results, split)
    if row and not results.arms:
        unclear = "" if sign_of(row) else ", and its interval contains zero"
        yield (
            f"More seeds of student and twin (`benchmarks/distillation.py`): their difference rests on one training of "
            f"each{unclear}."
        )
    single_seed = [row["change"] for row in results.effects if row["val_accuracy_difference"] and int(row["seeds"]) < 2]
    if single_seed:
        changes = joined([plain(change) for change in single_seed])
        yield f"More seeds of the changes that were tried with one: {changes}."


def _refused(results: ResultsFiles, model: str, split: str) -> Iterator[str]:
    for row in results.accept:
        if (row["model"], row["split"]) == (model, split) and number(row["share_accepted"]) < LOW_RECALL:
            refused = int(row["n"]) - int(row["accepted"])
            yield (
                f"Fewer refusals: {thousands(refused)} of {plural(int(row['n']), 'image')} of {split} are below the "
                f"thresholds for a precision of {short(row['accept_precision'])}."
            )


def _int8(results: ResultsFiles) -> Iterator[str]:
    if results.int8 and not int8_is_offered(results):
        yield f"An int8 file that can be offered; this one is not: {results.int8['why']}."
