"""Send hostile requests to a running server, many at once with a good one after each, and check the responses."""

import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from decant.benchmarking.hostile_uploads import Hostile
from decant.benchmarking.server_process import ServerProcess
from decant.data.images import BrokenImage, decode
from decant.data.pool import parallel
from decant.export.runtime import OnnxClassifier

HOSTILE_COLUMNS = (
    "kind", "requests", "refused", "answered", "failed", "statuses", "good_answered", "peak_rss_mb",
)  # fmt: skip
PATIENCE_S = 90.0  # to wait for a response
AT_ONCE = 16  # connections


@dataclass(frozen=True)
class Outcome:
    """The result of a request. status: 0 without a response. fault: what is wrong with the response, else ""."""

    kind: str
    status: int
    fault: str
    good_after: bool


def run_hostile(
    server: ServerProcess,
    classifier: OnnxClassifier,
    model: str,
    requests: Iterable[Hostile],
    good: bytes,
    at_once: int = AT_ONCE,
) -> list[Outcome]:
    """Send the requests over `at_once` connections, each followed by a good one; the outcomes are in their order.

    model: its name in the addresses. good: an image that must be answered after each hostile request.
    """
    expected = classifier.predict(decode(good))[0]

    def outcome(hostile: Hostile) -> Outcome:
        connection = sent(server.port, hostile.request.replace(b"MODEL", model.encode(), 1))
        if not hostile.slow:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        status, body = received(connection)
        fault = fault_of(hostile, status, body, classifier)
        return Outcome(hostile.kind, status, fault, is_right(server.predict(good), classifier, expected))

    return list(parallel(outcome, requests, workers=at_once, ahead=2 * at_once))


def sent(port: int, request: bytes) -> socket.socket:
    """A connection over which the request was sent, or the part of it that the server accepted."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was sent; the response can be read
        connection.sendall(request)
    return connection


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the response; 0 and no bytes without one."""
    content = b""
    with connection, suppress(OSError):
        while part := connection.recv(65536):
            content += part
    head, _, body = content.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), body


def fault_of(hostile: Hostile, status: int, body: bytes, classifier: OnnxClassifier) -> str:
    """What is wrong with the response; "" if nothing is."""
    if 400 <= status < 500:
        return "" if has_reason(body) else f"{status} without a reason"
    if status != 200:
        return f"status {status}"
    try:
        expected = classifier.predict(decode(hostile.image or b""))[0]
    except BrokenImage as error:
        return f"an answer for what is no image: {error}"
    return "" if is_right((status, json.loads(body)), classifier, expected) else "a wrong answer"


def has_reason(body: bytes) -> bool:
    """True if the body contains a reason: in the app's JSON, or as a text of waitress."""
    try:
        response = json.loads(body)
    except ValueError:
        return len(body.split()) > 3
    return bool(response.get("reason") or response.get("error") or response["predictions"][0]["reason"])


def is_right(response: tuple[int, Mapping[str, Any]], classifier: OnnxClassifier, expected: np.ndarray) -> bool:
    """True if the response has the probabilities `expected`, [K]."""
    status, content = response
    if status != 200:
        return False
    shares = {entry["class"]: entry["probability"] for entry in content["predictions"][0]["classes"]}
    return bool(np.allclose([shares[name] for name in classifier.classes], expected, atol=1e-4))


def hostile_rows(outcomes: Sequence[Outcome], peak_rss_mb: float) -> list[dict[str, object]]:
    """One row per kind, and one for all, which has the memory; keys are HOSTILE_COLUMNS."""
    kinds = [*dict.fromkeys(outcome.kind for outcome in outcomes), "all"]
    rows: list[dict[str, object]] = []
    for kind in kinds:
        of_kind = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        right = [outcome for outcome in of_kind if not outcome.fault]
        rows.append(
            {
                "kind": kind,
                "requests": len(of_kind),
                "refused": sum(outcome.status != 200 for outcome in right),
                "answered": sum(outcome.status == 200 for outcome in right),
                "failed": len(of_kind) - len(right),
                "statuses": " ".join(map(str, sorted({outcome.status for outcome in of_kind}))),
                "good_answered": sum(outcome.good_after for outcome in of_kind),
                "peak_rss_mb": peak_rss_mb if kind == "all" else None,
            }
        )
    return rows
