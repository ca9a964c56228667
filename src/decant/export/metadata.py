"""The metadata of an exported file. They suffice to use the file without the folder around it."""

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

import decant
from decant.data.preprocessing import FILL, Fit, Preprocessing
from decant.export.interface import FORMAT, INPUT, OPSET, OUTPUTS
from decant.workspace import replacing


def describe(
    graph: str, classes: list[str], preprocessing: Preprocessing, temperature: float, extra: Mapping[str, str]
) -> dict[str, str]:
    """The metadata of one file: plain strings and JSON.

    graph: "full" | "bare". extra: further keys (study, digests, licence ...). Raises ValueError if `extra` contains
    a key of the format.
    """
    metadata = {
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
    taken = sorted(metadata.keys() & extra.keys())
    if taken:
        raise ValueError(f"the extra metadata would overwrite {', '.join(taken)}; use other keys")
    return metadata | dict(extra)


def steps(preprocessing: Preprocessing) -> dict[str, object]:
    """The evaluation transform, as numbers and as descriptions for people."""
    return {
        **preprocessing.to_dict(),
        "resize_px": list(preprocessing.box) if preprocessing.box[0] != preprocessing.box[1] else preprocessing.box[0],
        "resize": RESIZE[preprocessing.fit],
        "interpolation": "bilinear, antialiased, half-pixel centres, in float",
        "crop": "centre: top = (height - input height) // 2, left = (width - input width) // 2",
        "scale": "divided by 255, clipped to [0, 1]; the network normalises itself",
    }


RESIZE: Mapping[Fit, str] = {
    "crop": "by the one factor at which the image just covers resize_px: side' = floor(side * factor + 1/2)",
    "stretch": "each side to resize_px (one side, or height and width)",
    "pad": "by the one factor at which the image just lies within resize_px: side' = floor(side * factor + 1/2), at "
    f"least 1; it is centred in the input, and pixels around it have the grey level {FILL}",
}


def stamp(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Write metadata and producer into the model, in place."""
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "decant", decant.__version__


def serialised(model: onnx.ModelProto) -> bytes:
    """The bytes of the model; the same model gives the same bytes."""
    return model.SerializeToString(deterministic=True)


def add_metadata(path: Path, extra: Mapping[str, str]) -> None:
    """Add strings to the metadata of a file, atomically. Raises ValueError for keys that the file already has."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    taken = sorted(metadata.keys() & extra.keys())
    if taken:
        raise ValueError(f"{path} already has the metadata {', '.join(taken)}")
    stamp(model, metadata | dict(extra))
    with replacing(path) as partial:
        partial.write_bytes(serialised(model))
