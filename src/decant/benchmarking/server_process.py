"""`distill/serve.py` as a process of its own, and requests to it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.scripts import script_path
from decant.timing.process import MEGABYTE


@dataclass(frozen=True)
class ServerProcess:
    """A running server. started: when its process was started, in seconds of `time.monotonic`."""

    process: subprocess.Popen[str]
    port: int
    started: float

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def peak_rss_mb(self) -> float:
        """The server's peak memory so far, in 10⁶ bytes (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / MEGABYTE

    def predict(self, image: bytes, address: str = "/predict") -> tuple[int, dict[str, Any]]:
        """Send an image to the address and return status and JSON of the response; (0, {}) without a response."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", address, image, {"Content-Type": "application/octet-stream"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (HTTPException, OSError):
            return 0, {}
        finally:
            connection.close()


@contextmanager
def running_server(model: Path, options: Sequence[str] = (), name: str = "") -> Iterator[ServerProcess]:
    """Start the server on a free port; it ends with the block. Raises UserError if it does not start."""
    words = [
        sys.executable,
        str(script_path("distill/serve.py")),
        f"{name}={model}" if name else str(model),
        "--port",
        "0",
        *options,
    ]
    started = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield ServerProcess(process, port_of(process), started)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    """The port in the line `open http://127.0.0.1:PORT/` that the server prints."""
    assert process.stdout is not None
    for line in process.stdout:  # ends with the process
        if line.startswith("open http://"):
            return int(line.split("/")[2].rpartition(":")[2])
    raise UserError("distill/serve.py did not start; its message is above")
