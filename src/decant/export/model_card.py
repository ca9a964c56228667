"""The model card beside an exported file, in Hugging Face's format, made from the file's metadata.

Format: https://huggingface.co/docs/hub/model-cards (YAML between two lines of dashes, evaluation results as
`model-index`, then Markdown).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from decant.data.preprocessing import size_text
from decant.evaluation.markdown import markdown_table, paragraphs, plain, section
from decant.evaluation.referee import choice_text
from decant.evaluation.tables import cell, percent, plural, probability, with_interval

MEGABYTE = 1_000_000
MEASURES = {  # column of the precision table -> (name for people, Hugging Face's name of the metric or None)
    "accuracy": ("accuracy", "accuracy"),
    "precision_macro": ("macro precision", "precision"),
    "recall_macro": ("macro recall", "recall"),
    "f1_macro": ("macro F1", "f1"),
    "map_macro": ("mAP", None),
    "nll": ("NLL", None),
    "ece": ("ECE", None),
}
UNLICENSED = "No licence was stated when this file was made (`export.licence` of the study)."


def model_card(metadata: Mapping[str, str], file: Path, example: str) -> str:
    """The text of the card.

    metadata: of a full graph, with the keys `evaluation` and `accept`. example: a program that runs the file.
    """
    name = metadata["study"]
    scores = json.loads(metadata["evaluation"])
    classes = json.loads(metadata["classes"])
    title = metadata["title"] or name
    summary = (
        f"{plain(title)}: an image classifier for {len(classes)} classes in one ONNX file, `{file.name}` "
        f"({metadata['dtype']}, {cell('file_mb', file.stat().st_size / MEGABYTE)} MB), with its preprocessing inside."
    )
    return (
        f"---\n{front_matter(metadata, scores)}---\n\n"
        + paragraphs(
            f"# {plain(title)}",
            summary,
            section("Evaluation", evaluation_table(scores), EVALUATION_NOTE),
            section("Use", input_contract(metadata), f"```python\n{example.strip()}\n```"),
            section("Accepting a prediction", acceptance_text(json.loads(metadata["accept"])), ACCEPT_LIMITS),
            section("Classes", ", ".join(plain(label) for label in classes) + "."),
            section("Training", training_text(metadata)),
            section("Limits", LIMITS, cpu_text(metadata)),
            section("Licence", f"{metadata['licence']}." if metadata["licence"] else UNLICENSED),
        )
        + "\n"
    )


EVALUATION_NOTE = (
    "Measured on this file, from image file to class, one image per call. Choices were made on val; test was only "
    "reported. Intervals: 95 %, bootstrap over the images, near duplicates together; the effect of another training "
    "seed is not included."
)
ACCEPT_LIMITS = (
    "The precision holds for images like those of val, in its mixture of classes, and for all accepted predictions "
    "together: it may be lower for one class. The second threshold refuses images that are unlike those of train, and "
    "many that show none of the classes, but not all: a photo of no class can be accepted, with a class and a high "
    "probability. Do not rely on it where that does harm."
)
LIMITS = (
    "The model gives one of its classes for every image, also for an image that shows none of them. The scores hold "
    "for images like those of its training data. Probabilities were calibrated on val and hold for its mixture of "
    "classes."
)

LEARNED = {
    "student": "Distilled from an ensemble's probabilities for views of the training images",
    "student_alone": "Trained on the given labels of the training images alone",
}


def front_matter(metadata: Mapping[str, str], scores: Mapping[str, Mapping[str, float]]) -> str:
    """The YAML that Hugging Face reads; `license` is left out if the study has no licence."""
    name = metadata["study"]
    content: dict[str, Any] = {"license": metadata["licence"]} if metadata["licence"] else {}
    content |= {
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "onnx", "knowledge-distillation"],
        "metrics": [metric for _, metric in MEASURES.values() if metric],
        "model-index": [{"name": name, "results": [results_of(name, split, row) for split, row in scores.items()]}],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def results_of(name: str, split: str, row: Mapping[str, float]) -> dict[str, Any]:
    """One split's entry of the model index."""
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": name, "name": name, "split": split},
        "metrics": [
            {"type": metric, "name": label, "value": row[column]}
            for column, (label, metric) in MEASURES.items()
            if metric
        ],
    }


