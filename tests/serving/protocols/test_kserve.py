"""KServe v2 with tritonclient's own code for requests and answers, and requests written by hand."""

import gzip
import importlib
import json
import sys
import tracemalloc
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from decant.export.runtime import OnnxClassifier

URL = "/v2/models/toys/infer"


class Transport:
    """In the place of geventhttpclient, which tritonclient[http] would install: sends to Flask's client."""

    flask: FlaskClient

    @classmethod
    def from_url(cls, *_: object, **__: object) -> "Transport":
        return cls()

    def get(self, address: str, headers: dict[str, str]) -> "Received":
        return Received(self.flask.get(address, headers=headers))

    def post(self, request_uri: str, body: bytes = b"", headers: dict[str, str] | None = None) -> "Received":
        return Received(self.flask.post(request_uri, data=body, headers=headers))

    def close(self) -> None:
        pass


class Received:
    """An answer as geventhttpclient returns it."""

    def __init__(self, answer: Any) -> None:
        self.status_code, self.content, self.at = answer.status_code, answer.data, 0
        self.headers = {name.lower(): value for name, value in answer.headers.items()}

    def get(self, name: str, default: str | None = None) -> str | None:
        return self.headers.get(name.lower(), default)

    def read(self, length: int = -1) -> bytes:
        end = len(self.content) if length < 0 else self.at + length
        part, self.at = self.content[self.at : end], end
        return part


