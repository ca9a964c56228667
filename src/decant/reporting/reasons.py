"""Why a study's values are what they are: the `why:` of its sections, as sentences for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decant.errors import UserError
from decant.evaluation.markdown import plain
from decant.evaluation.tables import joined
from decant.study import documented, keys_of_reason
from decant.study_files import ROOT
from decant.study_reading import load_study

NETWORK_KEYS = ("architecture", "weights", "model_args", "kind", "input_px", "prompts")  # what a network is


def with_reasons(study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a study.json with reasons.

    Studies that were published before reasons existed take them from the study's file in the checkout, for values that
    are the same there.
    """
    if any("why" in section for section in _sections(study).values()) or folder.resolve().parent != ROOT / "results":
        return study
    try:
        current = _sections(documented(load_study(str(study.get("name")))))
    except UserError:  # the study's file was removed or renamed
        return study
    enriched = {**study, "teachers": dict(study.get("teachers", {}))}
    for place, section in _sections(study).items():
        why = _still_true(section, current.get(place, {}))
        if not why:
            continue
        if place[0] == "teachers":
            enriched["teachers"][place[1]] = {**section, "why": why}
        elif place[0]:
            enriched[place[0]] = {**section, "why": why}
        else:
            enriched["why"] = why
    return enriched


def reasons(study: dict[str, Any], place: Sequence[str], only: Sequence[str] = ()) -> dict[str, str]:
    """Keys -> reason of one section. only: the reasons for one of these keys."""
    why = section_at(study, place).get("why", {})
    return {keys: reason for keys, reason in why.items() if not only or set(keys_of_reason(keys)) & set(only)}


def shared_reasons(study: dict[str, Any], only: Sequence[str] = (), but: Sequence[str] = ()) -> list[str]:
    """Lines `keys (names): reason` of the teachers and the student; networks with the same reason share a line."""
    names_of: dict[tuple[str, str], list[str]] = {}
    for name, section in networks(study).items():
        for keys, reason in section.get("why", {}).items():
            asked = set(keys_of_reason(keys))
            if (not only or asked & set(only)) and not asked & set(but):
                names_of.setdefault((keys, reason), []).append(name)
    everyone = len(networks(study))
    return [
        f"- {code(keys)} ({'all' if len(names) == everyone > 1 else joined(names)}): {plain(reason)}"
        for (keys, reason), names in names_of.items()
    ]


def code(keys: str) -> str:
    """ "`head`, `views`" for "head, views"."""
    return ", ".join(f"`{key}`" for key in keys_of_reason(keys))


def networks(study: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of the teachers and, under the name `student`, of the student."""
    return {**study.get("teachers", {}), **({"student": study["student"]} if study.get("student") else {})}


def section_at(study: dict[str, Any], place: Sequence[str]) -> dict[str, Any]:
    section: Any = study
    for name in place:
        section = section.get(name) or {}
    return dict(section) if isinstance(section, dict) else {}


def _sections(study: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Place of each section in the study -> the section; the study itself is at ("",)."""
    found: dict[tuple[str, ...], dict[str, Any]] = {("",): study}
    found |= {(name,): value for name, value in study.items() if isinstance(value, dict) and name != "teachers"}
    return found | {("teachers", name): value for name, value in study.get("teachers", {}).items()}


def _still_true(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The reasons of `now` whose values are the same in `before`; for a mapping, those that `before` has."""

    def same(key: str) -> bool:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            return all(new.get(inner) == value for inner, value in old.items())
        return bool(key in before and old == new)

    return {keys: why for keys, why in now.get("why", {}).items() if all(map(same, keys_of_reason(keys)))}
