"""The section on whether distillation paid: the arms of `benchmarks/distillation.py` and the verdict."""

from pathlib import Path
from statistics import fmean

from decant.evaluation.markdown import markdown_table, section
from decant.evaluation.tables import cell, difference, minutes, number, plural, short
from decant.reporting.results_files import ResultsFiles, Row

ARMS = {
    "student": "soft labels of stored views, from teachers that did not train on the image if they have folds",
    "student_alone": "given labels alone",
    "label_smoothing": "given labels, smoothed by 0.1",
    "self_distillation": "soft labels of the student's own network",
    "online": "soft labels of new views, by teachers beside the student",
    "frozen": "one soft label per image",
    "student_in_sample": "as student, from teachers that trained on the image",
    "student_unlabelled": "as student, and images without a label",
}
MEANING = {
    "distil": "Distillation pays: the interval is above zero.",
    "do not distil": "Distillation does not pay: the interval is below zero, or too close to it to matter.",
    "not enough evidence": "That is not enough evidence: more seeds are needed.",
}


def referee_section(results: ResultsFiles, base: Path) -> str:
    settings = dict.fromkeys(row["setting"] for row in results.arm_comparisons)
    parts = [part for setting in settings for part in _of_setting(results, setting, len(settings) > 1)]
    return section("Does distillation pay?", *parts) if parts else ""


def _of_setting(results: ResultsFiles, setting: str, named: bool) -> list[str]:
    """The verdict and the table of one setting. named: the sentence names the setting."""
    compared = {row["other"]: row for row in results.arm_comparisons if row["setting"] == setting}
    rows = [row for row in results.arms if row["setting"] == setting]
    primary = next((row for row in compared.values() if row["primary"] == "true"), None)
    if primary is None or not rows:
        return []
    where = f"Setting {setting}: over" if named else "Over"
    sentences = [
        f"{where} {plural(int(primary['seeds']), 'seed')} of {rows[0]['student']} (weights: {rows[0]['init']}), with "
        f"{_steps(rows)} steps each, the accuracy of the student minus that of its twin is "
        f"{difference(primary, 'accuracy_difference')} on test. The interval covers other seeds of both and other "
        "images, for these teachers; another training of the teachers would vary further.",
        MEANING[primary["verdict"]],
        f"The teachers and their labels took {short(primary['teacher_minutes'], 1)} minutes.",
    ]
    header = ["arm", "learns", "seeds", "views", "val", "accuracy", "NLL", "minutes", "student minus it"]
    table = [_cells(name, [row for row in rows if row["arm"] == name], compared.get(name)) for name in _arms(rows)]
    return [" ".join(sentences), markdown_table(header, table, left=2)]


def _steps(rows: list[Row]) -> str:
    """ "300", or "298 to 300" where the arms' last epochs end at different steps."""
    low, high = (limit(int(row["steps"]) for row in rows) for limit in (min, max))
    return str(low) if low == high else f"{low} to {high}"


def _arms(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows))


def _cells(name: str, rows: list[Row], compared: Row | None) -> list[str]:
    """Means over the seeds of an arm."""

    def mean(column: str) -> str:
        return short(cell(column, fmean(number(row[column]) for row in rows)))

    return [
        name,
        ARMS.get(name, ""),
        str(len(rows)),
        rows[0]["views"],
        *(mean(column) for column in ("val_accuracy", "accuracy", "nll")),
        minutes(fmean(number(row["wall_s"]) for row in rows)),
        difference(compared, "accuracy_difference") if compared else "–",
    ]
