"""Abstract: method and results in fewer than 150 words."""

from pathlib import Path

from decant.evaluation.markdown import plain, section
from decant.evaluation.tables import difference, joined, plural, thousands, with_interval
from decant.reporting.paired import distillation_gain, shown_by
from decant.reporting.results_files import (
    ResultsFiles,
    images_text,
    main_split,
    of_kind,
    owner,
    pooled_teachers,
    reported_latency,
    student_row,
)

FEWER_WORDS_THAN = 150


def abstract(results: ResultsFiles, base: Path) -> str:
    """The sentences in order of their weight, as many as fit; "" without scores."""
    return section("Abstract", " ".join(fitting([*_method(results), *_outcome(results)], FEWER_WORDS_THAN)))


def fitting(sentences: list[str], fewer_than: int) -> list[str]:
    """The first sentences that together have fewer than `fewer_than` words."""
    first: list[str] = []
    for sentence in sentences:
        if len(" ".join([*first, sentence]).split()) >= fewer_than:
            break
        first.append(sentence)
    return first


def _method(results: ResultsFiles) -> list[str]:
    found, set_aside = (results.clean_metrics.get(key) for key in ("found", "set_aside"))
    teachers, left_out = pooled_teachers(results)
    sentences = []
    if results.class_counts and found:
        title = plain(results.title)
        sentences.append(
            f"{title}: {plural(found, 'image')} were cleaned ({thousands(set_aside or 0)} set aside), which left "
            f"{images_text(results)}."
        )
    if teachers:
        unused = f" ({joined(left_out)} got weight 0)" if left_out else ""
        names = f"The teachers {joined(teachers)} were pooled to an ensemble{unused}, whose"
        if len(teachers) == 1:
            names = f"The ensemble is the teacher {teachers[0]} alone{unused}; its"
        sentences.append(f"{names} soft labels taught a compact student beside the given labels.")
    return sentences


def _outcome(results: ResultsFiles) -> list[str]:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return []
    sentences = [
        f"The {owner(results)}'s exported file has an accuracy of {with_interval(student, 'accuracy')} and a macro "
        f"precision of {with_interval(student, 'precision_macro')} on {plural(int(student['n']), 'image')} of {split}."
    ]
    if ensemble := of_kind(results, "ensemble", split):
        sentences.append(f"The ensemble has an accuracy of {with_interval(ensemble, 'accuracy')}.")
    if row := distillation_gain(results, split):
        sentences.append(
            "The student's accuracy minus that of its twin, the same network trained on the given labels alone, is "
            f"{difference(row, 'accuracy_difference')}: {shown_by(row, 'the student', 'the twin')}."
        )
    if timing := reported_latency(results, student["model"]):
        sentences.append(
            f"The file takes {timing['p50_ms']} ms per image on {plural(int(timing['threads']), 'CPU thread')} "
            f"and has {timing['file_mb']} MB."
        )
    return sentences
