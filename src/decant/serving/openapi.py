"""The description of the app's addresses in OpenAPI 3.1."""

from collections.abc import Sequence
from typing import Any

import decant
from decant.serving.uploads import MEGA, Limits

JSON = "application/json"
REFUSALS = {
    "413": "too many bytes, pixels or files",
    "415": "not an image, or one of a format that is not read",
    "422": "no image, or an empty, truncated or damaged one; for a map, a model that has none",
    "503": "too many images wait",
}


def description(models: Sequence[str], limits: Limits) -> dict[str, Any]:
    """The document for a server of these models."""
    limit = (
        f"at most {limits.files} files, {limits.bytes / MEGA:g} MB and {limits.pixels / MEGA:g} megapixels per image"
    )
    model = {"name": "model", "in": "query", "schema": {"type": "string", "enum": list(models)}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "decant",
            "version": decant.__version__,
            "description": f"Classes of images; {limit}. Models: {', '.join(models)}.",
        },
        "paths": {
            "/": {
                "get": operation("The page.", "text/html"),
                "post": operation("The page with the answers of its form.", "text/html", body=form(limits)),
            },
            "/predict": {
                "post": operation(
                    "The classes of images. A form with several files has status 200 if any image has a prediction.",
                    body={**form(limits), **image_bodies()},
                    answer=schema("Predictions"),
                    parameters=[model],
                )
            },
            "/map": {
                "post": operation(
                    "The places of one image that support its most probable class, for a model that has a map.",
                    body={**form(limits), **image_bodies()},
                    answer=schema("Map"),
                    parameters=[model],
                )
            },
            "/healthz": {"get": operation("Whether the server works, and the state of each file.")},
            "/metrics": {"get": operation("Metrics for Prometheus.", "text/plain")},
            "/openapi.json": {"get": operation("This document.")},
            "/static/{name}": {"get": operation("A file of the page.", "text/css", parameters=[path("name")])},
            "/samples/{name}": {"get": operation("A sample image.", "image/jpeg", parameters=[path("name")])},
            **kserve_paths(),
            **tensorflow_paths(),
        },
        "components": {"schemas": SCHEMAS},
    }


def kserve_paths() -> dict[str, Any]:
    """The addresses of KServe v2; versions may be left out."""
    paths: dict[str, Any] = {"/v2": {"get": operation("Name and extensions (KServe v2).")}}
    for state in ("live", "ready"):
        paths[f"/v2/health/{state}"] = {"get": operation("Status 200 (KServe v2).")}
    for start in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        parameters = [path(part) for part in ("name", "version") if f"{{{part}}}" in start]
        paths[start] = {"get": operation("Inputs and outputs (KServe v2).", parameters=parameters)}
        paths[f"{start}/ready"] = {"get": operation("Status 200 (KServe v2).", parameters=parameters)}
        paths[f"{start}/config"] = {"get": operation("The configuration (Triton).", parameters=parameters)}
        text = "Predict arrays (KServe v2), in JSON or with Triton's binary tensors."
        paths[f"{start}/infer"] = {"post": operation(text, body=json_body(), parameters=parameters)}
    return paths


def tensorflow_paths() -> dict[str, Any]:
    """The addresses of TensorFlow Serving; versions may be left out."""
    paths: dict[str, Any] = {}
    for start in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        parameters = [path(part) for part in ("name", "version") if f"{{{part}}}" in start]
        paths[start] = {"get": operation("The state (TensorFlow Serving).", parameters=parameters)}
        paths[f"{start}/metadata"] = {"get": operation("The signatures (TensorFlow Serving).", parameters=parameters)}
        text = "Predict encoded images or arrays (TensorFlow Serving)."
        paths[f"{start}:predict"] = {"post": operation(text, body=json_body(), parameters=parameters)}
    return paths


def operation(
    summary: str,
    kind: str = JSON,
    body: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One method of one address. body: media types of the request with their schemas, None for no body."""
    content = {kind: {"schema": answer} if answer else {}}
    responses: dict[str, Any] = {"200": {"description": "as asked", "content": content}}
    method: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        method["parameters"] = list(parameters)
    if body:
        method["requestBody"] = {"required": True, "content": body}
        error = {JSON: {"schema": schema("Refusal")}}
        responses |= {status: {"description": text, "content": error} for status, text in REFUSALS.items()}
    return method


def form(limits: Limits) -> dict[str, Any]:
    """The form of the page."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": limits.files}
    properties = {"file": files, "files": files, "model": {"type": "string"}}
    return {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}


def image_bodies() -> dict[str, Any]:
    return {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "application/octet-stream")
    }


def json_body() -> dict[str, Any]:
    return {JSON: {"schema": {"type": "object"}}}


def path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
SCHEMAS: dict[str, Any] = {
    "Predictions": {
        "type": "object",
        "required": ["model", "predictions"],
        "properties": {
            "model": TEXT,
            "predictions": {"type": "array", "items": {"oneOf": [schema("Prediction"), schema("RefusedImage")]}},
        },
    },
    "Prediction": {
        "type": "object",
        "required": ["name", "class", "probability", "accept", "classes", "milliseconds"],
        "properties": {
            "name": TEXT,
            "class": TEXT,
            "probability": NUMBER,
            "accept": {"type": ["boolean", "null"], "description": "null if the file has no thresholds"},
            "classes": {
                "type": "array",
                "description": "all classes, the most probable first",
                "items": {"type": "object", "properties": {"class": TEXT, "probability": NUMBER}},
            },
            "milliseconds": {"type": "number", "description": "from the image's bytes to its prediction"},
        },
    },
    "RefusedImage": {
        "type": "object",
        "required": ["name", "status", "kind", "reason"],
        "properties": {"name": TEXT, "status": {"type": "integer"}, "kind": TEXT, "reason": TEXT},
    },
    "Map": {
        "type": "object",
        "required": ["model", "class", "share", "picture"],
        "properties": {
            "model": TEXT,
            "class": TEXT,
            "share": {
                "type": "number",
                "description": "of the image's area that the model sees; the rest has no colour",
            },
            "picture": {
                "type": "string",
                "description": "a small PNG as a data address, to be stretched over the image",
            },
        },
    },
    "Refusal": {
        "type": "object",
        "required": ["error", "status", "kind", "reason"],
        "properties": {"error": TEXT, "status": {"type": "integer"}, "kind": TEXT, "reason": TEXT},
    },
}
