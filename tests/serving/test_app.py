"""POST /predict and the page: the file's own answers, several images, refusals with reasons, and headers."""

import copy
import csv
import io
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from decant.data.images import decode
from decant.export.runtime import OnnxClassifier
from decant.serving.app import AppOptions, create_app
from decant.serving.batching import Batches
from decant.serving.served_model import ServedModel
from decant.serving.uploads import Limits

Encode = Callable[..., bytes]


def form(*files: tuple[bytes, str], field: str = "file", **values: str) -> dict[str, Any]:
    sent: dict[str, Any] = {field: [(io.BytesIO(content), name) for content, name in files]}
    return {"data": {**sent, **values}, "content_type": "multipart/form-data"}


def probabilities_of(prediction: dict[str, Any], classes: list[str]) -> list[float]:
    shares = {entry["class"]: entry["probability"] for entry in prediction["classes"]}
    return [shares[name] for name in classes]


def test_an_upload_has_the_probabilities_that_the_file_computes_in_python(
    client: FlaskClient, classifier: OnnxClassifier, photo: np.ndarray, encode: Encode
) -> None:
    content = encode(photo, "JPEG", exif=rotated())
    (prediction,) = client.post("/predict", **form((content, "a.jpg"))).json["predictions"]
    expected, _ = classifier.predict(np.rot90(decode(encode(photo, "JPEG")), k=-1))
    np.testing.assert_allclose(probabilities_of(prediction, classifier.classes), expected, atol=1e-6)
    assert prediction["class"] == classifier.classes[int(expected.argmax())] and prediction["name"] == "a.jpg"
    shares = [entry["probability"] for entry in prediction["classes"]]
    assert shares == sorted(shares, reverse=True) and prediction["probability"] == shares[0]


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held with its right side up
    return exif


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream"])
def test_an_image_may_be_the_body_itself(
    client: FlaskClient, photo: np.ndarray, encode: Encode, content_type: str
) -> None:
    answer = client.post("/predict", data=encode(photo), content_type=content_type)
    named = client.post("/predict", **form((encode(photo), "")))
    assert answer.status_code == 200
    assert answer.json["predictions"][0]["classes"] == named.json["predictions"][0]["classes"]


@pytest.mark.parametrize("field", ["file", "files"])
def test_several_files_are_answered_in_their_order_with_the_reason_of_those_refused(
    client: FlaskClient, photo: np.ndarray, encode: Encode, field: str
) -> None:
    files = [(encode(photo), "one.png"), (b"no image", "two.png"), (encode(photo[::-1].copy()), "three.png")]
    answer = client.post("/predict", **form(*files, field=field))
    one, two, three = answer.json["predictions"]
    assert answer.status_code == 200
    assert [one["name"], two["name"], three["name"]] == ["one.png", "two.png", "three.png"]
    assert one["classes"] != three["classes"] and two["status"] == 415 and "not an image" in two["reason"]


def test_a_named_model_answers_and_an_unknown_one_is_an_error(
    client: FlaskClient, photo: np.ndarray, encode: Encode
) -> None:
    for name, status in (("second", 200), ("toys", 200), ("third", 404)):
        answer = client.post("/predict", **form((encode(photo), "a.png"), model=name))
        assert (answer.status_code, answer.json.get("model", name)) == (status, name)
    assert client.post("/predict?model=second", data=encode(photo), content_type="image/png").json["model"] == "second"


