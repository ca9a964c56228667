"""What a published number was made from: the command, the code, the machine and the model that was measured."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from decant import machine
from decant.stages.support.experiment import code_version
from decant.study_files import ROOT
from decant.workspace import write_json

PROVENANCE = "provenance.json"
RANDOM_STUDENT = {
    "name": "EfficientNet-Lite0 of random weights, 128 px, 10 classes",
    "digest": "",
}


def record_measurement(folder: Path, tables: Sequence[str], model: dict[str, str]) -> None:
    """Record in the folder's `provenance.json` what these tables were made from; entries of other tables stay.

    model: the result of `measured_file`, or RANDOM_STUDENT.
    """
    path = folder / PROVENANCE
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entry = {"command": command(), "commit": code_version(), "model": model, "machine": machine.description()}
    write_json(path, dict(sorted({**entries, **dict.fromkeys(tables, entry)}.items())))


def measured_file(path: Path, name: str = "") -> dict[str, str]:
    """The name (by default the path in the checkout) and the digest of a model's file."""
    return {"name": name or short_path(str(path.resolve())), "digest": digest(path.read_bytes())}


def command() -> str:
    """The command line of this process, without the names of folders outside the checkout."""
    return " ".join(["python", *map(short_path, sys.argv)])


def short_path(word: str) -> str:
    """A word of the command line with its path relative to the repository.

    Of a path outside the repository only the last part stays, because folders can name people.
    """
    option, equals, value = word.rpartition("=")
    path = Path(value)
    if ".." in path.parts:
        path = path.resolve()
    if not path.is_absolute():
        return word
    return option + equals + (str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else f"…/{path.name}")


def digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