@pytest.fixture
def triton(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module tritonclient.http, whose clients reach the app."""
    pytest.importorskip("tritonclient")

    class Pool:
        def __init__(self, *_: object) -> None:
            pass

        def join(self) -> None:
            pass

    class Address:
        def __init__(self, url: str) -> None:
            self.request_uri = ""

    stands_in = {
        "gevent": {"pool": types.SimpleNamespace(Pool=Pool)},
        "gevent.pool": {"Pool": Pool},
        "geventhttpclient": {"HTTPClient": type("Client", (Transport,), {"flask": client})},
        "geventhttpclient.url": {"URL": Address},
    }
    for name, values in stands_in.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    kept = {name for name in sys.modules if name.startswith("tritonclient")}
    yield importlib.import_module("tritonclient.http")
    for name in [name for name in sys.modules if name.startswith("tritonclient") and name not in kept]:
        del sys.modules[name]


def image_input(triton: Any, photo: np.ndarray, binary: bool) -> Any:
    images = triton.InferInput("images", (1, *photo.shape), "UINT8")
    images.set_data_from_numpy(photo[None], binary_data=binary)
    return images


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("asked_binary", [True, False])
def test_tritonclient_gets_the_files_outputs(
    triton: Any, classifier: OnnxClassifier, photo: np.ndarray, sent_binary: bool, asked_binary: bool
) -> None:
    server = triton.InferenceServerClient("localhost:8000")
    outputs = [triton.InferRequestedOutput(name, binary_data=asked_binary) for name in ("logits", "probabilities")]
    answer = server.infer("toys", [image_input(triton, photo, sent_binary)], outputs=outputs, request_id="7")
    probabilities, logits = classifier.predict(photo)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), [probabilities], atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("logits"), [logits], atol=1e-5)
    assert answer.get_response()["id"] == "7"


def test_tritonclient_gets_all_outputs_without_a_wish(triton: Any, photo: np.ndarray) -> None:
    server = triton.InferenceServerClient("localhost:8000")
    answer = server.infer("toys", [image_input(triton, photo, binary=True)], model_version="1")
    assert answer.as_numpy("probabilities").dtype == np.float32 and answer.as_numpy("logits").shape == (1, 5)


def test_tritonclient_gets_class_names(triton: Any, classifier: OnnxClassifier, photo: np.ndarray) -> None:
    server = triton.InferenceServerClient("localhost:8000")
    best = triton.InferRequestedOutput("probabilities", class_count=2)
    answer = server.infer("toys", [image_input(triton, photo, binary=True)], outputs=[best])
    ((first, second),) = answer.as_numpy("probabilities")
    probabilities, _ = classifier.predict(photo)
    order = np.argsort(-probabilities)
    for text, index in zip((first, second), order, strict=False):
        value, number, name = text.decode().split(":")
        assert (int(number), name) == (index, classifier.classes[index])
        assert float(value) == pytest.approx(float(probabilities[index]), abs=1e-6)


def test_tritonclient_finds_server_and_model(triton: Any) -> None:
    server = triton.InferenceServerClient("localhost:8000")
    assert server.is_server_live() and server.is_server_ready()
    assert server.is_model_ready("toys") and not server.is_model_ready("another")
    assert "binary_tensor_data" in server.get_server_metadata()["extensions"]
    described = server.get_model_metadata("second")
    assert described["name"] == "second" and described["inputs"][0]["datatype"] == "UINT8"
    assert server.get_model_config("toys")["output"][0]["dims"] == [5]


def test_tritonclient_shows_the_reason_of_an_error(triton: Any, photo: np.ndarray) -> None:
    server = triton.InferenceServerClient("localhost:8000")
    grey = triton.InferInput("images", (1, *photo.shape[:2]), "UINT8")
    grey.set_data_from_numpy(photo[None, :, :, 0])
    with pytest.raises(triton.InferenceServerException, match=r"\[N, height, width, 3\]"):
        server.infer("toys", [grey])


def body(**changes: Any) -> dict[str, Any]:
    given = {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": list(range(12))}
    return {"inputs": [{**given, **changes}]}


def test_the_values_may_be_nested_as_the_specification_allows(client: FlaskClient, classifier: OnnxClassifier) -> None:
    image = np.arange(12).reshape(1, 2, 2, 3)
    answers = [client.post(URL, json=body(data=data)).json for data in (image.tolist(), list(range(12)))]
    assert answers[0] == answers[1]
    (first, _) = answers[0]["outputs"]
    np.testing.assert_allclose(first["data"], classifier.predict(image[0].astype(np.uint8))[0], atol=1e-6)


def test_a_batch_has_a_row_for_each_image(client: FlaskClient, classifier: OnnxClassifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    answer = client.post(URL, json=body(shape=[3, 20, 30, 3], data=images.ravel().tolist())).json
    expected, _ = classifier.predict_batch(images)
    assert answer["outputs"][0]["shape"] == [3, 5]
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (3, 5)), expected, atol=1e-6)


def test_empty_parameters_may_be_null(client: FlaskClient) -> None:
    request = {**body(), "parameters": None}
    request["inputs"] = [{**request["inputs"][0], "parameters": None}]
    assert client.post(URL, json=request).status_code == 200


def test_a_text_among_the_values_does_not_take_its_length_for_each_of_them(client: FlaskClient) -> None:
    data = ["x" * 9000, *[0] * 8999]
    tracemalloc.start()
    try:
        answer = client.post(URL, json=body(data=data, shape=[1, 30, 100, 3]))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "pixels"},
        {"datatype": "FP32"},
        {"shape": [1, 2, 2, 4]},
        {"shape": [1, 2, 3, 3]},
        {"shape": [1, -2, -2, 3]},
        {"shape": [1, 2**40, 2**40, 3]},
        {"shape": "many"},
        {"shape": [True, 2, 2, 3]},
        {"data": [0.5] * 12},
        {"data": [256] * 12},
        {"data": [-1] * 12},
        {"data": [10**30] * 12},
        {"data": ["a"] * 12},
        {"data": [[1, 2], [3]]},
        {"data": [[1], 2]},
        {"data": []},
        {"data": None},
        {"data": {}},
        {"parameters": {"binary_data_size": 12}},
        {"parameters": 5},
    ],
)
def test_a_wrong_input_has_status_400_and_a_reason(client: FlaskClient, changes: dict[str, Any]) -> None:
    answer = client.post(URL, json=body(**changes))
    assert answer.status_code == 400 and len(answer.json["error"]) < 300


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"[" * 100_000, b"null", b'{"inputs": 5}', b'{"inputs": [5]}', b'{"inputs": []}', b"\xff"],
)
def test_what_is_no_request_has_status_400(client: FlaskClient, text: bytes) -> None:
    assert client.post(URL, data=text).status_code == 400


@pytest.mark.parametrize(
    "outputs", [5, [5], [{"name": "classes"}], [{"name": "logits", "parameters": {"classification": -1}}]]
)
def test_wrong_outputs_have_status_400(client: FlaskClient, outputs: Any) -> None:
    assert client.post(URL, json={**body(), "outputs": outputs}).status_code == 400


@pytest.mark.parametrize("length", ["-1", "0", "9999", "x", "²"])
def test_a_wrong_length_of_the_json_has_status_400(client: FlaskClient, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    assert client.post(URL, data=json.dumps(body()), headers=headers).status_code == 400


def test_images_above_the_limits_have_status_413(client: FlaskClient) -> None:
    answer = client.post(URL, json=body(shape=[33, 1, 1, 3], data=[0] * 99))
    assert answer.status_code == 413 and "33 images" in answer.json["error"]


def test_a_compressed_body_is_refused_with_what_to_do(client: FlaskClient) -> None:
    sent = gzip.compress(json.dumps(body()).encode())
    answer = client.post(URL, data=sent, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "uncompressed" in answer.json["error"]


def test_an_unknown_model_is_404_and_an_unknown_version_400(client: FlaskClient) -> None:
    assert client.post("/v2/models/another/infer", json=body()).status_code == 404
    assert client.post("/v2/models/toys/versions/2/infer", json=body()).status_code == 400
    assert client.post("/v2/models/toys/versions/1/infer", json=body()).status_code == 200
