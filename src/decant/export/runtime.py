"""Prediction with an exported file. Needs only NumPy and ONNX Runtime."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as engine

from decant.errors import UserError
from decant.evaluation.energy import log_sums
from decant.export.interface import IMAGES, LOGITS, PROBABILITIES

# ONNX Runtime's own exceptions have no common base but Exception; it raises ValueError for unknown names.
ENGINE_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(kind for kind in vars(engine).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
LARGE_INPUT_BYTES = 8_000_000


class BrokenFile(UserError):
    """A file that exists but cannot be loaded, or fails when it is run."""


class OnnxClassifier:
    """An exported classifier. `classes`, `temperature`, `dtype`, `thresholds` and `metadata` are read from the file.

    thresholds: the smallest top probability and log sum of an accepted prediction, None if the file has none. threads:
    per call; 0 lets ONNX Runtime choose. Raises UserError if the file does not exist, BrokenFile if it is not an
    exported classifier or its metadata are damaged.
    """

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        self.session = self._open(Path(path), threads)
        try:
            self.metadata = read_metadata(self.session)
            self.classes = read_classes(self.metadata)
            self.temperature = read_temperature(self.metadata)
            self.dtype = read_dtype(self.metadata)
            self.thresholds = read_thresholds(self.metadata)
        except ValueError as error:
            raise BrokenFile(f"{path} {error}; export it again") from None

    def _open(self, path: Path, threads: int) -> onnxruntime.InferenceSession:
        return open_session(path, threads)

    def predict(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and logits, float32 [K] each. image: uint8 [H, W, 3], RGB, EXIF orientation applied."""
        if image.ndim != 3:
            raise ValueError(f"an image must have the shape [H, W, 3], not {image.shape}")
        probabilities, logits = self.predict_batch(image[None])
        return probabilities[0], logits[0]

    def accepts(self, probabilities: np.ndarray, logits: np.ndarray) -> bool | None:
        """True if the prediction with these arrays [K] is accepted; None if the file has no threshold."""
        if self.thresholds is None:
            return None
        threshold, log_sum_threshold = self.thresholds
        return float(probabilities.max()) >= threshold and float(log_sums(logits[None])[0]) >= log_sum_threshold

    def predict_batch(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and logits, float32 [B, K] each. images: uint8 [B, H, W, 3]; else ValueError is raised."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
            raise ValueError(f"images must be uint8 [B, H, W, 3] and not empty, not {images.dtype} {images.shape}")
        probabilities, logits = run(self.session, {IMAGES: images}, [PROBABILITIES, LOGITS])
        return probabilities, logits


def read_metadata(session: onnxruntime.InferenceSession) -> dict[str, str]:
    """The file's metadata. Raises ValueError if they are not text; its caller adds the file's name to the message."""
    try:
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise ValueError("has damaged metadata: they are not text") from None
    return metadata


def read_classes(metadata: Mapping[str, str]) -> list[str]:
    """The class names in the order of the logits. Raises ValueError as `read_metadata` does."""
    if "classes" not in metadata:
        raise ValueError("has no classes in its metadata, so it was not exported by decant")
    try:
        classes = json.loads(metadata["classes"])
    except (ValueError, RecursionError):
        classes = None
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("has damaged metadata: its classes are not a list of names")
    return classes


def read_temperature(metadata: Mapping[str, str]) -> float:
    """T > 0 of softmax(logits / T); 1 if the metadata contain none. Raises ValueError as `read_metadata` does."""
    try:
        temperature = float(metadata.get("temperature", 1))
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError("has damaged metadata: its temperature is not a positive number")
    return temperature


def read_dtype(metadata: Mapping[str, str]) -> str:
    """ "fp32" | "int8". Older files use the key `precision`, and the oldest, which are fp32, have none."""
    return metadata.get("dtype", metadata.get("precision", "fp32"))


def read_thresholds(metadata: Mapping[str, str]) -> tuple[float, float] | None:
    """The thresholds that `decant.evaluation.acceptance` chose; the first is above 1 if no prediction is accepted.

    None for a file without thresholds, as files had before version 8 of the stage export. Files from before version 10
    accept every log sum. Raises ValueError as `read_metadata` does.
    """
    if "accept" not in metadata:
        return None
    try:
        accept = json.loads(metadata["accept"])
        threshold, log_sum_threshold = float(accept["threshold"]), float(accept.get("log_sum_threshold", -math.inf))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        threshold = log_sum_threshold = math.nan
    if not threshold >= 0 or math.isnan(log_sum_threshold):
        raise ValueError("has damaged metadata: its thresholds for accepting predictions are not numbers")
    return threshold, log_sum_threshold


def require_full_graph(file: OnnxClassifier, path: Path) -> None:
    """Raise UserError for a file whose graph does not take images of any size."""
    graph = file.metadata.get("graph", "full")
    if graph != "full":
        raise UserError(f"{path} contains the {graph} graph; give the file with the full graph, student.onnx")


def open_session(model: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """A CPU session of a file or of a model's bytes.

    Raises UserError if the file does not exist, BrokenFile if ONNX Runtime cannot load it.
    """
    if isinstance(model, Path) and not model.is_file():
        raise UserError(f"{model} does not exist; export the student first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors are raised
    # Otherwise a memory plan is kept for every input shape: a thousand image sizes leave a thousand plans.
    options.enable_mem_pattern = False
    try:
        source = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except ENGINE_ERRORS as error:
        name = model if isinstance(model, Path) else "the model"
        raise BrokenFile(
            f"{name} cannot be loaded as an ONNX file ({error}); give student.onnx, or export it again"
        ) from None


def run(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """The named outputs, float32. Raises BrokenFile if the session fails."""
    try:
        return session.run(outputs, inputs, run_options(inputs))
    except ENGINE_ERRORS as error:  # the file is at fault: wrong images were refused before
        shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
        raise BrokenFile(f"the model fails on {shapes} ({error}); export it again") from None


def run_options(inputs: dict[str, np.ndarray]) -> onnxruntime.RunOptions | None:
    """Options that return the session's memory after a large input; None for a small one.

    A session keeps all memory that it ever took, which is 300 MB after an image of 12 megapixels.
    """
    if sum(value.nbytes for value in inputs.values()) < LARGE_INPUT_BYTES:
        return None
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
