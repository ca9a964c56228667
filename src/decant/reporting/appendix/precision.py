"""The appendix on results: precision, limits. Each is "" without its files."""

from collections.abc import Sequence
from pathlib import Path

from decant.evaluation.markdown import markdown_image, markdown_table, paragraphs, plain, section
from decant.evaluation.tables import joined, number, plural, points, short, thousands, with_interval
from decant.reporting.figures import ACCURACY_PNG, RELIABILITY_PNG, confusion_png
from decant.reporting.results_files import (
    ResultsFiles,
    Row,
    headline_rows,
    main_split,
    student_row,
    transductive_text,
)

MANY_CLASSES = 25
CALIBRATED_KINDS = ("ensemble", "student_onnx", "student_onnx_int8")
SUBSETS = {"all": "all", "with_duplicate": "with a duplicate", "without_duplicate": "without"}
FEW_IMAGES = 20  # with fewer images, a class's precision or an interval is not reliable


def precision_section(results: ResultsFiles, base: Path) -> str:
    if not results.precision:
        return ""
    student = student_row(results, main_split(results))
    model = student["model"] if student else ""
    return section(
        "Benchmarks: precision",
        _precision_table(results.precision),
        _calibration_sentence(results),
        markdown_image(results.folder / ACCURACY_PNG, base, "Accuracy of every model with its interval"),
        markdown_image(results.folder / confusion_png(model), base, f"Confusion matrix of {model}") if model else "",
        _per_class_table(results, model),
        markdown_image(results.folder / RELIABILITY_PNG, base, "Accuracy against confidence"),
        _near_duplicates(results),
        _accepted(results, model),
    )


def _precision_table(rows: Sequence[Row]) -> str:
    """A row per model and split."""
    intervals = {"accuracy": "accuracy", "precision_macro": "macro precision"}
    metrics = {
        "recall_macro": "macro recall",
        "f1_macro": "macro F1",
        "map_macro": "mAP",
        "nll": "NLL",
        "ece": "ECE",
        "agreement_with_ensemble": "agreement with ensemble",
    }
    cells = [
        [
            *(row[name] for name in ("model", "split", "n")),
            *(with_interval(row, name) for name in intervals),
            *(short(row.get(name)) for name in metrics),
        ]
        for row in rows
    ]
    return markdown_table(["model", "split", "n", *intervals.values(), *metrics.values()], cells, left=2)


def _calibration_sentence(results: ResultsFiles) -> str:
    """Which probabilities are calibrated: the columns NLL and ECE and one figure mix both kinds."""
    names = {row["model"]: row["kind"] for row in results.precision if row["kind"] in CALIBRATED_KINDS}
    if not names:
        return ""
    sentences = [
        "Compare NLL and ECE only among calibrated models or among uncalibrated ones.",
        f"The probabilities of {joined(list(names))} are calibrated with temperatures fitted on val; those of "
        "the other models are not calibrated.",
        "A temperature does not change the predictions of a single network, so its accuracy, precision, recall and F1 "
        "do not depend on it.",
    ]
    if "ensemble" in names.values():
        sentences.append(
            "The ensemble's temperatures are applied to its teachers before pooling and can change its predictions."
        )
    split = main_split(results)
    has_twin = any(row["kind"] == "student_alone" and row["split"] == split for row in results.reliability)
    if has_twin and (results.folder / RELIABILITY_PNG).is_file():
        sentences.append("The figure of accuracy against confidence shows student_alone uncalibrated.")
    return " ".join(sentences)


def _accepted(results: ResultsFiles, model: str) -> str:
    """How many predictions of the shipped student are accepted, and how many of these are right."""
    rows = [row for row in results.accept if (row["model"], row["split"]) == (model, main_split(results))]
    if not rows:
        return ""
    (row,) = rows
    wanted = short(row["accept_precision"])
    if row["accepted"] == "0":
        return f"No prediction of {model} on {row['split']} is accepted (precision {wanted} was asked for)."
    evidence = "showed that precision" if row["shown"] == "true" else "**did not show** that precision"
    return (
        f"{thousands(int(row['accepted']))} of {plural(int(row['n']), 'prediction')} of {model} on {row['split']} are "
        f"accepted ({short(row['share_accepted'])}): their highest probability is at least {row['threshold']}"
        f"{_log_sum(row)}. Their precision is {with_interval(row, 'precision')}. This was chosen on val for a "
        f"precision of {wanted}; val {evidence}."
    )


