"""The server as a process: slow clients, hostile requests, what it needs, and its command line."""

import errno
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import blinker
import click
import flask
import itsdangerous
import jinja2
import markupsafe
import numpy as np
import onnxruntime
import PIL
import pytest
import waitress
import werkzeug
from waitress.adjustments import Adjustments

from decant.benchmarking.hostile_run import hostile_rows, run_hostile
from decant.benchmarking.hostile_uploads import KINDS, Hostile, hostile_uploads, photo
from decant.benchmarking.server_process import ServerProcess, running_server
from decant.export.runtime import OnnxClassifier
from decant.serving.deadline import RECEIVED
from decant.serving.served_model import ServedModel
from decant.serving.server import THREADS_PER_WORKER, TimedRequest, TimedServer, TimedTask, is_loopback

SCRIPT = Path(__file__).parents[2] / "distill" / "serve.py"
FIVE = (np, onnxruntime, PIL, flask, waitress)
WITH_FLASK = (werkzeug, jinja2, markupsafe, itsdangerous, click, blinker)  # what Flask installs


@pytest.fixture(scope="module")
def server(served_file: Path) -> Iterator[ServerProcess]:
    options = "--timeout 5 --max-mb 10 --max-megapixels 2 --threads 1".split()
    with running_server(served_file, options) as running:
        yield running


@pytest.fixture(scope="module")
def good() -> bytes:
    return photo(np.random.default_rng(1), "JPEG")


def test_hostile_requests_are_refused_with_a_reason_or_answered_right(
    server: ServerProcess, classifier: OnnxClassifier, good: bytes
) -> None:
    outcomes = run_hostile(server, classifier, "toys", hostile_uploads(12 * len(KINDS)), good)
    assert [outcome for outcome in outcomes if outcome.fault or not outcome.good_after] == []
    assert server.is_alive and server.peak_rss_mb() < 512
    rows = {row["kind"]: row for row in hostile_rows(outcomes, server.peak_rss_mb())}
    assert rows["all"]["requests"] == 12 * len(KINDS) and rows["slow client"]["statuses"] == "408"
    for kind in ("bomb", "wrong type", "empty", "forged JSON", "too much", "slow client"):
        assert rows[kind]["answered"] == 0
    for kind in ("odd metadata", "polyglot", "huge name"):
        assert rows[kind]["answered"] > 0


def test_the_judge_of_hostile_requests_finds_wrong_answers(
    server: ServerProcess, classifier: OnnxClassifier, good: bytes
) -> None:
    other = photo(np.random.default_rng(2), "PNG")
    planted = [Hostile("planted", image_request(good), image=other), Hostile("planted", image_request(good), image=b"")]
    outcomes = run_hostile(server, classifier, "toys", planted, good)
    assert outcomes[0].fault == "a wrong answer" and "no image" in outcomes[1].fault


def image_request(image: bytes) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + image


