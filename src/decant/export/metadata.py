"""What the file says of itself: everything a user needs when the folder around it is gone."""

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

import decant
from decant.data.preprocessing import Preprocessing
from decant.export.interface import FORMAT, INPUT, OPSET, OUTPUTS
from decant.workspace import replacing


def describe(
    graph: str, classes: list[str], preprocessing: Preprocessing, temperature: float, more: Mapping[str, str]
) -> dict[str, str]:
    """Metadata of one file: plain strings and JSON.

    graph: "full" | "bare". more: keys of the caller (study, digests, licence ...); ValueError when one of
    them would overwrite a key of the format.
    """
    own = {
        "format": FORMAT,
        "graph": graph,
        "classes": json.dumps(classes, ensure_ascii=False),
        "input": json.dumps(INPUT[graph]),
        "outputs": json.dumps(OUTPUTS[graph]),
        "preprocessing": json.dumps(steps(preprocessing)),
        "temperature": repr(float(temperature)),
        "opset": str(OPSET),
        "code_version": decant.__version__,
    }
    taken = sorted(own.keys() & more.keys())
    if taken:
        raise ValueError(f"metadata of the caller would overwrite {', '.join(taken)}; name them otherwise")
    return own | dict(more)


def steps(preprocessing: Preprocessing) -> dict[str, object]:
    """The evaluation transform in words and numbers."""
    return {
        **preprocessing.to_dict(),
        "resize_px": preprocessing.resize_px,
        "resize": "shorter side to resize_px; longer' = (longer * resize_px + shorter // 2) // shorter",
        "interpolation": "bilinear, antialiased, half-pixel centres, in float",
        "crop": "centre: top = (height - input_px) // 2, left = (width - input_px) // 2",
        "scale": "divided by 255, clipped to [0, 1]; the network normalises itself",
    }


def stamp(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Write metadata and origin into the model, in place."""
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "decant", decant.__version__


def add_metadata(path: Path, more: Mapping[str, str]) -> None:
    """Write further strings into a file that is there, whole or not at all. ValueError for keys that it has."""
    model = onnx.load(path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    taken = sorted(known.keys() & more.keys())
    if taken:
        raise ValueError(f"{path} says {', '.join(taken)} already")
    stamp(model, known | dict(more))
    with replacing(path) as beside:
        beside.write_bytes(model.SerializeToString(deterministic=True))
