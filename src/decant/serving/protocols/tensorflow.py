"""The REST interface of TensorFlow Serving: `/v1/models/NAME` and `/v1/models/NAME:predict`.

An image is either an encoded file, {"b64": "…"}, or nested lists of pixels [height][width][3]. The signature
`serving_default` has one output, so `predictions` are lists of probabilities; the signature `all` has the outputs
`probabilities` and `logits`. Source: TensorFlow Serving, "RESTful API".
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify

from decant.export.interface import IMAGES, LOGITS, PROBABILITIES
from decant.serving.protocols.json_bodies import bad_request, json_memory, parsed_json, pixels_of, plain_body
from decant.serving.served import deadline, served
from decant.serving.served_model import LoadedModel
from decant.serving.uploads import Refused, Upload

VERSION = "1"
SIGNATURES: Mapping[str, Sequence[str]] = {"serving_default": (PROBABILITIES,), "all": (PROBABILITIES, LOGITS)}
routes = Blueprint("tensorflow", __name__, url_prefix="/v1")


@routes.get("/models/<name>")
@routes.get("/models/<name>/versions/<version>")
def status(name: str, version: str = VERSION) -> dict[str, Any]:
    model_of(name, version)
    state = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [state]}


@routes.get("/models/<name>/metadata")
@routes.get("/models/<name>/versions/<version>/metadata")
def metadata(name: str, version: str = VERSION) -> dict[str, Any]:
    classes = len(model_of(name, version).classifier.classes)
    pixels = tensor_info("DT_UINT8", [-1, -1, -1, 3])
    signatures = {
        signature: {
            "inputs": {IMAGES: pixels},
            "outputs": {output: tensor_info("DT_FLOAT", [-1, classes]) for output in outputs},
            "method_name": "tensorflow/serving/predict",
        }
        for signature, outputs in SIGNATURES.items()
    }
    spec = {"name": name, "signature_name": "", "version": VERSION}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


@routes.post("/models/<name>:predict")
@routes.post("/models/<name>/versions/<version>:predict")
def predict(name: str, version: str = VERSION) -> Response:
    """Predictions in the row format (`instances`) or the column format (`inputs`)."""
    model = model_of(name, version)
    body = plain_body()
    with json_memory(body):
        request_json = parsed_json(body)
        names = signature_outputs(request_json)
        in_rows = "instances" in request_json
        images = images_of(request_json["instances"] if in_rows else column_of(request_json))
        del request_json
    values = dict(zip((PROBABILITIES, LOGITS), predictions(model, images), strict=True))
    if in_rows:
        columns = [values[output].tolist() for output in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return jsonify({"predictions": columns[0] if len(names) == 1 else rows})
    lists = {output: values[output].tolist() for output in names}
    return jsonify({"outputs": lists if len(names) > 1 else lists[names[0]]})


def model_of(name: str, version: str) -> LoadedModel:
    """The model to serve. Raises Refused for an unknown name or version."""
    model = served().model(name)
    if version != VERSION:
        raise Refused(404, "unknown_model", f"no version {version[:20]!r} of {name}; there is {VERSION}")
    return model


def tensor_info(dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": ""}


def signature_outputs(request_json: Mapping[str, Any]) -> Sequence[str]:
    """The outputs of the signature that the request names."""
    name = request_json.get("signature_name") or "serving_default"
    if not isinstance(name, str) or name not in SIGNATURES:
        raise bad_request(f"no signature {str(name)[:50]!r}; there are {', '.join(SIGNATURES)}")
    if ("instances" in request_json) == ("inputs" in request_json):
        raise bad_request("give either instances (row format) or inputs (column format)")
    return SIGNATURES[name]


def column_of(request_json: Mapping[str, Any]) -> Any:
    """The only input of the column format, with or without its name."""
    column = request_json["inputs"]
    if isinstance(column, dict) and not is_encoded(column):
        column = only_value(column)
    return [column] if is_encoded(column) else column


def images_of(instances: Any) -> list[Upload | np.ndarray]:
    """Encoded files, and arrays uint8 [1, H, W, 3]."""
    if not isinstance(instances, list) or not instances:
        raise bad_request("instances, or the input, is a list of images")
    limit = served().limits.files
    if len(instances) > limit:
        raise Refused(413, "too_many_files", f"{len(instances)} images, more than {limit}; send fewer at once")
    return [image_of(number, instance) for number, instance in enumerate(instances)]


def image_of(number: int, instance: Any) -> Upload | np.ndarray:
    """One image; an object names the only input."""
    if isinstance(instance, dict) and not is_encoded(instance):
        instance = only_value(instance)
    if is_encoded(instance):
        try:
            return Upload(f"image {number}", base64.b64decode(instance["b64"], validate=True))
        except (binascii.Error, ValueError, TypeError):
            raise bad_request(f"image {number}: b64 is not a base64 text") from None
    return pixels_of([instance])


def is_encoded(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def only_value(inputs: Mapping[str, Any]) -> Any:
    """The value of the one input, whatever its name: clients name it as their model did."""
    if len(inputs) != 1:
        raise bad_request(f"there is one input, {IMAGES}, not {len(inputs)}")
    return next(iter(inputs.values()))


def predictions(model: LoadedModel, images: Sequence[Upload | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and logits [B, K]. Raises Refused with the number of the image that cannot be predicted."""
    answers = served().answers
    results = []
    for image in images:
        if isinstance(image, np.ndarray):
            results.append(answers.answer_arrays(model, image, deadline()))
            continue
        answer = answers.answer(model, image, deadline())
        if answer.refused:
            refused = answer.refused
            raise Refused(refused.status, refused.kind, f"{image.name}: {refused.reason}")
        assert answer.probabilities is not None and answer.logits is not None
        results.append((answer.probabilities[None], answer.logits[None]))
    probabilities, logits = (np.concatenate(values) for values in zip(*results, strict=True))
    return probabilities, logits
