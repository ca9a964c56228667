"""The app: its page, `POST /predict` and `/map`, health, metrics and the description for programs."""

import base64
import csv
import io
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from flask import Blueprint, Flask, Response, abort, g, jsonify, request
from PIL import Image
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from decant.data.pool import parallel
from decant.export.image_predictions import COLUMNS, ImagePrediction, cells
from decant.pages import asset, page
from decant.serving import metrics, openapi
from decant.serving.answers import Answer, Answers, Preview, no_preview, refusal, server_fault
from decant.serving.deadline import RECEIVED, Busy, Deadline
from decant.serving.protocols import kserve, tensorflow
from decant.serving.samples import Samples, ToySamples
from decant.serving.served import EXTENSION, Served, deadline, served
from decant.serving.served_model import LoadedModel, ServedModel
from decant.serving.uploads import MEGA, Limits, Refused, Upload, limit_decoders, uploads_in

log = logging.getLogger(__name__)
STARTED = time.time()
PREVIEW_PX = 240
RETRY_S = 5  # what a busy server asks its clients to wait
BODY_KINDS = {413: "too_many_bytes", 404: "not_found", 405: "wrong_method"}
routes = Blueprint("app", __name__)


@dataclass(frozen=True)
class AppOptions:
    """limits: of a request. workers: predictions at once. samples: images to try. embed_in: see Served."""

    limits: Limits = field(default_factory=Limits)
    workers: int = 1
    samples: Samples = field(default_factory=ToySamples)
    embed_in: str = ""


def create_app(models: Sequence[ServedModel], options: AppOptions) -> Flask:
    """The app that serves these models, the first one by default."""
    app = Flask("decant", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = options.limits.bytes
    limit_decoders(options.limits)
    answers = Answers(options.limits, options.workers)
    app.extensions[EXTENSION] = Served(models, answers, options.samples, options.embed_in)
    for blueprint in (routes, kserve.routes, tensorflow.routes):
        app.register_blueprint(blueprint)
    app.before_request(start_clock)
    app.before_request(hold_body)
    app.after_request(finish)
    app.teardown_request(close)
    app.register_error_handler(Refused, refused_response)
    app.register_error_handler(Busy, lambda error: refused_response(server_fault(error)))
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, failure)
    return app


@routes.get("/")
def empty_page() -> str:
    return page_with([])


@routes.post("/")
def page_of_form() -> Response | tuple[str, int]:
    """The page with the answers of its form, for browsers without JavaScript."""
    try:
        model = served().model(form_value("model"))
        sample = form_value("sample")
        uploads = [served().samples.upload(sample)] if sample else uploads_in(request, served().limits)
        answers = answers_for(model, uploads, preview)
    except (Refused, RequestEntityTooLarge) as error:
        refused = error if isinstance(error, Refused) else too_many_bytes()
        return page_with([], problem=refused.reason), refused.status
    return page_with(answers, model.name), status_of(answers)


@routes.post("/predict")
def predict() -> tuple[Response, int]:
    """The predictions for the images of a form, or for the image in the body."""
    model = served().model(form_value("model") or request.args.get("model"))
    answers = answers_for(model, uploads_in(request, served().limits))
    status = status_of(answers)
    if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        return Response(table(model, answers), mimetype="text/csv"), status
    return jsonify({"model": model.name, "predictions": [answer.to_dict() for answer in answers]}), status


@routes.post("/map")
def class_map() -> Response:
    """A picture of the places of an image that support its most probable class, to lay over the image."""
    model = served().model(form_value("model") or request.args.get("model"))
    uploads = uploads_in(request, served().limits)
    if len(uploads) > 1:
        raise Refused(413, "too_many_files", f"{len(uploads)} files, but a map is of one; send one image")
    heat = served().answers.heat(model, uploads[0], deadline())
    picture = "data:image/png;base64," + base64.b64encode(heat.picture).decode()
    return jsonify({"model": model.name, "class": heat.label, "share": heat.share, "picture": picture})


@routes.get("/healthz")
def health() -> dict[str, Any]:
    models = {model.name: {"loads": model.loads, "fault": model.fault} for model in served().models}
    return {"status": "ok", "models": models}


@routes.get("/metrics")
def metrics_text() -> Response:
    return Response(served().answers.metrics.text(measured_now(served())), content_type=metrics.CONTENT_TYPE)


@routes.get("/openapi.json")
def description() -> dict[str, Any]:
    return openapi.description([model.name for model in served().models], served().limits)


@routes.get("/static/<name>")
def static_file(name: str) -> Response:
    file = asset(name)
    if file is None:
        abort(404)
    content, kind = file
    return Response(content, content_type=kind)


@routes.get("/samples/<name>")
def sample_image(name: str) -> Response:
    upload = served().samples.upload(name)
    content = served().samples.thumbnail(name) if "small" in request.args else upload.content
    return Response(content, mimetype="image/jpeg" if "small" in request.args else "application/octet-stream")


