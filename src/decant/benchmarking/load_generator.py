"""A separate program that keeps a server busy over many connections and prints the time of each response.

    python -m decant.benchmarking.load_generator '{"port": 8000, "connections": 32, "seconds": 60, "folder": "photos"}'

With `rate`, it sends that many requests per second to a server within itself that responds at once: it then needs as
much processor time as under load, while another program is measured. It prints one JSON object.
"""

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SINK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + b" " * 500
READ_BYTES = 65_536
WAIT_S = 60.0


@dataclass
class Load:
    """What the connections have measured so far. ms: time of each response with status 200. errors: other responses."""

    ends: float
    pause_s: float
    ms: list[float] = field(default_factory=list)
    errors: int = 0


def main(arguments: list[str]) -> None:
    given: dict[str, Any] = json.loads(arguments[0])
    requests = [request_of(path.read_bytes()) for path in sorted(Path(given["folder"]).iterdir())]
    port = given["port"] if "port" in given else started_sink()
    count, rate = given["connections"], given.get("rate")
    load = Load(time.monotonic() + given["seconds"], count / rate if rate else 0.0)
    threads = [threading.Thread(target=ask, args=(port, requests[first:] + requests[:first], load))
               for first in (number % len(requests) for number in range(count))]  # fmt: skip
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({"ms": load.ms, "errors": load.errors, "seconds": time.monotonic() - started}))


def request_of(image: bytes) -> bytes:
    """A whole request with the image as its body."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
    )
    return head.encode() + image


def ask(port: int, requests: list[bytes], load: Load) -> None:
    """Send the requests in turn over one connection, each after the response to the previous one."""
    number = 0
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        while (began := time.monotonic()) < load.ends:
            try:
                connection.sendall(requests[number % len(requests)])
                status = response_status(connection)
            except (OSError, ValueError):
                load.errors += 1
                return
            if status == 200:
                load.ms.append((time.monotonic() - began) * 1000)
            else:
                load.errors += 1
            number += 1
            time.sleep(max(0.0, began + load.pause_s - time.monotonic()) if load.pause_s else 0)


def response_status(connection: socket.socket) -> int:
    """Read one whole response and return its status. Raises ValueError if the connection ends before."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += received(connection)
    head, _, body = content.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body)
    while missing > 0:
        missing -= len(received(connection))
    return int(head.split()[1])


def received(connection: socket.socket) -> bytes:
    part = connection.recv(READ_BYTES)
    if not part:
        raise ValueError("the connection ended")
    return part


def started_sink() -> int:
    """The port of a server in threads of this process that responds to every request at once."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=swallow, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    port: int = listening.getsockname()[1]
    return port


def swallow(connection: socket.socket) -> None:
    """Read requests and respond to each."""
    with connection:
        content = b""
        while part := connection.recv(READ_BYTES):
            content += part
            head, end, body = content.partition(b"\r\n\r\n")
            if end and len(body) >= int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0]):
                connection.sendall(SINK_ANSWER)
                content = b""


if __name__ == "__main__":
    main(sys.argv[1:])
