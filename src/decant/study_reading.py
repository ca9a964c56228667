"""Read a study: its file and recipes become the typed model, and every problem in it one message."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from decant.errors import UserError, nearest
from decant.study import Study, Teacher
from decant.study_files import ROOT, read_study

RENAMED = {  # keys of older study files
    "precision": "dtype",
    "freeze_epochs": "unfreeze_epochs, a list,",
    "ema_decay": "ema_share, a share of all steps,",
}
TYPE = re.compile(r"constrained-\w+|\w+\[.*\]")  # pydantic's name of a type, in a location


def load_study(name_or_path: str, overrides: list[str] | None = None, root: Path = ROOT) -> Study:
    """Read a study by name or path, with its recipes, and apply `a.b=value` overrides.

    Raises UserError for a missing file, a malformed one, an unknown key (naming the nearest) or a bad value.
    """
    raw = read_study(name_or_path, overrides or [], root)
    with explained(name_or_path):
        return Study.model_validate(raw)


@contextmanager
def explained(where: str, section: tuple[str, ...] = ()) -> Iterator[None]:
    """Raise a ValidationError of the block as a UserError. section: where in a study the validated mapping stands."""
    try:
        yield
    except ValidationError as error:
        raise UserError(explain(error, where, section)) from None


def explain(error: ValidationError, where: str, section: tuple[str, ...] = ()) -> str:
    """All problems in one message; an unknown key comes with the nearest known one."""
    lines: list[str] = []
    for key, problems in by_key(error, section).items():
        problem = problems[0]
        location = (*section, *problem["loc"])
        if problem["type"] == "extra_forbidden":
            last = str(problem["loc"][-1])
            hint = f"it is called {RENAMED[last]} now" if last in RENAMED else nearest(last, known_keys(location[:-1]))
            lines.append(f"unknown key {key}; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{key} is missing")
        else:
            reasons = " or ".join(each["msg"] for each in problems)
            lines.append(f"{key}: {reasons} (got {problem['input']!r})")
    return f"study {where}: " + "; ".join(lines)


def by_key(error: ValidationError, section: tuple[str, ...]) -> dict[str, list[Any]]:
    """The problems of each key. If a key accepts several types, each has one, and its location ends with the type."""
    problems: dict[str, list[Any]] = {}
    for problem in error.errors():
        parts = (str(part) for part in (*section, *problem["loc"]))
        problems.setdefault(".".join(part for part in parts if not TYPE.fullmatch(part)), []).append(problem)
    return problems


def known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Field names of the section at `location` of a study."""
    model: type[BaseModel] = Study
    for part in location:
        if part == "teachers":
            model = Teacher
        elif part in model.model_fields:
            model = section_in(model.model_fields[str(part)].annotation) or model
    return sorted(model.model_fields)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key contains, or a list of which it contains; None for a key with a plain value."""
    kind = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def describe(model: type[BaseModel] = Study, prefix: str = "") -> list[str]:
    """Lines `key (default): description` of a section and of the sections inside it, for --help."""
    lines = []
    for name, field in model.model_fields.items():
        section = Teacher if name == "teachers" else section_in(field.annotation)
        listed = get_origin(field.annotation) is list
        key = f"{prefix}{name}" + (".NAME" if name == "teachers" else ".NUMBER" if section and listed else "")
        if section is None or listed:
            default = "" if field.is_required() else f" ({field.default})"
            lines.append(f"  {key}{default}: {field.description}")
        if section is not None:
            lines += describe(section, key + ".")
    return lines