def _log_sum(row: Row) -> str:
    """The second threshold; results of older versions have none."""
    least = row.get("log_sum_threshold")
    return f" and log(sum(exp(logits))) at least {least}" if least else ""


def _near_duplicates(results: ResultsFiles) -> str:
    """Accuracy with and without the images that have a duplicate in train, for the models of the headline table."""
    split = main_split(results)
    rows = {(row["model"], row["subset"]): row for row in results.near_duplicates if row["split"] == split}
    models = [row["model"] for row in headline_rows(results, split) if (row["model"], "all") in rows]
    if not models:
        return ""
    counts = {subset: int(rows[models[0], subset]["n"]) for subset in SUBSETS}
    searched_near = results.study.get("clean", {}).get("near_duplicates", True)
    duplicate = "a near duplicate" if searched_near else "an exact duplicate"
    if not counts["with_duplicate"]:
        return f"No image of {split} has {duplicate} in train."
    in_train = rows[models[0], "with_duplicate"]
    return paragraphs(
        f"{thousands(counts['with_duplicate'])} of {plural(counts['all'], 'image')} of {split} had {duplicate} in "
        f"train before cleaning. Of these duplicates in train, {in_train['train_set_aside']} were set aside and "
        f"{in_train['train_kept']} were trained on. The accuracy with and without these images of {split}:",
        markdown_table(
            ["accuracy", *(f"{name} ({thousands(counts[subset])})" for subset, name in SUBSETS.items())],
            [[model, *(_subset_accuracy(rows[model, subset]) for subset in SUBSETS)] for model in models],
        ),
    )


def _subset_accuracy(row: Row) -> str:
    """Accuracy, without its interval if there are few images: if all are right, the interval would be 1 to 1."""
    return short(row["accuracy"]) if int(row["n"]) < FEW_IMAGES else with_interval(row, "accuracy")


def _per_class_table(results: ResultsFiles, model: str) -> str:
    split = main_split(results)
    rows = [row for row in results.per_class if row["model"] == model and row["split"] == split]
    if not rows:
        return ""
    listed = rows
    metric, metric_name = ("precision",) * 2 if results.study.get("metric") == "precision_macro" else ("f1", "F1")
    if len(rows) > MANY_CLASSES:
        listed = sorted((r for r in rows if int(r["n"])), key=lambda r: number(r[metric]))[:MANY_CLASSES]
    table = markdown_table(
        ["class", "images", "predicted", "precision", "recall", "F1", "average precision"],
        [
            [
                r["class"],
                r["n"],
                r["predicted"],
                *(short(r[name]) for name in ("precision", "recall", "f1", "average_precision")),
            ]
            for r in listed
        ],
    )
    which = "per class" if listed is rows else f"the {len(listed)} classes of {len(rows)} with the lowest {metric_name}"
    return paragraphs(f"{model} on {split}, {which}:", table)


def limits_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    student = student_row(results, split)
    if student is None:
        return ""
    width = points(student.get("accuracy_low"), student.get("accuracy_high"))
    lines = [
        f"With {plural(int(student['n']), 'image')} of {split}, the 95 % interval of the student's accuracy is {width} "
        "points wide. Smaller differences between two models need a paired comparison on the same images."
    ]
    if split != "test":
        lines.append(f"There is no labelled test split; the numbers are for {split}.")
    few = [r["class"] for r in results.per_class if _is_few(r, student["model"], split)]
    if few:
        names = joined([*map(plain, few[:8]), *(["others"] if len(few) > 8 else [])])
        lines.append(
            f"Numbers per class are uncertain for classes with fewer than {FEW_IMAGES} images of {split}: {names}."
        )
    if results.study.get("soft_labels", {}).get("transductive"):
        lines.append(transductive_text(results))
    if results.study.get("final") == "refit":
        lines.append(
            "The submissions come from models that were trained once more, with the same recipes, on all labelled "
            "images, val and test included. The accuracy of those models cannot be measured: no labelled image is left "
            "that they have not seen. All numbers of this report are those of the models before."
        )
    if results.latency:
        lines.append("Times were measured on the CPU of one machine; on another machine the order may differ.")
    lines.append("The intervals come from resampling images; they do not include the variation between training seeds.")
    return section("Limits", "\n".join(f"- {line}" for line in lines))


def _is_few(row: Row, model: str, split: str) -> bool:
    return row["model"] == model and row["split"] == split and int(row["n"]) < FEW_IMAGES