def form_value(name: str) -> str | None:
    """A text field of a multipart form. URL-encoded forms are not read: a field may take far more memory than bytes."""
    return request.form.get(name) if request.mimetype == "multipart/form-data" else None


def answers_for(model: LoadedModel, uploads: Sequence[Upload], preview_of: Preview = no_preview) -> list[Answer]:
    """The answers in the order of the uploads; several images are decoded at once."""
    answer = partial(served().answers.answer, model, deadline=deadline(), preview=preview_of)
    if len(uploads) == 1:
        return [answer(uploads[0])]
    return list(parallel(answer, uploads, workers=served().answers.batches.workers))


def status_of(answers: Sequence[Answer]) -> int:
    """200 if any image has a prediction, else the status of the first refusal."""
    refused = [answer.refused.status for answer in answers if answer.refused]
    return refused[0] if len(refused) == len(answers) else 200


def page_with(answers: Sequence[Answer], chosen: str = "", problem: str = "") -> str:
    """The page, with answers below its form."""
    models = [(model.name, model.title, model.classifier.classes) for model in served().models]
    limits = served().limits
    return page(
        models=models,
        chosen=chosen or models[0][0],
        samples=served().samples.names,
        answers=answers,
        problem=problem,
        max_bytes=limits.bytes,
        max_pixels=limits.pixels,
        sends_images=True,
        mapped=[model.name for model in served().models if model.classifier.maps],
    )


def preview(image: np.ndarray) -> str:
    """A small copy of the image, uint8 [H, W, 3], as a data address within the page."""
    small = Image.fromarray(image)
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def table(model: LoadedModel, answers: Sequence[Answer]) -> str:
    """The answers as the CSV that `distill/predict.py` writes."""
    classes = model.classifier.classes
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"p({name})" for name in classes)])
    for answer in answers:
        reason = answer.refused.reason if answer.refused else ""
        writer.writerow(cells(ImagePrediction(answer.name, answer.probabilities, answer.accept, reason), classes))
    return text.getvalue()


def measured_now(served: Served) -> dict[tuple[str, metrics.Labels], float]:
    """The values of the metrics that are read at the time of the request."""
    now: dict[tuple[str, metrics.Labels], float] = {
        ("decant_waiting_images", ()): served.answers.batches.waiting,
        ("process_start_time_seconds", ()): STARTED,
    }
    resident = metrics.resident_bytes()
    if resident:
        now["process_resident_memory_bytes", ()] = resident
    for size, count in dict(served.answers.batches.sizes).items():
        now["decant_batches_total", (("images", str(size)),)] = count
    for model in served.models:
        now["decant_model_loads_total", (("model", model.name),)] = model.loads
        now["decant_model_fault", (("model", model.name),)] = int(bool(model.fault))
    return now


def start_clock() -> None:
    g.started = time.perf_counter()
    g.deadline = Deadline(served().limits.seconds, request.environ.get(RECEIVED, time.monotonic()))


def hold_body() -> None:
    """Wait until there is memory for the body, which is held until the request is answered. Raises Busy."""
    g.held = ExitStack()
    if request.method == "POST":
        bodies = served().answers.bodies
        g.held.enter_context(bodies.reserved(min(request.content_length or 0, bodies.amount), deadline()))


def finish(response: Response) -> Response:
    """Count the request, and add the headers that forbid the page to load anything from elsewhere."""
    address = request.url_rule.rule if request.url_rule else "unknown"
    answers = served().answers
    answers.metrics.count("decant_requests_total", address=address, status=str(response.status_code))
    answers.metrics.observe(time.perf_counter() - g.started)
    frames = served().embed_in or "'none'"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {frames}"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def close(_: BaseException | None) -> None:
    """Close the temporary files of a form, and give the memory of the body to others."""
    request.close()
    g.held.close()


def refused_response(error: Refused) -> tuple[Response, int]:
    response = jsonify({"error": error.reason, **refusal(error)})
    if error.status == 503:
        response.headers["Retry-After"] = str(RETRY_S)
    return response, error.status


def http_error(error: HTTPException) -> tuple[Response, int]:
    """Werkzeug's refusals, such as an unknown address, in the form of our own."""
    status = error.code or 500
    if status == 413:
        return refused_response(too_many_bytes())
    return refused_response(Refused(status, BODY_KINDS.get(status, "bad_request"), error.description or error.name))


def too_many_bytes() -> Refused:
    """The refusal of a body that is longer than the limit, or has too long fields."""
    limit = served().limits.bytes / MEGA
    return Refused(413, "too_many_bytes", f"the request is too large: more than {limit:g} MB, or too many fields")


def failure(error: Exception) -> tuple[Response, int]:
    """The response to an unexpected error, which is logged: the client gets no details of it."""
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return refused_response(Refused(500, "failure", "the server failed; its log has the reason"))
