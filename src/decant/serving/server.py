"""The app behind waitress, with a limit on the time that a client may take to send a request."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.utilities import BadRequest

from decant.errors import UserError
from decant.serving.uploads import Limits

THREADS_PER_WORKER = 8  # most of them wait for a prediction, which they need in order to be computed in batches
CONNECTIONS = 500
LINGERING = threading.Semaphore(32)  # refused connections that are still read
LINGER_S = 3.0
IN_MEMORY_BYTES = 128_000  # of a request's body; a longer one goes to a temporary file


class RequestTimeout(BadRequest):
    code = 408
    reason = "Request Timeout"


class TimedChannel(HTTPChannel):
    """A connection that knows since when the present request is being received."""

    request: Any
    begun = 0.0
    refused = False  # before all of the request was read

    def received(self, data: bytes) -> bool:
        before = self.request
        done: bool = super().received(data)
        if self.request is not before:
            self.begun = time.monotonic()
        self.refused = self.refused or any(request.error for request in self.requests)
        return done

    def handle_close(self) -> None:
        if self.refused and self.socket is not None and LINGERING.acquire(blocking=False):
            threading.Thread(target=linger, args=(self.socket.dup(),), daemon=True).start()
        super().handle_close()

    def refuse_late_request(self, limit_s: float) -> None:
        """Answer a request that has been on its way for longer with status 408, and close the connection."""
        with self.requests_lock:
            request = self.request
            if request is None or self.requests or time.monotonic() - self.begun < limit_s:
                return
            request.error = RequestTimeout(f"the request was not received within {limit_s:g} s")
            request.completed = True
            self.request = None
            self.requests.append(request)
        self.server.add_task(self)


def linger(connection: socket.socket) -> None:
    """Read what a refused client still sends, for a while: closed at once, the client would lose the reason."""
    ends = time.monotonic() + LINGER_S
    with connection, suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1)
        while time.monotonic() < ends and connection.recv(65_536):
            pass
    LINGERING.release()


class TimedServer(TcpWSGIServer):
    """waitress' server with `TimedChannel`. waitress alone closes only connections on which nothing arrives at all."""

    channel_class = TimedChannel

    def maintenance(self, now: float) -> None:
        for channel in list(self.active_channels.values()):
            channel.refuse_late_request(self.adj.channel_timeout)
        super().maintenance(now)  # closes those that are silent without having begun a request


def server_of(app: Callable[..., Any], host: str, port: int, workers: int, limits: Limits) -> TimedServer:
    """A server that listens on the address; `run` serves until SystemExit or KeyboardInterrupt.

    port: 0 takes a free one; `effective_port` of the server names it. Raises UserError if the address cannot be used.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request that waits
    listening = listening_socket(host, port)
    adjustments = Adjustments(
        sockets=[listening],
        threads=THREADS_PER_WORKER * workers,
        connection_limit=CONNECTIONS,
        cleanup_interval=1,
        channel_timeout=limits.seconds,
        # A body that is a little too long is read, so that the app can say why it is refused; longer ones are cut off.
        max_request_body_size=2 * limits.bytes,
        max_request_header_size=16_384,
        inbuf_overflow=IN_MEMORY_BYTES,
        asyncore_use_poll=True,  # select cannot have more than 1024 files
        ident="decant",
    )
    where = (listening.family, listening.type, listening.proto, listening.getsockname())
    return TimedServer(app, _sock=listening, adj=adjustments, sockinfo=where, bind_socket=False)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises UserError if the address is unknown or taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as closing:
            bound = closing.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            closing.pop_all()  # it stays open
    except OSError as error:
        raise UserError(f"cannot listen on {host} port {port}: {error}; give another --host or --port") from None
    return bound


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