def test_accept_is_true_false_or_null_as_the_file_decides(
    client: FlaskClient, models: list[ServedModel], photo: np.ndarray, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for thresholds, accept in ((None, None), ((0.0, -1e9), True), ((1.5, -1e9), False)):
        monkeypatch.setattr(models[0].classifier, "thresholds", thresholds)
        answer = client.post("/predict", **form((encode(photo), "a.png")))
        assert answer.json["predictions"][0]["accept"] is accept
        page = client.post("/", **form((encode(photo), "a.png"))).text
        assert (page.count('class="unsure">') == 1) is (accept is False)


def test_a_file_replaced_during_a_request_does_not_change_its_class_names(
    client: FlaskClient, models: list[ServedModel], photo: np.ndarray, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, newer = models[0].classifier, copy.copy(models[0].classifier)
    monkeypatch.setattr(newer, "classes", ["other", *before.classes[1:]])
    predicted = Batches.predict

    def replaced(*arguments: Any) -> Any:
        answers = predicted(*arguments)
        models[0].classifier = newer
        return answers

    monkeypatch.setattr(models[0], "classifier", before)
    monkeypatch.setattr(Batches, "predict", replaced)
    answer = client.post("/predict", **form((encode(photo), "a.png")), headers={"Accept": "text/csv"})
    assert models[0].classifier is newer
    assert f"p({before.classes[0]})" in answer.text and "p(other)" not in answer.text


def test_the_answer_is_a_table_for_who_asks_for_csv(
    client: FlaskClient, classifier: OnnxClassifier, photo: np.ndarray, encode: Encode
) -> None:
    files = [(encode(photo), "a, b.png"), (b"", "empty.png")]
    answer = client.post("/predict", **form(*files), headers={"Accept": "text/csv"})
    first, second = csv.DictReader(io.StringIO(answer.text))
    expected, _ = classifier.predict(photo)
    written = [float(first[f"p({name})"]) for name in classifier.classes]
    np.testing.assert_allclose(written, expected, atol=6e-7)
    assert first["path"] == "a, b.png" and second["reason"] == "empty file" and second["class"] == ""


def test_the_form_works_without_javascript(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    answer = client.post("/", **form((encode(photo), "<b>.png")))
    (prediction,) = client.post("/predict", **form((encode(photo), "a.png"))).json["predictions"]
    assert answer.status_code == 200 and "<b>" not in answer.text and "&lt;b&gt;.png" in answer.text
    results = answer.text[answer.text.index('<ol id="results">') : answer.text.index("</ol>")]
    shown = re.findall(r'<th scope="row">(.*?)</th>.*?width="([\d.]+)%"', results)
    assert [(name, float(width)) for name, width in shown] == [
        (entry["class"], round(100 * entry["probability"], 2)) for entry in prediction["classes"]
    ]
    assert "data:image/jpeg;base64," in results


def test_the_form_tells_the_reason_on_the_page(client: FlaskClient) -> None:
    refused = client.post("/", **form((b"%PDF-1.4", "a.pdf")))
    assert refused.status_code == 415 and "a PDF, convert its pages to PNG" in refused.text
    empty = client.post("/", **form())
    assert empty.status_code == 422 and "no image was sent" in empty.text


def test_a_sample_is_answered_like_an_upload(client: FlaskClient) -> None:
    page = client.get("/").text
    name = re.findall(r'name="sample" value="(.*?)"', page)[0]
    image = client.get(f"/samples/{name}").data
    by_page = client.post("/", data={"sample": name, "file": (io.BytesIO(b""), "")}, content_type="multipart/form-data")
    (prediction,) = client.post("/predict", **form((image, name))).json["predictions"]
    assert by_page.status_code == 200 and f"{100 * prediction['probability']:.2f}%" in by_page.text
    assert len(client.get(f"/samples/{name}?small").data) < 10_000
    assert client.get("/samples/nothing.jpg").status_code == 404


def test_too_many_files_and_too_many_bytes_are_refused(
    client: FlaskClient, photo: np.ndarray, encode: Encode, limits: Limits
) -> None:
    many = client.post("/predict", **form(*[(encode(photo), "a.png")] * (limits.files + 1)))
    assert many.status_code == 413 and many.json["kind"] == "too_many_files"
    large = client.post("/predict", data=bytes(limits.bytes + 1), content_type="image/png")
    assert large.status_code == 413 and "2 MB" in large.json["reason"]


def test_a_form_of_the_other_type_is_refused_unread(client: FlaskClient) -> None:
    """Its fields would take a hundred times the memory of their bytes."""
    fields = b"a&" * 800_000
    tracemalloc.start()
    try:
        answer = client.post("/predict", data=fields, content_type="application/x-www-form-urlencoded")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 415 and peak < 10 * len(fields)


def test_every_answer_forbids_content_from_elsewhere(client: FlaskClient) -> None:
    for address in ("/", "/static/page.mjs", "/healthz", "/nowhere"):
        headers = client.get(address).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'" and headers["X-Content-Type-Options"] == "nosniff"


def test_a_site_may_be_allowed_to_show_the_app_in_a_frame(models: list[ServedModel], limits: Limits) -> None:
    client = create_app(models, AppOptions(limits, embed_in="https://example.org")).test_client()
    assert "frame-ancestors https://example.org" in client.get("/").headers["Content-Security-Policy"]


def test_the_page_loads_nothing_from_other_servers_and_weighs_little(client: FlaskClient) -> None:
    page = client.get("/").text
    addresses = re.findall(r'(?:src|href|action)="(.*?)"', page)
    loaded = [address for address in addresses if address.startswith(("static/", "samples/"))]
    assert set(addresses) - set(loaded) == {"./"}
    modules = re.findall(r"from '\./(.*?)'", client.get("/static/page.mjs").text)
    parts = [client.get("/" + address) for address in [*loaded, *(f"static/{name}" for name in modules)]]
    assert modules == ["backend.mjs"] and {part.status_code for part in parts} == {200}
    assert len(page.encode()) + sum(len(part.data) for part in parts) < 100_000


def test_the_page_names_each_model_and_the_chosen_one(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    page = client.post("/", **form((encode(photo), "a.png"), model="second")).text
    assert re.findall(r'<option value="(\w+)"( selected)?>', page) == [("toys", ""), ("second", " selected")]
    assert '<p class="model">second</p>' in page


def test_health_and_metrics_tell_what_happened(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    client.post("/predict", **form((encode(photo), "a.png"), (b"x", "b.png")))
    assert client.get("/healthz").json["models"]["toys"] == {"loads": 1, "fault": ""}
    text = client.get("/metrics").text
    assert 'decant_images_total{model="toys",outcome="predicted"} 1\n' in text
    assert 'decant_images_total{model="toys",outcome="not_an_image"} 1\n' in text
    assert 'decant_requests_total{address="/predict",status="200"} 1\n' in text


def test_a_failure_is_told_without_its_details(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("decant.serving.app.openapi.description", fail)
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 500 and "secret" not in answer.text


def test_openapi_describes_every_address_and_method(app: Flask) -> None:
    described = app.test_client().get("/openapi.json").json
    methods = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert methods == {(path, method) for path, operations in described["paths"].items() for method in operations}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            named = [entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)


def test_answers_have_the_keys_that_openapi_promises(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    answer = client.post("/predict", **form((encode(photo), "a.png"), (b"x", "b.png"))).json
    for value, name in (
        (answer, "Predictions"),
        (answer["predictions"][0], "Prediction"),
        (answer["predictions"][1], "RefusedImage"),
        (client.post("/predict").json, "Refusal"),
    ):
        assert set(value) == set(schemas[name]["required"]) == set(schemas[name]["properties"]), name
