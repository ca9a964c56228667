"""Requests in JSON, and the images in them as arrays of pixels."""

import json
from typing import Any

import numpy as np
from flask import request

from decant.serving.served import deadline, served
from decant.serving.uploads import MEGA, Refused

# Lists take up to 22 bytes of memory per byte of JSON.
MAX_JSON_BYTES = 12 * MEGA


def bad_request(reason: str) -> Refused:
    return Refused(400, "bad_request", reason)


def parsed_json(text: bytes) -> dict[str, Any]:
    """The object that the text contains. Raises Refused for other text, and above MAX_JSON_BYTES."""
    if len(text) > MAX_JSON_BYTES:
        reason = (
            f"{len(text) / MEGA:.1f} MB of JSON, more than {MAX_JSON_BYTES / MEGA:g}; send the image as binary data"
        )
        raise Refused(413, "too_many_bytes", reason)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON") from None
    if not isinstance(value, dict):
        raise bad_request("the body is not a JSON object")
    return value


def plain_body() -> bytes:
    """The body of the request. Raises Refused if it is compressed."""
    if request.content_encoding:
        raise Refused(415, "wrong_type", f"a body in {request.content_encoding!r}; send it uncompressed")
    body = request.get_data()
    if not body:
        raise bad_request("the body is empty; send JSON")
    return body


def json_memory(text: bytes) -> Any:
    """A context in which JSON of this length may be read: memory is taken from the budget of the images."""
    return served().answers.budget.reserved(min(len(text), served().limits.pixels), deadline())


def pixels_of(values: Any, shape: Any = None) -> np.ndarray:
    """Nested lists of whole numbers from 0 to 255, or a flat list and its shape, as uint8 [B, H, W, 3].

    Raises Refused for anything else.
    """
    try:
        array = np.array(values, dtype=np.float64)  # else one text would make each value take its length
    except (ValueError, TypeError, OverflowError):
        raise bad_request("the images are not arrays of equal rows; images of one request have one size") from None
    if not array.size:
        raise bad_request("the images are empty")
    if not (array.min() >= 0 and array.max() <= 255) or (array != np.rint(array)).any():
        raise bad_request("pixels must be whole numbers from 0 to 255; the file itself scales and normalises")
    return batch_of(array.astype(np.uint8), array.shape if shape is None else shape)


def batch_of(pixels: np.ndarray, shape: Any) -> np.ndarray:
    """uint8 pixels in the shape [B, H, W, 3]. Raises Refused if that is not the shape."""
    sides = isinstance(shape, list | tuple) and all(type(side) is int and side > 0 for side in shape)
    if not sides or len(shape) != 4 or shape[3] != 3:
        raise bad_request(f"images must have the shape [N, height, width, 3], not {str(shape)[:100]}")
    if int(np.prod(shape, dtype=object)) != pixels.size:
        raise bad_request(f"{pixels.size} values do not fill the shape {str(shape)[:100]}")
    return pixels.reshape(shape)
