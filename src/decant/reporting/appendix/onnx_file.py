"""The exported file and its int8 version."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decant.evaluation.markdown import link, section
from decant.evaluation.tables import is_number, joined, magnitude, plural, short, significant, thousands
from decant.reporting.results_files import ResultsFiles


def export_section(results: ResultsFiles, base: Path) -> str:
    checked = results.verification
    if not checked:
        return ""
    sentences = []
    if "passed" in checked:
        sentences.append(f"The file {'passed' if checked['passed'] else '**did not pass**'} verification.")
    if "n" in checked and "top1_agreement" in checked:
        sentences.append(
            f"From image file to class, it predicts the same class as the PyTorch student for a share of "
            f"{short(str(checked['top1_agreement']), 4)} of {plural(int(checked['n']), 'image')}."
        )
    if is_number(checked.get("max_abs_logit_difference")):
        sentences.append(f"The largest difference of a logit is {magnitude(checked['max_abs_logit_difference'])}.")
    if sizes := checked.get("batch_sizes"):
        sentences.append(f"Batch sizes checked: {_batch_sizes(sizes, checked.get('pictures_by_batch_size', {}))}.")
    card = results.folder / "export" / "MODEL_CARD.md"
    about = f"For users of the file: [model card]({link(card, base)})." if card.is_file() else ""
    return section("The ONNX file", " ".join(sentences), _int8_sentences(results.int8), about)


def _batch_sizes(sizes: Sequence[int], images: Mapping[str, int]) -> str:
    """ "1 (204 images), 7 (69) and 32 (24)"; without counts "1, 7 and 32"."""
    if not all(str(size) in images for size in sizes):  # results of an older version have no counts
        return joined([str(size) for size in sizes])
    first, *others = sizes
    texts = [f"{size} ({thousands(images[str(size)])})" for size in others]
    return joined([f"{first} ({plural(images[str(first)], 'image')})", *texts])


def _int8_sentences(int8: Mapping[str, Any]) -> str:
    """Whether the int8 file is offered, and why. Its times are in the latency section, measured with all models."""
    if not int8:
        return ""
    offered = "is offered" if int8["offered"] else "is **not** offered"
    return (
        f"The int8 file {offered}: {int8['why']}. Its accuracy on val is {short(str(int8['val_accuracy']))} against "
        f"{short(str(int8['val_accuracy_fp32']))} in fp32; its size is {int8['file_mb']} MB. The two files were timed "
        f"alternately on {plural(int(int8['threads']), 'CPU thread')}.{_profile_sentence(int8)}"
    )


def _profile_sentence(int8: Mapping[str, Any]) -> str:
    """The time of the convolutions and of all other operators; "" if the file was not profiled."""
    if "convolutions_ms" not in int8:
        return ""
    fp32_ms, int8_ms = int8["convolutions_ms_fp32"], int8["convolutions_ms"]
    other_fp32_ms, other_int8_ms = int8["kernels_ms_fp32"] - fp32_ms, int8["kernels_ms"] - int8_ms
    return (
        f" On one thread the convolutions take {significant(int8_ms)} ms in int8 against {significant(fp32_ms)} ms in "
        f"fp32 ({fp32_ms / int8_ms:.1f} times as fast); all other operators, preprocessing included, take "
        f"{significant(other_int8_ms)} ms against {significant(other_fp32_ms)} ms (ONNX Runtime's profiler)."
    )
