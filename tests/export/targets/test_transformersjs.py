"""The target transformersjs: its graph in ONNX Runtime, its folder in transformers.js."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from decant.export.runtime import open_session, run
from decant.export.targets.transformersjs import write_transformersjs_folder
from decant.models.checkpoint import Checkpoint

Vehicles = list[tuple[np.ndarray, int]]
CLASSIFY = """
import { readFileSync } from 'node:fs';
import { env, pipeline } from '@huggingface/transformers';
env.allowRemoteModels = false;
const [folder, list] = process.argv.slice(2);
const classify = await pipeline('image-classification', folder, OPTIONS);
const answers = [];
for (const photo of JSON.parse(readFileSync(list))) answers.push(await classify(photo, { top_k: null }));
console.log(JSON.stringify(answers));
"""


@pytest.fixture(scope="module")
def folder(fitted_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformersjs")
    write_transformersjs_folder(fitted_file, folder)
    return folder


def rescaled(image: np.ndarray) -> np.ndarray:
    """The image as transformers.js prepares it with this folder's preprocessor_config: [1, 3, H, W]."""
    return (image.astype(np.float32) * np.float64(1 / 255)).astype(np.float32).transpose(2, 0, 1)[None]


def test_softmax_of_the_web_graphs_logits_equals_the_files_probabilities(
    folder: Path, vehicles: Vehicles, expected: np.ndarray
) -> None:
    session = open_session(folder / "onnx" / "model.onnx", threads=1)
    for (image, _), row in zip(vehicles[:60], expected, strict=False):
        (logits,) = run(session, {"pixel_values": rescaled(image)}, ["logits"])
        exponentials = np.exp(logits[0].astype(np.float64))
        np.testing.assert_allclose(exponentials / exponentials.sum(), row, atol=1e-6)


def test_every_byte_is_restored_after_division_by_255(folder: Path) -> None:
    """In float32, for both ways of rescaling: division by 255 and multiplication by 1/255."""
    model = onnx.load(folder / "onnx" / "model.onnx")
    entrance = onnx.utils.Extractor(model).extract_model(["pixel_values"], ["images"])
    session = open_session(entrance.SerializeToString(), threads=1)
    greys = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    for scaled in (greys.astype(np.float32) / np.float32(255), greys.astype(np.float32) * np.float32(1 / 255)):
        (restored,) = run(session, {"pixel_values": scaled}, ["images"])
        np.testing.assert_array_equal(restored, greys.transpose(0, 2, 3, 1))


def test_the_graph_has_the_input_and_output_that_transformers_js_needs(folder: Path, fitted: Checkpoint) -> None:
    model = onnx.load(folder / "onnx" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("pixel_values", "logits")
    assert [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] == ["N", 3, "H", "W"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (json.loads(metadata["classes"]), metadata["graph"]) == (fitted.classes, "web")
    assert json.loads(metadata["input"])["dtype"] == "float32"


def test_the_config_turns_off_resizing_and_contains_the_classes(folder: Path, fitted: Checkpoint) -> None:
    steps = json.loads((folder / "preprocessor_config.json").read_text())
    assert {key for key, value in steps.items() if value is True} == {"do_convert_rgb", "do_rescale"}
    labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    assert labels == {str(index): name for index, name in enumerate(fitted.classes)}


def in_node(node_modules: Path, folder: Path, vehicles: Vehicles, options: str = "{ dtype: 'fp32' }") -> np.ndarray:
    """Probabilities from transformers.js for PNG files of the vehicles, [n, 10], columns in the order of label2id."""
    (node_modules / "classify.mjs").write_text(CLASSIFY.replace("OPTIONS", options))
    photos = []
    for index, (image, _) in enumerate(vehicles):
        photos.append(str(node_modules / f"{index}.png"))
        Image.fromarray(image).save(photos[-1])
    (node_modules / "photos.json").write_text(json.dumps(photos))
    words = ["node", "classify.mjs", str(folder), "photos.json"]
    done = subprocess.run(words, cwd=node_modules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label2id"]
    answers = [{row["label"]: row["score"] for row in answer} for answer in json.loads(done.stdout)]
    return np.array([[answer[name] for name in labels] for answer in answers])


@pytest.mark.external
def test_transformers_js_gives_the_files_probabilities(
    node_modules: Path, folder: Path, vehicles: Vehicles, expected: np.ndarray
) -> None:
    probabilities = in_node(node_modules, folder, vehicles)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert (probabilities.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.external
def test_transformers_js_finds_the_file_without_the_option_dtype(
    node_modules: Path, folder: Path, vehicles: Vehicles, expected: np.ndarray
) -> None:
    np.testing.assert_allclose(in_node(node_modules, folder, vehicles[:5], "{}"), expected[:5], atol=1e-5)


@pytest.mark.external
@pytest.mark.parametrize("bug", ["labels", "rescale"])
def test_wrong_labels_or_scaling_change_predictions_in_transformers_js(
    node_modules: Path, fitted_file: Path, tmp_path: Path, vehicles: Vehicles, expected: np.ndarray, bug: str
) -> None:
    write_transformersjs_folder(fitted_file, tmp_path)
    name, key = ("config.json", "id2label") if bug == "labels" else ("preprocessor_config.json", "do_rescale")
    config = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    names = list(config.get("id2label", {}).values())
    config[key] = dict(enumerate(names[1:] + names[:1])) if bug == "labels" else False
    (tmp_path / name).write_text(json.dumps(config))
    probabilities = in_node(node_modules, tmp_path, vehicles[:40])
    assert (probabilities.argmax(axis=1) == expected[:40].argmax(axis=1)).mean() < 0.9
