"""The protocol "KServe v2" of Triton and others over HTTP, with Triton's extensions for binary tensors and classes.

The model has the input and the outputs of its file: `images` UINT8 [N, H, W, 3], `probabilities` and `logits` FP32
[N, K]. Specification: https://github.com/kserve/open-inference-protocol and Triton's docs/protocol.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

import decant
from decant.export.interface import IMAGES, LOGITS, PROBABILITIES
from decant.serving.answers import MAX_ARRAYS
from decant.serving.protocols.json_bodies import (
    bad_request,
    batch_of,
    json_memory,
    parsed_json,
    pixels_of,
    plain_body,
)
from decant.serving.served import deadline, served
from decant.serving.served_model import LoadedModel

VERSION = "1"  # of every model; a replaced file keeps it
JSON_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration"]
routes = Blueprint("kserve", __name__, url_prefix="/v2")


@dataclass(frozen=True)
class WantedOutput:
    """An output that the client asked for. classes: how many of the highest values, as text; 0 for all values."""

    name: str
    binary: bool
    classes: int


@routes.get("")
def server() -> dict[str, Any]:
    return {"name": "decant", "version": decant.__version__, "extensions": EXTENSIONS}


@routes.get("/health/live")
@routes.get("/health/ready")
def alive() -> Response:
    return Response(status=200)


@routes.get("/models/<name>")
@routes.get("/models/<name>/versions/<version>")
def metadata(name: str, version: str = VERSION) -> dict[str, Any]:
    classes = len(model_of(name, version).classifier.classes)
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": IMAGES, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": [-1, classes]} for output in (PROBABILITIES, LOGITS)],
    }


@routes.get("/models/<name>/ready")
@routes.get("/models/<name>/versions/<version>/ready")
def ready(name: str, version: str = VERSION) -> Response:
    model_of(name, version)
    return Response(status=200)


@routes.get("/models/<name>/config")
@routes.get("/models/<name>/versions/<version>/config")
def configuration(name: str, version: str = VERSION) -> dict[str, Any]:
    classes = len(model_of(name, version).classifier.classes)
    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "max_batch_size": MAX_ARRAYS,
        "input": [{"name": IMAGES, "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}],
        "output": [{"name": output, "data_type": "TYPE_FP32", "dims": [classes]} for output in (PROBABILITIES, LOGITS)],
    }


@routes.post("/models/<name>/infer")
@routes.post("/models/<name>/versions/<version>/infer")
def infer(name: str, version: str = VERSION) -> Response:
    """Predict a batch of arrays. Raises Refused with status 400 for what the specification does not allow."""
    model = model_of(name, version)
    body = plain_body()
    length = json_length(len(body))
    with json_memory(body[:length]):
        request_json = parsed_json(body[:length])
        images = images_of(request_json, memoryview(body)[length:])
        outputs = wanted_outputs(request_json)
        answer = {"model_name": name, "model_version": VERSION}
        if isinstance(request_json.get("id"), str):
            answer["id"] = request_json["id"]
        del request_json
    probabilities, logits = served().answers.answer_arrays(model, images, deadline())
    values = {PROBABILITIES: probabilities, LOGITS: logits}
    tensors = [tensor(output, values[output.name], model.classifier.classes) for output in outputs]
    header = json.dumps({**answer, "outputs": [description for description, _ in tensors]}).encode()
    data = b"".join(content for _, content in tensors)
    if not data:
        return Response(header, mimetype="application/json")
    return Response(header + data, mimetype="application/octet-stream", headers={JSON_LENGTH: str(len(header))})


def model_of(name: str, version: str) -> LoadedModel:
    """The model to serve. Raises Refused for an unknown name or version."""
    model = served().model(name)
    if version != VERSION:
        raise bad_request(f"no version {version[:20]!r} of {name}; there is {VERSION}")
    return model


def json_length(total: int) -> int:
    """How many of the body's bytes are JSON; binary tensors follow. Raises Refused for an impossible header."""
    text = request.headers.get(JSON_LENGTH)
    if text is None:
        return total
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= total:
        raise bad_request(f"{JSON_LENGTH} is {text[:20]!r}, but the body has {total} bytes")
    return int(text)


def images_of(request_json: Mapping[str, Any], data: memoryview) -> np.ndarray:
    """The tensor `images`: uint8 [B, H, W, 3]."""
    inputs = request_json.get("inputs")
    if not (isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], dict)):
        raise bad_request(f"give one input, {IMAGES}")
    images = inputs[0]
    if images.get("name") != IMAGES or images.get("datatype") != "UINT8":
        raise bad_request(f"the input is {IMAGES} of the datatype UINT8")
    size = parameters_of(images).get("binary_data_size")
    if size is None:
        return pixels_of(flat(images.get("data")), images.get("shape"))
    if size != len(data):
        raise bad_request(f"binary_data_size is {str(size)[:20]}, but {len(data)} bytes follow the JSON")
    return batch_of(np.frombuffer(data, np.uint8), images.get("shape"))


def flat(values: Any) -> Any:
    """The numbers of nested lists in row-major order: the protocol allows nested and flat lists."""
    while isinstance(values, list) and values and isinstance(values[0], list):
        if not all(isinstance(row, list) for row in values):
            raise bad_request("data mixes numbers and lists")
        values = [number for row in values for number in row]
    return values


def wanted_outputs(request_json: Mapping[str, Any]) -> list[WantedOutput]:
    """The outputs that the client asks for; both if it names none."""
    binary = parameters_of(request_json).get("binary_data_output") is True
    outputs = request_json.get("outputs") or [{"name": PROBABILITIES}, {"name": LOGITS}]
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise bad_request("outputs is a list of objects")
    wanted = []
    for output in outputs:
        if output.get("name") not in (PROBABILITIES, LOGITS):
            raise bad_request(f"the outputs are {PROBABILITIES} and {LOGITS}, not {str(output.get('name'))[:50]!r}")
        parameters = parameters_of(output)
        classes = parameters.get("classification", 0)
        if type(classes) is not int or classes < 0:
            raise bad_request("classification is a number of classes")
        wanted.append(WantedOutput(output["name"], parameters.get("binary_data", binary) is True, classes))
    return wanted


def parameters_of(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a request, an input or an output."""
    parameters = part.get("parameters") or {}  # clients that write empty fields send null
    if not isinstance(parameters, dict):
        raise bad_request("parameters is an object")
    return parameters


def tensor(wanted: WantedOutput, values: np.ndarray, names: Sequence[str]) -> tuple[dict[str, Any], bytes]:
    """An output [B, K]: its description, with the data in JSON unless they are binary, and the binary data."""
    description: dict[str, Any] = {"name": wanted.name, "datatype": "FP32", "shape": list(values.shape)}
    if wanted.classes:
        rows = [ranked(row, names, wanted.classes) for row in values]
        description |= {"datatype": "BYTES", "shape": [len(rows), len(rows[0])]}
        texts = [text for row in rows for text in row]
        data = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)
    else:
        texts, data = values.ravel().tolist(), values.astype("<f4").tobytes()
    if not wanted.binary:
        return {**description, "data": texts}, b""
    return {**description, "parameters": {"binary_data_size": len(data)}}, data


def ranked(values: np.ndarray, names: Sequence[str], count: int) -> list[str]:
    """The highest of values [K], as Triton writes them: value:index:name."""
    order = np.argsort(-values, kind="stable")[:count]
    return [f"{values[index]:f}:{index}:{names[index]}" for index in order]
