"""Requests in the form of TensorFlow Serving's documentation ("RESTful API") and of its client for ResNet."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from decant.export.runtime import OnnxClassifier

Encode = Callable[..., bytes]
URL = "/v1/models/toys:predict"


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture
def expected(classifier: OnnxClassifier, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and logits of the photo."""
    return classifier.predict(photo)


def test_rows_of_encoded_images_have_lists_of_probabilities(
    client: FlaskClient, expected: tuple[np.ndarray, np.ndarray], photo: np.ndarray, encode: Encode
) -> None:
    other = encode(photo[:40].copy())  # of another size
    answer = client.post(URL, json={"instances": [b64(encode(photo)), {"image_bytes": b64(other)}]})
    first, second = answer.json["predictions"]
    np.testing.assert_allclose(first, expected[0], atol=1e-6)
    assert len(second) == 5 and first != second


def test_rows_of_pixels_have_the_same_predictions(
    client: FlaskClient, expected: tuple[np.ndarray, np.ndarray], photo: np.ndarray
) -> None:
    for instance in (photo.tolist(), {"images": photo.tolist()}, photo.astype(float).tolist()):
        (row,) = client.post(URL, json={"instances": [instance]}).json["predictions"]
        np.testing.assert_allclose(row, expected[0], atol=1e-6)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("encoded", [True, False])
def test_columns_have_outputs(
    client: FlaskClient,
    expected: tuple[np.ndarray, np.ndarray],
    photo: np.ndarray,
    encode: Encode,
    named: bool,
    encoded: bool,
) -> None:
    column = [b64(encode(photo))] * 2 if encoded else [photo.tolist()] * 2
    answer = client.post(URL, json={"inputs": {"images": column} if named else column})
    np.testing.assert_allclose(answer.json["outputs"], [expected[0]] * 2, atol=1e-6)


def test_the_signature_all_names_both_outputs(
    client: FlaskClient, expected: tuple[np.ndarray, np.ndarray], photo: np.ndarray, encode: Encode
) -> None:
    image = b64(encode(photo))
    (row,) = client.post(URL, json={"signature_name": "all", "instances": [image]}).json["predictions"]
    columns = client.post(URL, json={"signature_name": "all", "inputs": image}).json["outputs"]
    for name, values in zip(("probabilities", "logits"), expected, strict=True):
        np.testing.assert_allclose(row[name], values, atol=1e-5)
        np.testing.assert_allclose(columns[name], [values], atol=1e-5)


def test_status_and_metadata_are_those_of_the_documentation(client: FlaskClient) -> None:
    for address in ("/v1/models/toys", "/v1/models/toys/versions/1"):
        (state,) = client.get(address).json["model_version_status"]
        assert state["state"] == "AVAILABLE" and state["status"]["error_code"] == "OK"
    described = client.get("/v1/models/toys/metadata").json["metadata"]["signature_def"]["signature_def"]
    assert described["serving_default"]["inputs"].keys() == {"images"}
    assert described["all"]["outputs"].keys() == {"probabilities", "logits"}
    assert client.get("/v1/models/another").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": [], "inputs": []},
        {"instances": []},
        {"instances": 5},
        {"instances": [{"b64": "%"}]},
        {"instances": [{"b64": 5}]},
        {"instances": [{"a": 1, "b": 2}]},
        {"instances": [{}]},
        {"instances": [[[[0, 0, 300]]]]},
        {"instances": [[[[0, 0, 0.5]]]]},
        {"instances": [[[0, 0, 0]]]},
        {"instances": [[[[0, 0, 0], [0, 0]]]]},
        {"instances": ["text"]},
        {"signature_name": "other", "instances": [[[[0, 0, 0]]]]},
        {"signature_name": ["all"], "instances": [[[[0, 0, 0]]]]},
    ],
)
def test_a_wrong_request_has_status_400_and_a_reason(client: FlaskClient, body: dict[str, Any]) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == 400 and answer.json["error"]


def test_the_image_that_cannot_be_read_is_named(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    answer = client.post(URL, json={"instances": [b64(encode(photo)), b64(encode(photo)[:-200])]})
    assert answer.status_code == 422 and answer.json["error"].startswith("image 1: ")


def test_too_many_images_and_too_much_json_are_refused(client: FlaskClient, limits: Any) -> None:
    many = client.post(URL, json={"instances": [[[[0, 0, 0]]]] * (limits.files + 1)})
    assert many.status_code == 413 and "send fewer" in many.json["error"]
