"""The app's page as files: one template, a style sheet and scripts. The server fills the template for each request, the
target web once.

`page.mjs` does what happens on the page and asks `backend.mjs` for predictions: the server's sends the image, the
target's runs the file in the browser.
"""

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

FOLDER = Path(__file__).parent
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
ASSETS = {  # address -> file
    "page.css": "page.css",
    "page.mjs": "page.mjs",
    "backend.mjs": "server_backend.mjs",
    "icon.svg": "icon.svg",
}


def page(**values: Any) -> str:
    """The page as HTML. `page.html` lists the values that it needs."""
    return template().render(**values)


def asset(name: str) -> tuple[bytes, str] | None:
    """Content and type of a file that the page loads from `static/`; None for another name."""
    if name not in ASSETS:
        return None
    return content_of(ASSETS[name]), KINDS[Path(name).suffix]


@functools.cache
def content_of(name: str) -> bytes:
    """A file of this folder."""
    return (FOLDER / name).read_bytes()


@functools.cache
def template() -> Any:
    """The compiled template, in which all values are escaped."""
    loader = FileSystemLoader(FOLDER)
    environment = Environment(loader=loader, autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html")
