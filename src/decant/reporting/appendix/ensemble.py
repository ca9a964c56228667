"""The ensemble."""

from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.markdown import markdown_table, section
from decant.evaluation.tables import difference, short, with_interval
from decant.reporting.results_files import ResultsFiles, Row, best_teacher, main_split, of_kind


def ensemble_section(results: ResultsFiles, base: Path) -> str:
    teachers = results.weights.get("teachers", {})
    if not teachers:
        return ""
    gains = {row["teacher"]: difference(row, "gain") for row in results.contributions}
    header = ["teacher", "weight", "temperature", *(["gain"] if gains else [])]
    cells = [
        [
            name,
            short(str(entry["weight"])),
            short(str(entry["temperature"])) if "temperature" in entry else "–",
            *([gains.get(name, "–")] if gains else []),
        ]
        for name, entry in teachers.items()
    ]
    return section(
        "Ensemble",
        " ".join(_ensemble_sentences(results)),
        markdown_table(header, cells),
        "gain: how much higher the NLL on val is without the teacher." if gains else "",
        *_pooling_table(results.pooling),
        " ".join(_likeness(row) for row in results.diversity),
    )


def _ensemble_sentences(results: ResultsFiles) -> list[str]:
    split = main_split(results)
    row, best = of_kind(results, "ensemble", split), best_teacher(results, split)
    sentences = []
    if row:
        sentences.append(f"The ensemble has an accuracy of {with_interval(row, 'accuracy')} on {split}")
        if best:
            accuracy = with_interval(best, "accuracy")
            sentences[-1] += f"; {best['model']}, the best single teacher by the study's metric on val, has {accuracy}"
            sentences[-1] += _paired_difference(results, best["model"], split)
        sentences[-1] += "."
    pooling, tta = (results.study.get("ensemble", {}).get(key) for key in ("pooling", "tta"))
    if pooling := results.weights.get("pooling", pooling):
        sentences.append(f"Pooling: {pooling}; weights and temperatures are fitted on val.")
    if "temperature" in results.weights:
        sentences.append(f"The temperature after pooling is {short(str(results.weights['temperature']))}.")
    if tta:
        sentences.append(f"Test-time augmentation: {', '.join(map(_tta_name, tta))}.")
    return sentences


def _paired_difference(results: ResultsFiles, teacher: str, split: str) -> str:
    """The ensemble minus a teacher on the same images; "" in results of older versions."""
    for row in results.comparisons:
        if (row["model"], row["other"], row["split"]) == ("ensemble", teacher, split):
            return f" (paired difference {difference(row, 'accuracy_difference')})"
    return ""


def _pooling_table(rows: Sequence[Row]) -> list[str]:
    """The ways of pooling beside each teacher alone."""
    if not rows:
        return []
    cells = [
        [
            f"{row['model']}, alone" if row["kind"] == "teacher" else row["model"],
            short(row["val_accuracy"]),
            short(row["val_nll"]),
            "chosen" if row["chosen"] == "true" else difference(row, "val_nll_difference"),
        ]
        for row in rows
    ]
    return [
        "Ways of pooling and single teachers, compared on val by cross-validation. Differences are to the chosen pool:",
        markdown_table(["pool or teacher", "val accuracy", "val NLL", "difference of NLL"], cells),
    ]


def _likeness(row: Row) -> str:
    return (
        f"{row['teacher']} and {row['other']} predict the same class for a share of {short(row['agreement'])} of val; "
        f"both are wrong for {short(row['both_wrong'])}."
    )


def _tta_name(member: object) -> str:
    return " ".join(map(str, member)) if isinstance(member, dict) else str(member)