def test_a_client_that_sends_now_and_then_is_refused_in_the_end(server: ServerProcess, good: bytes) -> None:
    """waitress alone would wait for such a client as long as it sends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        request, answer, began = image_request(good), b"", time.monotonic()
        for byte in request[:300]:
            try:
                connection.send(bytes([byte]))
                connection.settimeout(0.2)
                answer = connection.recv(1000)
                break
            except TimeoutError:
                assert time.monotonic() - began < 50, "never refused"
        assert answer.startswith((b"HTTP/1.0 408", b"HTTP/1.1 408"))
    assert server.predict(good)[0] == 200


def test_many_idle_connections_do_not_keep_others_out(server: ServerProcess, good: bytes) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    try:
        assert server.predict(good)[0] == 200
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(("sent", "answer"), [(b"", b""), (b"POST /predict HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.0 503")])
def test_where_all_connections_are_taken_the_longest_silent_one_gives_way(
    in_process: TimedServer, good: bytes, sent: bytes, answer: bytes
) -> None:
    in_process.connections, taken = 12, []
    try:
        for _ in range(30):
            connection = socket.create_connection(("127.0.0.1", in_process.effective_port), timeout=30)
            connection.sendall(sent)
            taken.append(connection)
        with urlopen(f"http://127.0.0.1:{in_process.effective_port}/healthz", timeout=10) as health:
            assert health.status == 200
        server = ServerProcess(None, in_process.effective_port, 0)  # type: ignore[arg-type]
        assert server.predict(good)[0] == 200
        assert taken[0].makefile("rb").read()[:12] == answer  # it is closed
        taken[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):  # it is open
            taken[-1].recv(1)
    finally:
        for connection in taken:
            connection.close()


def test_many_large_requests_at_once_stay_within_the_memory(served_file: Path) -> None:
    """With the limits as they are by default, except the time, which depends on the machine."""
    large = large_png(19_000_000)
    with running_server(served_file, ["--threads", "1", "--timeout", "100"]) as server:
        with ThreadPoolExecutor(9) as pool:
            statuses = [status for status, _ in pool.map(server.predict, [large] * 9)]
        assert set(statuses) <= {200, 503} and 200 in statuses
        assert server.peak_rss_mb() < 512


def large_png(size: int) -> bytes:
    """A PNG of 12.5 megapixels with about so many bytes."""
    width, height = 4096, 3072
    pixels = np.full((height, width, 3), 90, np.uint8)
    rows = size // (3 * width)
    pixels[:rows] = np.random.default_rng(0).integers(0, 256, (rows, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def test_health_checks_do_not_wait_for_predictions(
    in_process: TimedServer, models: list[ServedModel], good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, predict_batch = threading.Event(), models[0].classifier.predict_batch

    def stuck(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert go.wait(60)
        return predict_batch(images)

    monkeypatch.setattr(models[0].classifier, "predict_batch", stuck)
    clients = 3 * THREADS_PER_WORKER
    to_server = ServerProcess(None, in_process.effective_port, 0)  # type: ignore[arg-type]
    with ThreadPoolExecutor(clients) as pool:
        waiting = [pool.submit(to_server.predict, good) for _ in range(clients)]
        try:
            while len(in_process.task_dispatcher.queue) < clients - THREADS_PER_WORKER:
                time.sleep(0.01)
            for address in ("/healthz", "/metrics", "/", "/static/page.mjs"):
                with urlopen(f"http://127.0.0.1:{to_server.port}{address}", timeout=10) as answer:
                    assert answer.status == 200
            assert not any(future.done() for future in waiting)
        finally:
            go.set()
        assert {future.result()[0] for future in waiting} == {200}


def test_a_body_without_room_on_the_disk_is_refused_and_the_next_is_answered(
    in_process: TimedServer, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    to_port = ("127.0.0.1", in_process.effective_port)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", full)
        with socket.create_connection(to_port, timeout=30) as connection:
            connection.sendall(image_request(bytes(100_000)))
            answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503") and b"no room" in answer
    server = ServerProcess(None, in_process.effective_port, 0)  # type: ignore[arg-type]
    assert server.predict(bytes(100_000))[0] == 415 and server.predict(good)[0] == 200


def test_the_deadline_begins_when_the_request_was_received() -> None:
    told: list[float] = []

    def app(environment: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        told.append(environment[RECEIVED])
        start("200 OK", [])
        return []

    before = time.monotonic()
    request = TimedRequest(Adjustments())
    request.received(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n")
    assert not request.ended
    request.received(b"ab")
    assert before <= request.begun <= request.ended <= time.monotonic()
    server = SimpleNamespace(application=app, server_name="x", effective_port=1, adj=Adjustments())
    channel = SimpleNamespace(server=server, adj=server.adj, addr=("127.0.0.1", 1), creation_time=0,
                              check_client_disconnected=bool, write_soon=len)  # fmt: skip
    TimedTask(channel, request).service()
    assert told == [request.ended]


@pytest.mark.parametrize(
    ("request_line", "predicts"),
    [
        ("POST /predict", True),
        ("post /predict", False),
        ("GET /healthz", False),
        ("HEAD /", False),
        ("nonsense", False),
    ],
)
def test_requests_that_predict_are_told_from_others(request_line: str, predicts: bool) -> None:
    request = TimedRequest(Adjustments())
    request.received(f"{request_line} HTTP/1.1\r\n\r\n".encode())
    assert request.completed and request.predicts is predicts


def test_a_replaced_file_is_served_without_a_restart(
    folder: Path, edit: Callable[..., None], planted: dict[str, Callable[..., None]], good: bytes
) -> None:
    with running_server(folder / "student.onnx", ["--threads", "1"]) as server:
        before = server.predict(good)[1]["predictions"][0]["classes"]
        beside = folder / "beside.onnx"
        beside.write_bytes((folder / "student.onnx").read_bytes())
        edit(beside, planted["permute_logits"])
        os.replace(beside, folder / "student.onnx")
        for _ in range(200):
            status, answer = server.predict(good)
            assert status == 200
            if answer["predictions"][0]["classes"] != before:
                return
            time.sleep(0.05)
    pytest.fail("the new file was not loaded")


def test_it_needs_only_five_packages(served_file: Path, good: bytes, tmp_path: Path) -> None:
    """In a process whose import path has these packages, what Flask installs with itself, and no others."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for module in (*FIVE, *WITH_FLASK):
        folder = Path(module.__file__ or "").parent
        for path in folder.parent.glob(f"{folder.name}*"):
            (packages / path.name).symlink_to(path)
    words = [sys.executable, "-S", "-s", str(SCRIPT), str(served_file), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            (line,) = [line for line in (process.stdout.readline(), process.stdout.readline()) if "open http" in line]
            port = int(line.split("/")[2].rpartition(":")[2])
            server = ServerProcess(process, port, 0)
            assert server.predict(good)[0] == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.onnx"], "does not exist"),
        (["=x.onnx"], "is not a name"),
        (["a b=x.onnx"], "is not a name"),
        (["MODEL", "MODEL"], "several files are called toys"),
        (["MODEL", "--host", "999.1.1.1"], "give another --host or --port"),
        (["MODEL", "--port", "99999"], "not a port"),
        (["MODEL", "--samples", "EMPTY"], "contains no image"),
        (["MODEL", "--max-mb", "0"], "not a number above 0"),
        (["MODEL", "--threads", "0"], "not a whole number above 0"),
        (["MODEL", "--embed-in", "example.org"], "not an address"),
    ],
)
def test_mistakes_end_with_code_2_and_the_mend(
    exit_code_of: Callable[..., int],
    served_file: Path,
    tmp_path: Path,
    words: list[str],
    said: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"MODEL": str(served_file), "EMPTY": str(tmp_path)}
    assert exit_code_of("distill/serve.py", *[places.get(word, word) for word in words]) == 2
    assert said in caplog.text + capsys.readouterr().err


def test_a_taken_port_is_an_error(
    exit_code_of: Callable[..., int], served_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert exit_code_of("distill/serve.py", served_file, "--port", taken.getsockname()[1]) == 2
    assert "give another --host or --port" in caplog.text


def test_an_address_for_others_is_announced_loudly(served_file: Path) -> None:
    words = [sys.executable, str(SCRIPT), str(served_file), "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.terminate()
        assert "open http" in lines[1] and "WARNING: everybody" in process.stderr.read()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_addresses_are_told_from_others(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
