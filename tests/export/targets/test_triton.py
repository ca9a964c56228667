"""The target triton: its configuration by Triton's own message type, its model as the configuration describes it."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

from decant.errors import UserError
from decant.export.runtime import OnnxClassifier, open_session
from decant.export.targets.triton import write_triton_folder

Vehicles = list[tuple[np.ndarray, int]]
ONNX_TYPES = {"TYPE_UINT8": onnx.TensorProto.UINT8, "TYPE_FP32": onnx.TensorProto.FLOAT}


@pytest.fixture(scope="module")
def messages() -> Any:
    """tritonclient's model_config_pb2, from its file: the package around it would need grpcio."""
    spec = importlib.util.find_spec("tritonclient")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("tritonclient is not installed; requirements.lock has it")
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    inner = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert inner is not None and inner.loader is not None
    module = importlib.util.module_from_spec(inner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf warns of code that an older protoc made
        inner.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(fitted_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_triton_folder(fitted_file, tmp_path_factory.mktemp("repository"), "toy_vehicles")


@pytest.fixture
def config(folder: Path, messages: Any) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), messages.ModelConfig())


def test_tritons_message_type_parses_the_config_and_its_name_is_the_folders(folder: Path, config: Any) -> None:
    assert config.name == folder.name == "toy_vehicles"
    assert config.platform == "onnxruntime_onnx"
    assert config.max_batch_size == 32 and config.HasField("dynamic_batching")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "1/model.onnx",
        "config.pbtxt",
        "decant.json",
        "labels.txt",
    ]


def test_names_types_and_dims_equal_the_onnx_files(folder: Path, config: Any, messages: Any) -> None:
    graph = onnx.load(folder / "1" / "model.onnx").graph

    def in_file(values: Any) -> list[tuple]:
        kinds = [value.type.tensor_type for value in values]
        dims = [[-1 if dim.dim_param else dim.dim_value for dim in kind.shape.dim] for kind in kinds]
        return [(value.name, kind.elem_type, shape) for value, kind, shape in zip(values, kinds, dims, strict=True)]

    def in_config(values: Any) -> list[tuple]:
        types = [ONNX_TYPES[messages.DataType.Name(value.data_type)] for value in values]
        return [(value.name, kind, [-1, *value.dims]) for value, kind in zip(values, types, strict=True)]

    assert in_config(config.input) == in_file(graph.input)
    assert in_config(config.output) == in_file(graph.output)
    assert list(config.input[0].dims) == [-1, -1, 3]


def test_the_labels_are_the_classes_and_are_assigned_to_the_probabilities(
    folder: Path, config: Any, fitted_file: Path
) -> None:
    labels = {output.name: output.label_filename for output in config.output}
    assert labels == {"probabilities": "labels.txt", "logits": ""}
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == OnnxClassifier(fitted_file).classes


def test_the_model_run_as_configured_predicts_the_same_classes(
    folder: Path, config: Any, vehicles: Vehicles, expected: np.ndarray
) -> None:
    session = open_session(folder / "1" / "model.onnx", threads=1)
    (given,) = config.input
    (answer,) = [output for output in config.output if output.label_filename]
    labels = (folder / answer.label_filename).read_text(encoding="utf-8").splitlines()
    classes = OnnxClassifier(folder / "1" / "model.onnx").classes
    for (image, _), row in zip(vehicles, expected, strict=True):
        (found,) = session.run([answer.name], {given.name: image[None]})
        assert labels[found[0].argmax()] == classes[row.argmax()]
    full = np.stack([vehicles[0][0]] * config.max_batch_size)
    assert session.run([answer.name], {given.name: full})[0].shape == (config.max_batch_size, len(labels))


def test_other_models_in_the_repository_are_unchanged(fitted_file: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.pbtxt").write_text("mine")
    write_triton_folder(fitted_file, tmp_path, "ours")
    assert (tmp_path / "theirs" / "config.pbtxt").read_text() == "mine"
    with pytest.raises(UserError, match="not written here"):
        write_triton_folder(fitted_file, tmp_path, "theirs")
    assert (tmp_path / "theirs" / "config.pbtxt").read_text() == "mine"
