"""The reasons for a study's values: the `why:` of its sections, as sentences for the report."""

from collections.abc import Sequence
from typing import Any

from decant.evaluation.markdown import plain
from decant.evaluation.tables import joined
from decant.study import keys_of_reason

NETWORK_KEYS = ("architecture", "weights", "model_args", "kind", "input_px", "prompts")  # what a network is


def reasons(study: dict[str, Any], path: Sequence[str], only: Sequence[str] = ()) -> dict[str, str]:
    """Keys -> reason of one section. path: keys that lead to it. only: the reasons for one of these keys."""
    why = section_at(study, path).get("why", {})
    return {keys: reason for keys, reason in why.items() if not only or set(keys_of_reason(keys)) & set(only)}


def shared_reasons(study: dict[str, Any], only: Sequence[str] = (), but: Sequence[str] = ()) -> list[str]:
    """Lines `keys (names): reason` of the teachers and the student; networks with the same reason share a line."""
    names_of: dict[tuple[str, str], list[str]] = {}
    for name, section in networks(study).items():
        for keys, reason in section.get("why", {}).items():
            reason_keys = set(keys_of_reason(keys))
            if (not only or reason_keys & set(only)) and not reason_keys & set(but):
                names_of.setdefault((keys, reason), []).append(name)
    count = len(networks(study))
    return [
        f"- {code(keys)} ({'all' if len(names) == count > 1 else joined(names)}): {plain(reason)}"
        for (keys, reason), names in names_of.items()
    ]


def code(keys: str) -> str:
    """ "`head`, `views`" for "head, views"."""
    return ", ".join(f"`{key}`" for key in keys_of_reason(keys))


def networks(study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of the teachers and, under the name `student`, of the student."""
    return {**study.get("teachers", {}), **({"student": study["student"]} if study.get("student") else {})}


def section_at(study: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The section of a study at a path of keys; {} if it is missing."""
    section: Any = study
    for name in path:
        section = section.get(name) or {}
    return dict(section) if isinstance(section, dict) else {}
