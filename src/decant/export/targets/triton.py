"""Target triton: a model repository for NVIDIA's Triton Inference Server."""

from pathlib import Path

from decant.export.interface import PROBABILITIES
from decant.export.runtime import OnnxClassifier
from decant.export.targets.folder import write_target

MAX_BATCH_SIZE = 32  # the largest batch size that verification runs
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
Tensor = tuple[str, str, list[int]]  # name, Triton's type, dims without the batch (-1: any)


def write_triton_folder(exported: Path, repository: Path, name: str) -> Path:
    """Write the model `name` (`config.pbtxt`, `labels.txt`, `1/model.onnx`) into a repository; return its folder.

    exported: a `student.onnx`. Other models of the repository are left alone.
    """
    classifier = OnnxClassifier(exported, threads=1)
    inputs = [triton_tensor(value.name, value.type, value.shape) for value in classifier.session.get_inputs()]
    outputs = [triton_tensor(value.name, value.type, value.shape) for value in classifier.session.get_outputs()]
    files = {
        "labels.txt": "".join(f"{label}\n" for label in classifier.classes).encode(),
        "1/model.onnx": exported.read_bytes(),
        "config.pbtxt": config_text(name, inputs, outputs).encode(),
    }
    write_target(repository / name, "triton", files)
    return repository / name


def triton_tensor(name: str, onnx_type: str, shape: list[int | str]) -> Tensor:
    """An input or output of the ONNX file in Triton's terms; the batch dimension is implicit."""
    return name, TYPES[onnx_type], [size if isinstance(size, int) else -1 for size in shape[1:]]


def config_text(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> str:
    """The text of config.pbtxt. Triton batches requests whose images have equal height and width."""
    return "\n".join(
        [
            f'name: "{name}"',
            'platform: "onnxruntime_onnx"',
            f"max_batch_size: {MAX_BATCH_SIZE}",
            "dynamic_batching { }",
            *[f"input [ {{ {tensor_text(tensor)} }} ]" for tensor in inputs],
            *[f"output [ {{ {tensor_text(tensor)} }} ]" for tensor in outputs],
            "",
        ]
    )


def tensor_text(tensor: Tensor) -> str:
    """Name, type and dims; for the probabilities also the file of labels."""
    name, type_name, dims = tensor
    labels = ' label_filename: "labels.txt"' if name == PROBABILITIES else ""
    return f'name: "{name}" data_type: {type_name} dims: [ {", ".join(map(str, dims))} ]{labels}'
