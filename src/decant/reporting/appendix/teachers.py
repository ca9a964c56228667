"""The teachers."""

from pathlib import Path

from decant.evaluation.markdown import markdown_image, markdown_table, section
from decant.evaluation.tables import minutes, with_interval
from decant.reporting.figures import curves_png
from decant.reporting.results_files import ResultsFiles, main_split, size_of
from decant.reporting.transfer import transfer_text


def teachers_section(results: ResultsFiles, base: Path) -> str:
    split = main_split(results)
    rows = [row for row in results.precision if row["kind"] == "teacher" and row["split"] == split]
    names = [row["model"] for row in rows] or list(results.histories)
    if not names:
        return ""
    scores = {row["model"]: row for row in rows}
    cells = [
        [
            name,
            *_setting_cells(results, name.removesuffix("_tta")),
            with_interval(scores.get(name, {}), "accuracy"),
        ]
        for name in names
    ]
    curves = [markdown_image(results.folder / curves_png(name), base, f"Learning curves of {name}") for name in names]
    return section(
        "Teachers",
        markdown_table(
            ["teacher", "network", "training", "px", "epochs", "minutes", f"accuracy on {split or 'test'}"],
            cells,
            left=3,
        ),
        "`_tta`: with the ensemble's test-time augmentation." if any(name.endswith("_tta") for name in names) else "",
        *transfer_text(results, base),
        *curves,
    )


def _setting_cells(results: ResultsFiles, name: str) -> list[str]:
    """Network, training, input size, epochs and minutes of a teacher."""
    teacher = results.study.get("teachers", {}).get(name, {})
    folds = teacher.get("folds") or 0
    training = {"finetune": "fine-tuned", "probe": "linear probe"}.get(str(teacher.get("kind")), "–")
    if training == "fine-tuned" and teacher.get("weights") == ["none"]:
        training = "from scratch"
    seconds = results.provenance.get("seconds", {}).get(f"teachers/{name}")
    return [
        str(teacher.get("architecture", "–")),
        f"{training}, {folds} folds" if folds else training,
        size_of(results, name),
        str(len(results.histories[name])) if name in results.histories else "–",
        "–" if seconds is None else minutes(seconds),
    ]
