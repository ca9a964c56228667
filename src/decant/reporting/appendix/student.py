"""The student."""

from pathlib import Path

from decant.evaluation.markdown import markdown_image, markdown_table, section
from decant.evaluation.referee import choice_text
from decant.evaluation.tables import difference, number, plural, short
from decant.reporting.figures import curves_png
from decant.reporting.results_files import ResultsFiles, Row, in_first_and_last_epoch, main_split, size_of, student_row


def student_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return ""
    compared = [row for row in results.comparisons if row["model"] == student["model"] and row["split"] == split]
    return section(
        "Distillation and student",
        " ".join(_student_sentences(results)),
        choice_text(results.choice) if results.choice else "",
        _primary_sentence(results, split),
        *(
            markdown_image(results.folder / curves_png(name), base, f"Learning curves of {name}")
            for name in results.student_histories
        ),
        f"{student['model']} minus each other model, on the same images of {split}:" if compared else "",
        markdown_table(
            ["other model", "accuracy", "macro precision", "only student right", "only other right", "McNemar p"],
            [_comparison_cells(row) for row in compared],
        )
        if compared
        else "",
    )


def _student_sentences(results: ResultsFiles) -> list[str]:
    """The student's network and training, and how its soft labels agree with the given labels."""
    settings = results.study.get("student", {})
    sentences = []
    if settings.get("architecture"):
        views, mode = results.study.get("soft_labels", {}).get("views"), settings.get("mode", "replay")
        labelled = {"online": " for new views in each epoch", "frozen": ", one per image"}.get(mode, "")
        sentences.append(
            f"The student is a {settings['architecture']} with an input of {size_of(results, 'student')} px. It was "
            f"trained for {plural(int(settings.get('epochs', 0)), 'epoch')} on the ensemble's soft labels"
            + (f" for {plural(views, 'stored view')} per image." if views and mode == "replay" else f"{labelled}.")
        )
    if "hard_weight" in settings:
        first, last = in_first_and_last_epoch(settings["hard_weight"])
        changes = f" in the first epoch and {last} in the last one" if first != last else ""
        sentences.append(f"The weight of the given label in its loss is {first}{changes}.")
    soft = next((row for row in results.soft_labels if row["kind"] == "ensemble"), None)
    if soft and soft["accuracy"]:
        sentences.append(
            f"In a share of {short(soft['accuracy'])} of the stored views of train, the most probable class of the "
            f"soft label is the given label; the mean probability of the given label is {short(soft['probability'])}."
        )
    return sentences


def _primary_sentence(results: ResultsFiles, split: str) -> str:
    """A sentence on the primary comparison, which was fixed before any result was seen; "" without one."""
    for row in results.comparisons:
        if row.get("primary") == "true" and row["split"] == split:
            return (
                f"The primary comparison is that of the student with its twin: the difference in accuracy on {split} "
                f"is {difference(row, 'accuracy_difference')}, with one training of each. All other comparisons are "
                "exploratory."
            )
    return ""


def _comparison_cells(row: Row) -> list[str]:
    return [
        row["other"],
        difference(row, "accuracy_difference"),
        difference(row, "precision_macro_difference"),
        row["only_model_right"],
        row["only_other_right"],
        "< 0.001" if number(row["mcnemar_p"]) < 0.001 else short(row["mcnemar_p"]),
    ]