def evaluation_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """One row per measure, one column per split."""
    texts = {split: {column: cell(column, value) for column, value in row.items()} for split, row in scores.items()}
    header = ["", *(f"{split}, {plural(int(row['n']), 'image')}" for split, row in scores.items())]
    return markdown_table(
        header,
        [[label, *(with_interval(row, column) for row in texts.values())] for column, (label, _) in MEASURES.items()],
    )


def input_contract(metadata: Mapping[str, str]) -> str:
    """Name, type and meaning of the input, and the names of the outputs."""
    given, steps = json.loads(metadata["input"]), json.loads(metadata["preprocessing"])
    return (
        f"Input `{given['name']}`: {given['dtype']}, {given['channels']}, {given['layout']}; {given['orientation']}. "
        f"The graph {geometry_text(steps)} ({steps['interpolation']}), scales and normalises. Outputs: `probabilities` "
        "and `logits`. The file's metadata contain the classes and the content of this card."
    )


def acceptance_text(accept: Mapping[str, Any]) -> str:
    """When a prediction is accepted, and what val showed. accept: `Acceptance.to_dict()`."""
    wanted = percent(accept["accept_precision"])
    if not accept["accepted"]:
        return f"No prediction is accepted: no threshold has a precision of {wanted} on val. Every `accept` is false."
    evidence = (
        f"On val, {accept['correct']} of {accept['accepted']} accepted predictions are right "
        f"({percent(accept['precision'])}; with 95 % confidence, at least {percent(accept['precision_low'])}), and "
        f"{percent(accept['share_accepted'])} of {plural(accept['n'], 'image')} are accepted."
    )
    verdict = (
        f"This shows a precision of {wanted}."
        if accept["shown"]
        else f"**This does not show a precision of {wanted}**: val has too few images, or too few right predictions."
    )
    least = probability(accept["threshold"])
    return (
        f"A prediction is accepted if its highest probability is at least {least} and log(sum(exp(logits))) is at "
        f"least {accept['log_sum_threshold']:.3f}. {evidence} {verdict}"
    )


def geometry_text(steps: Mapping[str, Any]) -> str:
    """What the graph does with an image of any shape. steps: the metadata `preprocessing`."""
    size = f"{size_text(steps['input_px'])} px"
    crops = steps["crop_ratio"] != 1
    return {
        "crop": f"resizes the image with its aspect ratio kept, and crops the centre to {size}",
        "stretch": f"stretches the image to {size_text(steps['resize_px'])} px"
        + (f", and crops the centre to {size}" if crops else ", whatever its aspect ratio"),
        "pad": "resizes the image with its aspect ratio kept into "
        f"{size_text(steps['resize_px'])} px, and pads{' or crops' if crops else ''} it to {size} with grey",
    }[steps.get("fit", "crop")]


def cpu_text(metadata: Mapping[str, str]) -> str:
    """The processor that an int8 file was timed on; "" if the metadata contain none."""
    if "cpu" not in metadata:
        return ""
    cpu = json.loads(metadata["cpu"])
    sets = ", ".join(cpu["instruction_sets"]) or "unknown"
    return (
        f"Its speed was measured on one processor, {plain(cpu['processor'])} (instruction sets: {sets}), and may be "
        "different on another. Its answers do not depend on VNNI: no sum of 8-bit products can saturate."
    )


def training_text(metadata: Mapping[str, str]) -> str:
    """How the model was trained, why it was taken, and the digests that identify it and the student's teachers."""
    teachers, choice = json.loads(metadata["teachers"]), json.loads(metadata["choice"])
    rows = [
        [name, card["architecture"], card["weights"], card["fingerprint"], cell("weight", card["weight"])]
        for name, card in teachers.items()
    ]
    return paragraphs(
        f"{LEARNED[choice['shipped']]}, by decant {metadata['code_version']}. {choice_text(choice)} The teachers:",
        markdown_table(["teacher", "network", "started from", "fingerprint", "weight"], rows, left=4),
        f"Data {metadata['data_digest'][:16]}, cleaned {metadata['data']}, model {metadata['student']}, "
        f"code {metadata['code'] or 'unknown'}.",
    )
