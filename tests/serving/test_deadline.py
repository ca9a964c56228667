"""One deadline for all that a request waits for: a thread, memory, and the prediction of each of its images."""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask

from decant.serving.app import AppOptions, create_app
from decant.serving.batching import Batches
from decant.serving.deadline import RECEIVED, Deadline
from decant.serving.memory import Budget
from decant.serving.served import EXTENSION
from decant.serving.served_model import ServedModel
from decant.serving.uploads import Limits

Encode = Callable[..., bytes]


def test_the_time_left_ends_at_zero() -> None:
    assert 8 < Deadline(10, begun=time.monotonic() - 1).left_s <= 9
    assert Deadline(10, begun=time.monotonic() - 11).left_s == 0


def test_all_that_a_request_waits_for_has_its_one_deadline(
    app: Flask, photo: np.ndarray, encode: Encode, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved, predict = Budget.reserved, Batches.predict
    seen: list[Deadline] = []

    def noted(wait: Callable[..., Any]) -> Callable[..., Any]:
        def waits(self: Any, *arguments: Any) -> Any:
            seen.append(arguments[-1])
            return wait(self, *arguments)

        return waits

    monkeypatch.setattr(Budget, "reserved", noted(reserved))
    monkeypatch.setattr(Batches, "predict", noted(predict))
    received = time.monotonic() - 1
    form = {"file": [(io.BytesIO(encode(photo)), f"{number}.png") for number in range(3)]}
    answer = app.test_client().post("/predict", data=form, environ_overrides={RECEIVED: received})
    assert answer.status_code == 200 and len(seen) == 1 + 2 * 3  # the body, and each image's pixels and prediction
    assert set(seen) == {Deadline(limits.seconds, received)}


def test_a_request_that_waited_too_long_for_a_thread_is_refused_and_told_when_to_come_again(
    app: Flask, photo: np.ndarray, encode: Encode, limits: Limits
) -> None:
    late = {RECEIVED: time.monotonic() - limits.seconds - 1}
    for address in ("/predict", "/v1/models/toys:predict", "/v2/models/toys/infer"):
        answer = app.test_client().post(address, data=encode(photo), content_type="image/png", environ_overrides=late)
        assert answer.status_code == 503 and "within 20 s" in answer.json["reason"]
        assert int(answer.headers["Retry-After"]) > 0
    assert app.extensions[EXTENSION].answers.batches.sizes == {}


def test_a_body_waits_until_there_is_memory_for_it(
    models: list[ServedModel], photo: np.ndarray, encode: Encode
) -> None:
    app = create_app(models, AppOptions(Limits(bytes=100_000, seconds=0.2)))
    bodies, client = app.extensions[EXTENSION].answers.bodies, app.test_client()
    sent: dict[str, Any] = {"data": encode(photo), "content_type": "image/png"}
    with bodies.reserved(100_000, Deadline(20)):
        refused = client.post("/predict", **sent)
        assert refused.status_code == 503 and "memory" in refused.json["reason"]
        assert client.get("/healthz").status_code == 200
    app.extensions[EXTENSION].answers.limits = Limits(bytes=100_000)
    for body in (sent["data"], b"no image", bytes(200_000)):  # each gives its memory back, whatever becomes of it
        client.post("/predict", **{**sent, "data": body})
    with bodies.reserved(100_000, Deadline(1)):
        pass
