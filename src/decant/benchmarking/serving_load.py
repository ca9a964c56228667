"""The app under load, compared with decoding and predicting the same images in one process without a server."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from decant.benchmarking.server_process import ServerProcess, running_server
from decant.cores import usable_cores
from decant.data.images import decode
from decant.export.runtime import OnnxClassifier

ALONE = 100  # predictions, and maps, that are timed one after the other
LOAD_COLUMNS = (
    "connections", "seconds", "requests", "errors", "requests_per_second", "bare_per_second", "bare_alone_per_second",
    "to_bare", "p50_ms", "p90_ms", "p99_ms", "p99_to_p50", "answer_ms", "map_ms",
    "map_to_answer", "first_answer_s", "page_kb", "peak_rss_mb",
)  # fmt: skip


def load_row(model: Path, photos: Path, connections: int, seconds: float) -> dict[str, object]:
    """Measure the app with images in `photos` that are sent again and again; keys are LOAD_COLUMNS.

    The load generator runs during both measurements: first it sends to the app, as fast as the app responds, then at
    the same rate to itself, beside the bare loop. `bare_alone_per_second` is the loop without the generator.
    """
    images = [path.read_bytes() for path in sorted(photos.iterdir())]
    options = {"connections": connections, "folder": str(photos)}
    with running_server(model) as server:
        server.predict(images[0])
        first_answer_s = time.monotonic() - server.started
        page_kb = page_bytes(server) / 1000
        warm_up(server, images)
        answer_ms, map_ms = times_alone(server, images)
        load = generated_load({**options, "port": server.port, "seconds": seconds})
        peak_rss_mb = server.peak_rss_mb()
    rate = len(load["ms"]) / load["seconds"]
    bare_alone = bare_rate(model, images, seconds / 4)
    with generator({**options, "rate": max(rate, 1.0), "seconds": seconds + 5}):
        time.sleep(1)
        bare = bare_rate(model, images, seconds)
    p50, p90, p99 = np.percentile(load["ms"], (50, 90, 99)).tolist() if load["ms"] else (np.nan,) * 3
    return {
        "connections": connections,
        "seconds": f"{seconds:g}",
        "requests": len(load["ms"]),
        "errors": load["errors"],
        "requests_per_second": rate,
        "bare_per_second": bare,
        "bare_alone_per_second": bare_alone,
        "to_bare": rate / bare,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "p99_to_p50": p99 / p50,
        "answer_ms": answer_ms,
        "map_ms": map_ms,
        "map_to_answer": map_ms / answer_ms,
        "first_answer_s": first_answer_s,
        "page_kb": f"{page_kb:.1f}",
        "peak_rss_mb": peak_rss_mb,
    }


def bare_rate(model: Path, images: list[bytes], seconds: float) -> float:
    """Images per second of a loop that decodes and predicts them one after the other on all usable cores."""
    classifier = OnnxClassifier(model, threads=usable_cores())
    for image in images:  # untimed
        classifier.predict(decode(image))
    count, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        classifier.predict(decode(images[count % len(images)]))
        count += 1
    return count / passed


def warm_up(server: ServerProcess, images: list[bytes]) -> None:
    """Send each image once, untimed."""
    for image in images:
        server.predict(image)


def times_alone(server: ServerProcess, images: list[bytes]) -> tuple[float, float]:
    """Median milliseconds of a prediction and of a map, in turns, one request at a time; nan: the file has no maps."""
    seconds: dict[str, list[float]] = {"/predict": [], "/map": []}
    for number in range(ALONE):
        for address, taken in seconds.items():
            began = time.perf_counter()
            status, _ = server.predict(images[number % len(images)], address)
            taken.append(time.perf_counter() - began if status == 200 else np.nan)
    answer_s, map_s = (float(np.median(taken)) for taken in seconds.values())
    return 1000 * answer_s, 1000 * map_s


def page_bytes(server: ServerProcess) -> int:
    """Bytes of the page and of everything that it loads."""
    page = get(server, "/")
    addresses = set(re.findall(rb'(?:src|href)="((?:static|samples)/[^"]+)"', page))
    parts = [get(server, "/" + address.decode().replace("&amp;", "&")) for address in addresses]
    modules = {name for part in parts for name in re.findall(rb"from '\./([\w.]+)'", part)}
    return len(page) + sum(map(len, parts)) + sum(len(get(server, f"/static/{name.decode()}")) for name in modules)


def get(server: ServerProcess, address: str) -> bytes:
    """The body of the response to a GET request."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", address)
    content = connection.getresponse().read()
    connection.close()
    return content


@contextmanager
def generator(options: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The load generator as a process, which is stopped at the end of the block."""
    words = [sys.executable, "-m", "decant.benchmarking.load_generator", json.dumps(options)]
    source = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def generated_load(options: dict[str, Any]) -> dict[str, Any]:
    """The JSON that the load generator prints at its end."""
    with generator(options) as process:
        printed, _ = process.communicate()
    result: dict[str, Any] = json.loads(printed)
    return result
