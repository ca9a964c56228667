"""The server as a process: slow clients, hostile requests, what it needs, and its command line."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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

from decant.benchmarking.hostile_run import hostile_rows, run_hostile
from decant.benchmarking.hostile_uploads import KINDS, Hostile, hostile_uploads, photo
from decant.benchmarking.server_process import ServerProcess, running_server
from decant.export.runtime import OnnxClassifier
from decant.serving.server import is_loopback

SCRIPT = Path(__file__).parents[2] / "distill" / "serve.py"
FIVE = (np, onnxruntime, PIL, flask, waitress)
WITH_FLASK = (werkzeug, jinja2, markupsafe, itsdangerous, click, blinker)  # what Flask installs


@pytest.fixture(scope="module")
def server(served_file: Path) -> Iterator[ServerProcess]:
    options = "--timeout 2 --max-mb 10 --max-megapixels 2 --threads 1".split()
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
