"""Model Architecture: what the networks are, why these, and what that is worth for the task."""

from pathlib import Path

from decant.evaluation.markdown import markdown_table, section
from decant.evaluation.tables import joined, plural, ratio
from decant.reporting.reasons import NETWORK_KEYS, networks, shared_reasons
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    comparable,
    main_split,
    of_kind,
    owner,
    pooled_teachers,
    reported_latency,
    size_of,
    student_row,
)

KINDS = {"finetune": "all weights trained", "probe": "linear probe"}


def architecture(results: ResultsFiles, base: Path) -> str:
    sections = networks(results.study)
    if not sections:
        return ""
    return section(
        "Model Architecture",
        _answer(results),
        markdown_table(
            ["network", "architecture", "start", "training", "px", "10⁶ weights", "10⁹ multiply-adds", "MB"],
            [_cells(results, name) for name in sections],
            left=4,
        ),
        "\n".join(shared_reasons(results.study, only=NETWORK_KEYS)),
    )


def _answer(results: ResultsFiles) -> str:
    """Sentences on the exported network, and on the time and size that it saves beside the ensemble."""
    settings, (teachers, _) = results.study.get("student", {}), pooled_teachers(results)
    sentences = []
    if settings.get("architecture"):
        size = size_of(results, "student")
        sentences.append(f"The exported network, the {owner(results)}, is a {settings['architecture']} of {size} px.")
    if teachers:
        article = "an ensemble of " if len(teachers) > 1 else ""
        sentences.append(f"The student's teacher is {article}{joined(teachers)}.")
    split = main_split(results)
    student, ensemble = student_row(results, split), of_kind(results, "ensemble", split)
    student_timing = reported_latency(results, student["model"]) if student else None
    timing = reported_latency(results, ensemble["model"]) if ensemble else None
    if student_timing and timing and comparable(student_timing, timing):
        sentences.append(
            f"The ensemble takes {ratio(timing['p50_ms'], student_timing['p50_ms'])} times as long per image, and its "
            f"files are {ratio(timing['file_mb'], student_timing['file_mb'])} times as large."
        )
    return " ".join(sentences)


def _cells(results: ResultsFiles, name: str) -> list[str]:
    settings = networks(results.study)[name]
    timing = _timing(results, name) or {}
    folds = settings.get("folds") or 0
    training = KINDS.get(str(settings.get("kind", "finetune")), "–")
    if settings.get("frozen_layers"):
        training = f"first {settings['frozen_layers']:.0%} of the layers frozen"
    start = "random weights" if settings.get("weights") == ["none"] else "pretrained"
    return [
        name,
        str(settings.get("architecture", "–")),
        start,
        f"{training}, {plural(folds, 'fold')}" if folds else training,
        size_of(results, name),
        timing.get("params_millions") or "–",
        timing.get("gmacs") or "–",
        timing.get("file_mb") or "–",
    ]


def _timing(results: ResultsFiles, name: str) -> Row | None:
    if name != "student":
        return reported_latency(results, name)
    row = student_row(results, main_split(results))
    return reported_latency(results, row["model"]) if row else None
