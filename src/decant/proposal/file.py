"""The study file that is written for photos: it has comments, and is never written over once it was edited."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from decant.data.containers import ARCHIVE_ENDINGS
from decant.data.sources.class_names import as_yaml
from decant.data.sources.detection import TABLES
from decant.data.sources.parquet import PARQUET_ENDINGS
from decant.errors import UserError
from decant.study_files import ROOT, STUDIES, read_yaml
from decant.workspace import STORE, replacing

COMMENT = "# "
MADE_BY, DIGEST = f"{COMMENT}Made by: ", f"{COMMENT}Unedited: "
SUFFIXES = (*ARCHIVE_ENDINGS, *TABLES, ".txt", *PARQUET_ENDINGS)
COMMENTS = {  # key of the study -> the comment above it
    "metric": "what heads and the best teacher are chosen by, on val: accuracy, precision_macro or f1_macro",
    "data": "where the photos are. They are never altered. may_be_shared: true would let them leave this machine",
    "geometry": "fit: auto decides when the data are cleaned; crop, stretch or pad names how images become inputs",
    "teachers": "each names a recipe in research/recipes and may override any of its keys; delete a line to drop one",
    "ensemble": "how the teachers are combined, a recipe in ensembles/recipes",
    "soft_labels": "random views of each photo whose labels the teachers give the student",
    "student": "the network that is exported, a recipe in distill/recipes",
}


def study_text(raw: dict[str, Any], made_by: str, assumed: Sequence[str]) -> str:
    """The YAML of a proposed study.

    made_by: the command line; a later run with the same line takes the file again. assumed: the assumptions, printable
    lines that become comments at the beginning.
    """
    lines = [*(COMMENT + line for line in assumed), f"{MADE_BY}{made_by}", f"name: {raw['name']}"]
    for key, value in raw.items():
        if key == "name":
            continue
        lines += [f"# {key}: {COMMENTS[key]}"] if key in COMMENTS else []
        if isinstance(value, dict) and key in ("data", "teachers"):
            lines += [f"{key}:", *(f"  {flow(inner)}: {flow(item)}" for inner, item in value.items())]
        else:
            lines.append(f"{key}: {flow(value)}")
    body = "\n".join(lines) + "\n"
    return f"{body}{DIGEST}{digest(body)} (any change above makes this file yours: it is then never written over)\n"


def flow(value: Any) -> str:
    """A value on one line: numbers and plain words bare, other texts quoted, mappings in braces."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_/][\w./-]*", value) and yaml.safe_load(value) == value:
        return value
    return as_yaml(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def is_unedited(text: str) -> bool:
    body, _, mark = text.rpartition(DIGEST)
    return mark.partition(" ")[0] == digest(body)


def made_by(text: str) -> str:
    """The command line that the file was made by; "" if it has no such line."""
    return next((line.removeprefix(MADE_BY) for line in text.splitlines() if line.startswith(MADE_BY)), "")


def assumed_in(text: str) -> list[str]:
    """The assumptions in the comments that `study_text` wrote."""
    lines = takewhile(lambda line: line.startswith(COMMENT) and not line.startswith(MADE_BY), text.splitlines())
    return [line.removeprefix(COMMENT) for line in lines]


def command_line(photos: Path, options: Sequence[str]) -> str:
    return one_line(shlex.join(["decant", "run", str(photos), *options]))


def one_line(text: str) -> str:
    """The text with every run of spaces as one, and with other letters that cannot be printed escaped."""
    letters = " ".join(text.split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in letters)


def study_file(photos: Path, folder: Path, runs: Path) -> Path:
    """studies/<name>.yaml below `folder`, named after the photos: the file that exists for them, else a free name.

    A name is taken by a shipped study, by another study's file, and by a run of it in `runs`.
    """
    name = study_name(photos)
    for number in range(1, 1000):
        candidate = name if number == 1 else f"{name}-{number}"
        path = folder / STUDIES / f"{candidate}.yaml"
        if path.exists():
            if is_for(path, photos):
                return path
        elif not (runs / candidate).exists() and not (ROOT / "research" / "studies" / f"{candidate}.yaml").exists():
            return path
    raise UserError(f"{folder / STUDIES} has no free name for {photos}; delete studies that are no longer needed")


def study_name(photos: Path) -> str:
    name = photos.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")
    return words if words and words != STORE else "photos"


def is_for(path: Path, photos: Path) -> bool:
    """True if the study file reads these photos."""
    data = read_yaml(path).get("data")
    data = data if isinstance(data, dict) else {}
    source = Path(str(data.get("path", "")))
    return photos in (source, source / str(data.get("table", "")), source / str(data.get("train", "")))


def write_study(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
