"""From random weights or from pretrained ones: the trained teachers of a study compared, with one figure."""

from collections.abc import Mapping
from pathlib import Path

from decant.evaluation.markdown import markdown_image
from decant.evaluation.tables import difference, minutes, number, plural, short, with_interval
from decant.reporting.paired import reversed_row
from decant.reporting.results_files import ResultsFiles, Row, best_teacher, main_split

COURSES_PNG = "teachers/courses.png"
RANDOM = "none"  # the weight source of random weights


def from_random_weights(results: ResultsFiles) -> dict[str, bool]:
    """Trained teacher -> True if it started from random weights. A teacher whose start is unknown is left out."""
    sources = results.provenance.get("weights", {})
    return {name: sources[name] == RANDOM for name in single_trainings(results) if name in sources}


def single_trainings(results: ResultsFiles) -> list[str]:
    """The teachers that were trained once. Of a teacher with folds, results have only the first fold's history."""
    teachers = results.study.get("teachers", {})
    return [
        name
        for name, rows in results.histories.items()
        if _is_complete(rows) and not teachers.get(name, {}).get("folds")
    ]


def courses(results: ResultsFiles) -> dict[str, list[tuple[float, float]]]:
    """Trained teacher -> after each epoch the minutes of training and the accuracy on val; {} for fewer than two.

    An epoch's share of the stage's time follows from its images per second.
    """
    seconds = results.provenance.get("seconds", {})
    teacher_courses = {
        name: _course(results.histories[name], seconds[f"teachers/{name}"] / 60)
        for name in single_trainings(results)
        if f"teachers/{name}" in seconds
    }
    return teacher_courses if len(teacher_courses) > 1 else {}


def _is_complete(rows: list[Row]) -> bool:
    """False for the history of a probe, which has no speed."""
    return all(row.get("val_accuracy") and number(row.get("images_per_second") or "0") > 0 for row in rows)


def _course(rows: list[Row], minutes: float) -> list[tuple[float, float]]:
    durations = [1 / number(row["images_per_second"]) for row in rows]
    done = [sum(durations[: i + 1]) / sum(durations) for i in range(len(rows))]
    return [(minutes * share, number(row["val_accuracy"])) for share, row in zip(done, rows, strict=True)]


def transfer_text(results: ResultsFiles, base: Path) -> list[str]:
    """The figure of all courses; before it a paragraph, if some teachers are pretrained and others are not."""
    return [
        _transfer_paragraph(results),
        markdown_image(results.folder / COURSES_PNG, base, "Accuracy against minutes"),
    ]


def _transfer_paragraph(results: ResultsFiles) -> str:
    starts, split = from_random_weights(results), main_split(results)
    pretrained = best_teacher(results, split, [name for name, random in starts.items() if not random])
    scratch = best_teacher(results, split, [name for name, random in starts.items() if random])
    if pretrained is None or scratch is None:
        return ""
    sentences = [
        f"The best teacher on val with pretrained weights, {pretrained['model']}, has an accuracy of "
        f"{with_interval(pretrained, 'accuracy')} on {split}{_cost(results, pretrained['model'])}.",
        f"The best from random weights, {scratch['model']}, has {with_interval(scratch, 'accuracy')}"
        f"{_cost(results, scratch['model'])}.",
    ]
    sentences += _difference(results, pretrained["model"], scratch["model"], split)
    sentences += _first_epoch(
        results.histories, pretrained["model"], [name for name, random in starts.items() if random]
    )
    return " ".join(sentences)


def _cost(results: ResultsFiles, name: str) -> str:
    seconds = results.provenance.get("seconds", {}).get(f"teachers/{name}")
    epochs = plural(len(results.histories[name]), "epoch")
    return f" after {epochs}" + (f" and {minutes(seconds)} minutes" if seconds else "")


def _difference(results: ResultsFiles, first: str, second: str, split: str) -> list[str]:
    """A sentence on the paired comparison of two teachers; [] without one."""
    for row in results.comparisons:
        if row["split"] != split or {row["model"], row["other"]} != {first, second}:
            continue
        comparison = row if row["model"] == first else reversed_row(row)
        low, high = (number(comparison[f"accuracy_difference_{end}"]) for end in ("low", "high"))
        if low <= 0 <= high:
            verdict = "the images do not show which of the two is better"
        else:
            verdict = f"{first if low > 0 else second} is better on these images"
        return [f"The difference on the same images is {difference(comparison, 'accuracy_difference')}: {verdict}."]
    return []


def _first_epoch(histories: Mapping[str, list[Row]], pretrained: str, scratch: list[str]) -> list[str]:
    """A sentence on the first epoch of pretrained weights, and on when random weights reach its accuracy."""
    first = number(histories[pretrained][0]["val_accuracy"])
    reached = {
        name: next((int(row["epoch"]) for row in histories[name] if number(row["val_accuracy"]) >= first), None)
        for name in scratch
    }
    texts = [f"{name} {_when(epoch)}" for name, epoch in reached.items()]
    return [
        f"After its first epoch {pretrained} has {short(str(first))} on val. Teachers from random weights reach that: "
        f"{', '.join(texts)}."
    ]


def _when(epoch: int | None) -> str:
    return f"after {plural(epoch, 'epoch')}" if epoch else "never"
