"""The app behind waitress: a limit on the time that a client may take to send a request, and two lines of requests."""

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
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest

from decant.errors import UserError
from decant.serving.deadline import RECEIVED
from decant.serving.uploads import Limits

THREADS_PER_WORKER = 8  # most of them wait for a prediction, which they need in order to be computed in batches
QUICK_THREADS = 2  # for requests without a prediction
CONNECTIONS = 500  # above it, those that wait for their client are closed
SPARE = 20  # further connections that are accepted meanwhile
LINGERING = threading.Semaphore(32)  # refused connections that are still read
LINGER_S = 3.0
IN_MEMORY_BYTES = 32_000  # of a request's body, on each connection; a longer one goes to a temporary file


class RequestTimeout(BadRequest):
    code = 408
    reason = "Request Timeout"


class NoRoom(BadRequest):
    code = 503
    reason = "Service Unavailable"


class TimedRequest(HTTPRequestParser):
    """A request with the times of its first byte and of its end, in seconds of `time.monotonic`."""

    ended = 0.0

    def __init__(self, adjustments: Adjustments) -> None:
        super().__init__(adjustments)
        self.begun = time.monotonic()

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.completed:
            self.ended = time.monotonic()
        return consumed

    @property
    def predicts(self) -> bool:
        """False for a request that needs no prediction, or that is refused without asking the app."""
        return not self.error and self.command == "POST"  # waitress refuses "post"


class TimedTask(WSGITask):
    """A call of the app that passes the time when the request was received: it may have waited for a thread since."""

    def get_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = super().get_environment()
        environment[RECEIVED] = self.request.ended
        return environment


class TimedChannel(HTTPChannel):
    """A connection whose requests must be received in time."""

    parser_class = TimedRequest
    task_class = TimedTask
    request: Any
    refused = False  # before all of the request was read

    def received(self, data: bytes) -> bool:
        done = True
        try:
            done = super().received(data)
        except OSError:  # the temporary file cannot be written
            with suppress(OSError):
                self.request.close()
            self.request.body_rcv = None  # closing it again would fail again
            self.refuse(NoRoom("the server has no room for the request now; try again later"))
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
            late = request is not None and time.monotonic() - request.begun >= limit_s
        if late and not self.requests:
            self.refuse(RequestTimeout(f"the request was not received within {limit_s:g} s"))

    @property
    def silent_s(self) -> float:
        """Seconds since the request that is being received began; without one, since anything was sent or received."""
        if self.request is None:
            return time.time() - float(self.last_activity)
        return time.monotonic() - float(self.request.begun)

    def give_way(self) -> None:
        """Close the connection of a client that has sent no whole request; one that has begun it gets the reason."""
        if self.request is None:
            self.will_close = True
        else:
            self.refuse(NoRoom("too many connections are open; try again later"))

    def refuse(self, error: BadRequest) -> None:
        """Answer the request that is being received with the error, and close the connection."""
        with self.requests_lock:
            request, self.request = self.request, None
            request.error, request.completed = error, True
            self.requests.append(request)
            is_first = len(self.requests) == 1  # else a thread takes it after the requests before it
        if is_first:
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
    """waitress' server with `TimedChannel`. waitress alone closes only connections on which nothing arrives at all.

    Requests that need no prediction, such as health checks, have threads of their own: they do not wait for images.
    """

    channel_class = TimedChannel
    connections = CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.quick = ThreadedTaskDispatcher()
        self.quick.set_thread_count(QUICK_THREADS)
        super().__init__(*arguments, **options)

    def add_task(self, channel: TimedChannel) -> None:
        """Give the connection's first request to a thread."""
        line = self.task_dispatcher if channel.requests[0].predicts else self.quick
        line.add_task(channel)

    def readable(self) -> bool:
        if len(self.active_channels) >= self.connections:
            self.make_room()
        return bool(super().readable())

    def make_room(self) -> None:
        """Close the connection that has waited longest for its client: others, such as health checks, get its place."""
        channels = list(self.active_channels.values())
        if any(channel.will_close or any(request.error for request in channel.requests) for channel in channels):
            return  # one is being closed
        waiting = [channel for channel in channels if not channel.requests and not channel.total_outbufs_len]
        if waiting:
            max(waiting, key=lambda channel: channel.silent_s).give_way()

    def maintenance(self, now: float) -> None:
        for channel in list(self.active_channels.values()):
            channel.refuse_late_request(self.adj.channel_timeout)
        super().maintenance(now)  # closes connections that are silent and have begun no request


def server_of(app: Callable[..., Any], host: str, port: int, workers: int, limits: Limits) -> TimedServer:
    """A server that listens on the address; `run` serves until SystemExit or KeyboardInterrupt.

    port: 0 takes a free one; `effective_port` of the server names it. Raises UserError if the address cannot be used.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request that waits
    listening = listening_socket(host, port)
    adjustments = Adjustments(
        sockets=[listening],
        threads=THREADS_PER_WORKER * workers,
        connection_limit=CONNECTIONS + SPARE,
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
    """True if only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
