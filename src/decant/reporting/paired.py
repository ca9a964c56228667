"""Paired comparisons of two models on the same images, and what their intervals show."""

from decant.evaluation.tables import number
from decant.reporting.results_files import ResultsFiles, Row, owner

DIFFERENCE = "accuracy_difference"


def paired(results: ResultsFiles, model: str, other: str, split: str) -> Row | None:
    """The comparison `model` minus `other`, turned round where the table has it the other way; None without one."""
    for row in results.comparisons:
        if row["split"] == split and (row["model"], row["other"]) == (model, other):
            return row
        if row["split"] == split and (row["model"], row["other"]) == (other, model):
            return reversed_row(row)
    return None


def distillation_gain(results: ResultsFiles, split: str) -> Row | None:
    """The student minus its twin; in results of older versions, which ship the student, its file minus the twin."""
    row = paired(results, "student", "student_alone", split)
    if row is None and owner(results) == "student":
        row = paired(results, "student_onnx", "student_alone", split)
    return row


def sign_of(row: Row, column: str = DIFFERENCE) -> int:
    """1 or -1 if the interval is above or below zero; 0 if it contains zero."""
    low, high = (number(row[f"{column}_{end}"]) for end in ("low", "high"))
    return 1 if low > 0 else -1 if high < 0 else 0


def shown_by(row: Row, model: str, other: str) -> str:
    """ "the student is better", or that neither is shown to be."""
    sign = sign_of(row)
    return f"{model if sign > 0 else other} is better" if sign else "neither is shown to be better"


def reversed_row(row: Row) -> Row:
    """The same comparison seen from the other model."""
    value, low, high = (0.0 - number(row[f"{DIFFERENCE}{end}"]) for end in ("", "_low", "_high"))
    return {
        **row,
        "model": row["other"],
        "other": row["model"],
        DIFFERENCE: str(value),
        f"{DIFFERENCE}_low": str(high),
        f"{DIFFERENCE}_high": str(low),
        "only_model_right": row["only_other_right"],
        "only_other_right": row["only_model_right"],
    }
