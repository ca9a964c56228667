"""Target web: a folder for any host of static files, whose page runs the file in the browser with onnxruntime-web."""

from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.export.runtime import OnnxClassifier, require_full_graph
from decant.export.targets.folder import json_bytes, write_target
from decant.pages import ASSETS, content_of, page

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MAX_PIXELS = 12_600_000  # of a photo; WebAssembly has 4 GB at most. The page predicts a smaller copy of a larger one
MAX_BYTES = 100_000_000


def write_web_folder(exported: Path, folder: Path, runtime: Path | None) -> None:
    """Write `index.html` and, in `static/`, its scripts, onnxruntime-web, `student.onnx` and `model.json`.

    runtime: the folder `dist` of the npm package onnxruntime-web. Raises UserError if it lacks the runtime.
    """
    classifier = OnnxClassifier(exported, threads=1)
    require_full_graph(classifier, exported)
    files = {f"static/{name}": content_of(source) for name, source in ASSETS.items()}
    files |= {f"static/{name}": content for name, content in runtime_files(runtime).items()}
    files["static/backend.mjs"] = content_of("browser_backend.mjs")
    files["static/student.onnx"] = exported.read_bytes()
    files["static/model.json"] = json_bytes(page_model(classifier))
    files["index.html"] = index(classifier, exported).encode()
    write_target(folder, "web", files)


def runtime_files(runtime: Path | None) -> dict[str, bytes]:
    """The files of onnxruntime-web that the page loads."""
    missing = [name for name in RUNTIME if runtime is None or not (runtime / name).is_file()]
    if runtime is None or missing:
        where = f"{runtime} has no {missing[0]}" if runtime else "the target web copies onnxruntime-web"
        raise UserError(
            f"{where}; run npm install onnxruntime-web and give --web-runtime node_modules/onnxruntime-web/dist"
        )
    return {name: (runtime / name).read_bytes() for name in RUNTIME}


def page_model(classifier: OnnxClassifier) -> dict[str, Any]:
    """The metadata that the page needs as `model.json`: onnxruntime-web does not read those of the file."""
    thresholds = classifier.thresholds
    accept = None if thresholds is None else [max(-1e30, value) for value in thresholds]  # JSON has no infinity
    return {"classes": classifier.classes, "accept": accept}


def index(classifier: OnnxClassifier, exported: Path) -> str:
    """The page without a server: no samples and no form that is sent."""
    name = classifier.metadata.get("study") or exported.stem
    title = classifier.metadata.get("title") or name
    return page(
        models=[(name, title, classifier.classes)],
        chosen=name,
        samples=[],
        answers=[],
        problem="",
        max_bytes=MAX_BYTES,
        max_pixels=MAX_PIXELS,
        sends_images=False,
        mapped=[],
    )
