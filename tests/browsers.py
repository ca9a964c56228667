"""Chromium without a window, driven over the WebDriver protocol. Skips where chromium or chromedriver is missing."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver, 12.1
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --force-color-profile=srgb"
).split()


class Browser:
    """One page of a browser. `run` is JavaScript, which may await; `chrome` is a command of Chrome's own protocol."""

    def __init__(self, port: int, session: str) -> None:
        self.port, self.session = port, session

    def call(self, method: str, path: str, **body: Any) -> Any:
        return command(self.port, method, f"/session/{self.session}/{path}", body)

    def open(self, address: str) -> None:
        self.call("POST", "url", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        wrapped = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})(...arguments)"
        ended = f"{wrapped}.then((value) => done([value]), (error) => done(String(error && error.stack || error)))"
        answer = self.call("POST", "execute/async", script=ended, args=list(arguments))
        if isinstance(answer, str):
            raise AssertionError(answer)
        return answer[0]

    def chrome(self, name: str, **parameters: Any) -> Any:
        return self.call("POST", "goog/cdp/execute", cmd=name, params=parameters)

    def element(self, selector: str) -> str:
        return self.call("POST", "element", using="css selector", value=selector)[ELEMENT]

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a field, as a person does."""
        self.call("POST", f"element/{self.element(selector)}/value", text="\n".join(map(str, files)))

    def click(self, selector: str) -> None:
        self.call("POST", f"element/{self.element(selector)}/click")

    def wait_for(self, script: str, seconds: float = 60) -> Any:
        """The first value of the JavaScript expression that is true."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            value = self.run(f"return {script}")
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}; the page contains {self.run('return document.body.innerText')}")

    def look(self, width: int, height: int, scheme: str = "light", phone: bool = False) -> None:
        """The size of the window and the colour scheme that a person has chosen."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.chrome("Emulation.setDeviceMetricsOverride", **size)
        self.chrome("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.chrome("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self.call("GET", "screenshot"))


def command(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """A command of the protocol; raises AssertionError with the driver's message."""
    connection = HTTPConnection("127.0.0.1", port, timeout=180)
    connection.request(method, path, json.dumps(body or {}) if method == "POST" else None)
    answer = json.loads(connection.getresponse().read())["value"]
    connection.close()
    if isinstance(answer, dict) and "error" in answer and "stacktrace" in answer:
        raise AssertionError(f"{answer['error']}: {answer['message']}")
    return answer


@pytest.fixture(scope="session")
def new_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Browser]]:
    """A function that starts a browser with a profile of its own."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sessions = []
    with subprocess.Popen([driver, f"--port={port}", "--silent"], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port)

            def start() -> Browser:
                profile = tmp_path_factory.mktemp("profile")
                options = {"binary": chromium, "args": [*OPTIONS, f"--user-data-dir={profile}"]}
                wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
                session = command(port, "POST", "/session", wanted)["sessionId"]
                sessions.append(session)
                browser = Browser(port, session)
                browser.call("POST", "timeouts", script=120_000)
                return browser

            yield start
        finally:
            for session in sessions:
                command(port, "DELETE", f"/session/{session}")
            process.terminate()


def wait_for_port(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("chromedriver did not start")
