"""POST /map: which places of an image support its class, by a network whose map is known."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from flask import Flask
from flask.testing import FlaskClient
from onnx import helper
from PIL import Image
from torch import Tensor, nn

from decant.data.preprocessing import Fit, Preprocessing
from decant.export.runtime import OnnxClassifier
from decant.export.student import export_student
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier
from decant.serving.app import AppOptions, create_app
from decant.serving.heat_picture import LEVELS
from decant.serving.mapped_classifier import MappedClassifier
from decant.serving.served import served
from decant.serving.served_model import served_models
from decant.serving.uploads import Limits

Encode = Callable[..., bytes]
FIRST_PAGE = "/"


class Brightness(nn.Module):
    """Class 1 is as probable as the image is bright, class 0 as it is dark; it looks at 8 x 8 places."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 1, 4, stride=4), nn.Linear(1, 2)
        for parameter in (self.convolution.weight, self.convolution.bias, self.head.weight, self.head.bias):
            nn.init.constant_(parameter, 0.0)
        nn.init.constant_(self.convolution.weight, 1.0)
        self.head.weight.data[:] = self.head.weight.new_tensor([[-1.0], [1.0]])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.convolution(x).mean(dim=(2, 3)))


def bright_file(folder: Path, fit: Fit = "stretch") -> Path:
    classifier = Classifier(Brightness(), [0.0] * 3, [1.0] * 3).eval()
    export_student(Checkpoint(classifier, ["dark", "bright"], Preprocessing(32, 1.0, fit), {}), folder)
    return folder / "student.onnx"


def client_of(file: Path, limits: Limits) -> FlaskClient:
    return create_app(served_models([("", file)]), AppOptions(limits)).test_client()


def sent(*contents: bytes) -> dict[str, Any]:
    files = [(io.BytesIO(content), "a.png") for content in contents]
    return {"data": {"file": files}, "content_type": "multipart/form-data"}


def levels_of(answer: Any) -> np.ndarray:
    kind, _, data = answer.json["picture"].partition(",")
    assert kind == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def with_bright_corner(height: int, width: int, left: int = 0) -> np.ndarray:
    """A black photo whose upper left corner is white, from column `left` on."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[: height // 4, left : left + height // 4] = 255
    return photo


def test_the_map_is_hot_where_the_object_is(limits: Limits, encode: Encode, tmp_path: Path) -> None:
    for fit, left in (("stretch", 0), ("pad", 0), ("crop", 60)):  # the crop shows columns 60 to 180
        client = client_of(bright_file(tmp_path / fit, fit), limits)  # type: ignore[arg-type]
        answer = client.post("/map", **sent(encode(with_bright_corner(120, 240, left))))
        assert answer.json["class"] == "bright" and answer.json["share"] == (0.5 if fit == "crop" else 1)
        levels = levels_of(answer)
        assert levels.shape == (64, 128)
        hot = np.argwhere((levels > LEVELS // 2) & (levels != LEVELS)) / 64 * 120  # in pixels of the photo
        assert hot.min(axis=0).tolist() == [0, left] and (hot.max(axis=0) < [45, left + 45]).all(), fit


def test_a_photo_that_its_exif_turns_is_shown_upright(limits: Limits, encode: Encode, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the upper left corner becomes the upper right one
    client = client_of(bright_file(tmp_path), limits)
    levels = levels_of(client.post("/map", **sent(encode(with_bright_corner(90, 120), "JPEG", exif=exif))))
    assert levels.shape == (120, 90)
    row, column = np.argwhere(levels == LEVELS - 1).mean(axis=0)
    assert row < 30 and column > 60


def test_the_map_is_refused_as_a_prediction_is(client: FlaskClient, limits: Limits, encode: Encode) -> None:
    large = encode(np.zeros((1001, 1000, 3), np.uint8))
    for content, status in ((b"no image", 415), (b"", 422), (large, 413), (bytes(limits.bytes + 1), 413)):
        answer, prediction = (
            client.post(address, data=content, content_type="image/png") for address in ("/map", "/predict")
        )
        assert answer.status_code == prediction.status_code == status and answer.json["reason"]
    assert client.post("/map").status_code == 422
    assert client.post("/map?model=third", data=b"x", content_type="image/png").status_code == 404


def test_a_map_is_of_one_image(client: FlaskClient, photo: np.ndarray, encode: Encode) -> None:
    answer = client.post("/map", **sent(encode(photo), encode(photo)))
    assert answer.status_code == 413 and answer.json["kind"] == "too_many_files"


def test_its_class_is_that_of_the_prediction_and_it_is_counted(app: Flask, photo: np.ndarray, encode: Encode) -> None:
    client = app.test_client()
    (prediction,) = client.post("/predict", **sent(encode(photo))).json["predictions"]
    answer = client.post("/map", data=encode(photo), content_type="image/png")
    schema = client.get("/openapi.json").json["components"]["schemas"]["Map"]
    assert answer.json["class"] == prediction["class"] and set(answer.json) == set(schema["required"])
    assert 'decant_images_total{model="toys",outcome="mapped"} 1\n' in client.get("/metrics").text
    with app.app_context():
        assert served().answers.batches.sizes == {1: 2}


def test_the_page_offers_maps_of_the_models_that_have_them(
    client: FlaskClient, limits: Limits, photo: np.ndarray, encode: Encode, folder: Path
) -> None:
    assert 'data-mapped=\'["toys", "second"]\'' in client.get(FIRST_PAGE).text
    other = client_of(without_map(folder / "student.onnx"), limits)
    assert "data-mapped='[]'" in other.get(FIRST_PAGE).text
    refused = other.post("/map", **sent(encode(photo)))
    assert refused.status_code == 422 and refused.json["kind"] == "no_map"
    assert other.post("/predict", **sent(encode(photo))).status_code == 200


def without_map(file: Path) -> Path:
    """Change the file: a Relu between its average and its last layer."""
    model = onnx.load(file)
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    position = list(model.graph.node).index(head)
    model.graph.node.insert(position, helper.make_node("Relu", [head.input[0]], ["bent"]))
    model.graph.node[position + 1].input[0] = "bent"
    file.write_bytes(model.SerializeToString())
    return file


def test_a_mapped_classifier_has_the_predictions_of_the_file(served_file: Path, photo: np.ndarray) -> None:
    mapped = MappedClassifier(served_file, threads=1)
    assert mapped.maps is not None
    for one, other in zip(mapped.predict(photo), OnnxClassifier(served_file, threads=1).predict(photo), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_map_of_a_single_place_is_not_offered(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    export_student(make_checkpoint(input_px=32), tmp_path)
    assert MappedClassifier(tmp_path / "student.onnx").maps is None


def test_a_map_whose_mean_is_not_the_logits_is_not_offered(folder: Path) -> None:
    model = onnx.load(folder / "student.onnx")
    head = next(node for node in model.graph.node if node.op_type == "Gemm")
    next(attribute for attribute in head.attribute if attribute.name == "alpha").f = 2.0
    (folder / "student.onnx").write_bytes(model.SerializeToString())
    assert MappedClassifier(folder / "student.onnx").maps is None


def test_the_page_asks_for_maps_where_its_backend_has_them(client: FlaskClient, repository: Path) -> None:
    for name in re.findall(r"import \{ (.*?) \} from", client.get("/static/page.mjs").text)[0].split(", "):
        for backend in ("server_backend.mjs", "browser_backend.mjs"):
            source = (repository / "src" / "decant" / "pages" / backend).read_text(encoding="utf-8")
            assert re.search(rf"export .*\b{name}\b", source), (backend, name)
