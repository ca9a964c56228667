"""Data Preprocessing: each step from image file to network input, and its reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decant.evaluation.markdown import markdown_table, section
from decant.evaluation.tables import joined
from decant.reporting.reasons import networks, reasons
from decant.reporting.results_files import ResultsFiles, size_of

SAME_EVERYWHERE = (
    "The exported file contains every step of evaluation, so users give it plain RGB images, and val, test and the "
    "images to predict are seen as the file sees them."
)


def preprocessing(results: ResultsFiles, base: Path) -> str:
    if not results.study.get("student"):
        return ""
    steps = [
        ["decode", "RGB, rotated by the EXIF orientation", "networks see what a viewer shows"],
        *_resize(results),
        [
            "scale",
            "mean and deviation that the network's weights expect",
            "weights fit the range that they were trained on",
        ],
        *_views(results.study),
        *_splits(results),
    ]
    return section(
        "Data Preprocessing",
        SAME_EVERYWHERE,
        markdown_table(["step", "setting", "because"], steps, left=3),
    )


def _resize(results: ResultsFiles) -> list[list[str]]:
    geometry = results.geometry
    sizes: dict[str, list[str]] = {}
    for name in networks(results.study):
        sizes.setdefault(size_of(results, name), []).append(name)
    sizes_text = ", ".join(f"{size} px ({joined(names)})" for size, names in sizes.items())
    fit = str(geometry.get("description") or "centre crop to a square")
    study_reasons = list(reasons(results.study, ["geometry"]).values())
    why = _geometry_reason(str(geometry.get("why", ""))) or "the networks were pretrained on squares"
    return [["resize", f"{fit}: {sizes_text}", "; ".join([*study_reasons, why])]]


def _geometry_reason(why: str) -> str:
    """The reason without the figures of the probes, which the appendix has."""
    shapes, _, probes = why.partition("; probes on frozen features")
    best = "; probes on frozen features scored best with it (figures, without an interval, in the appendix)"
    return shapes + (best if probes else "")


def _views(study: Mapping[str, Any]) -> list[list[str]]:
    """Training views: networks with the same views share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, section_ in networks(dict(study)).items():
        views = section_.get("views")
        if not views or section_.get("kind") == "probe":
            continue
        path = ["student"] if name == "student" else ["teachers", name]
        why = " ".join(reasons(dict(study), path, only=["views"]).values())
        rows.setdefault((views_text(views), why), []).append(name)
    return [
        [f"augment ({joined(names)})", text, why or "predictions should not depend on crop, side and light"]
        for (text, why), names in rows.items()
    ]


def views_text(views: Mapping[str, Any]) -> str:
    """ "crops of 0.6–1 of the area, flip 0.5, rotation ±6°, …": the settings that do something."""
    low, high = views.get("scale", (1, 1))
    light = {name: views.get(name, 0) for name in ("brightness", "contrast", "saturation")}
    texts = [f"crops of {low:g}–{high:g} of the area"] if (low, high) != (1, 1) else []
    texts += [f"shift {views['shift']:g}"] if views.get("shift") else []
    texts += [f"flip {views['flip']:g}"] if views.get("flip") else []
    texts += [f"rotation ±{views['rotate_deg']:g}°"] if views.get("rotate_deg") else []
    if any(light.values()):
        several = joined([f"{name} ±{value:g}" for name, value in light.items() if value])
        texts.append(f"light and colour ±{light['contrast']:g}" if len(set(light.values())) == 1 else several)
    others = {"erase": "erased box", "mix": "mixup", "cutmix": "cutmix"}
    texts += [f"{text} {views[key]:g}" for key, text in others.items() if views.get(key)]
    return ", ".join(texts) or "none"


def _splits(results: ResultsFiles) -> list[list[str]]:
    given = bool(results.study.get("data", {}).get("split_file"))
    setting = "as in the split file" if given else "given ones kept, missing ones drawn by class; duplicates together"
    why = reasons(results.study, ["data"], only=["split_file", "val_fraction", "test_fraction"]).values()
    because = " ".join(why) or "near duplicates across splits would make scores too high"
    return [["split", setting, because]]
