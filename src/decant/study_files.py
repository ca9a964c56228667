"""The YAML of a study: its own file, the studies that it extends, its recipes and the overrides, as one mapping."""

import difflib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from decant.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = Path("studies")  # below the working directory: the studies of a person's own photos
RECIPE_FOLDERS = {"teacher": "research/recipes", "ensemble": "ensembles/recipes", "student": "distill/recipes"}


def read_study(name_or_path: str, overrides: list[str], root: Path) -> dict[str, Any]:
    """The mapping that `decant.study.Study` validates. Raises UserError as `load_study` does, but for bad values."""
    raw = read_extended(find_study(name_or_path, root), root)
    for override in overrides:
        set_key(raw, override)
    return without_nulls(merged_recipes(raw, root))


def study_files(name_or_path: str, root: Path = ROOT) -> list[Path]:
    """The study's file, the studies that it extends and the recipes that it names, for provenance."""
    path = find_study(name_or_path, root)
    whole = read_extended(path, root)
    files, raw = [path], read_yaml(path)
    while raw.get("extends"):
        path = find_study(str(raw["extends"]), root, path.parent)
        files.append(path)
        raw = read_yaml(path)
    for kind, section in recipe_sections(whole):
        if section.get("recipe"):
            files.append(recipe_file(kind, section["recipe"], root))
    return files


def recipe_file(kind: str, recipe: Any, root: Path) -> Path:
    """The file of a recipe: a name in the folder of its kind, or a path with .yaml, relative to the checkout."""
    text = str(recipe)
    return root / (text if text.endswith(".yaml") else f"{RECIPE_FOLDERS[kind]}/{text}.yaml")


def find_study(name_or_path: str, root: Path, beside: Path = Path()) -> Path:
    """The study's file: a path (a relative one is meant from `beside`), or a name in research/studies or in STUDIES."""
    folders = (root / "research" / "studies", STUDIES)
    for candidate in (beside / name_or_path, *(folder / f"{name_or_path}.yaml" for folder in folders)):
        if candidate.suffix in (".yaml", ".yml") and candidate.is_file():
            return candidate
    known = sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))
    raise UserError(f"no study {name_or_path!r}: give a path to a .yaml file or one of {', '.join(known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError if the file is missing, unreadable or contains no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        similar = difflib.get_close_matches(path.stem, [other.stem for other in path.parent.glob("*.yaml")], n=1)
        raise UserError(f"{path} does not exist" + (f"; did you mean {similar[0]}?" if similar else "")) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a mapping of keys to values is expected, not {type(content).__name__}")
    return content


def read_extended(path: Path, root: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's mapping laid over the mapping of the study that it extends."""
    if path in seen:
        raise UserError(f"{path} extends itself")
    raw = read_yaml(path)
    if not raw.get("extends"):
        return raw
    if not raw.get("name"):
        raise UserError(f"{path} extends {raw['extends']} and would write into its folders: give it a name of its own")
    return merge(read_extended(find_study(str(raw["extends"]), root, path.parent), root, (*seen, path)), raw)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Deep merge. A null in `over` stands until `without_nulls`, so that it removes the key of a recipe too.

    A reason in `base` for a value that `over` replaces is left out.
    """
    merged = without_reasons(base, over)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in ("class_names", "splits"):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def without_reasons(section: dict[str, Any], replaced: Iterable[str]) -> dict[str, Any]:
    """A copy of the section; of its `why`, the reasons for replaced values are left out."""
    why, keys = section.get("why"), set(replaced)
    if not isinstance(why, dict):
        return dict(section)
    remaining = {
        reason_keys: reason
        for reason_keys, reason in why.items()
        if not keys & {key.strip() for key in str(reason_keys).split(",")}
    }
    return {**section, "why": remaining}


def without_nulls(raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping without the keys whose value is null: a variant drops a teacher or takes a default with null.

    Inside `model_args` null is a value of the network's own, None.
    """
    return {
        key: without_nulls(value) if isinstance(value, dict) and key != "model_args" else value
        for key, value in raw.items()
        if value is not None
    }


def recipe_sections(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    sections = [("teacher", section) for section in (raw.get("teachers") or {}).values()]
    sections += [("ensemble", raw.get("ensemble") or {}), ("student", raw.get("student") or {})]
    return [(kind, section) for kind, section in sections if isinstance(section, dict)]


def merged_recipes(raw: dict[str, Any], root: Path) -> dict[str, Any]:
    """Every section with a `recipe` becomes the recipe with the section laid over it."""

    def with_recipe(kind: str, section: Any) -> Any:
        if not isinstance(section, dict) or not section.get("recipe"):
            return section
        return merge(read_yaml(recipe_file(kind, section["recipe"], root)), section)

    whole = dict(raw)
    if isinstance(raw.get("teachers"), dict):
        whole["teachers"] = {name: with_recipe("teacher", value) for name, value in raw["teachers"].items()}
    for kind in ("ensemble", "student"):
        if kind in raw:
            whole[kind] = with_recipe(kind, raw[kind])
    return whole


def set_key(raw: dict[str, Any], override: str) -> None:
    """Apply one `a.b.c=value`; the value is read as YAML, and null takes the key away."""
    path, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"--set {override}: write it as key.key=value, as in teachers.convnext.epochs=3")
    *parents, last = path.split(".")
    teachers = raw.get("teachers") or {}
    if parents[:1] == ["teachers"] and len(parents) > 1 and parents[1] not in teachers and last != "recipe":
        raise UserError(f"--set {override}: no teacher {parents[1]}; {nearest(parents[1], sorted(teachers))}")
    raw.update(without_reasons(raw, path.split(".")[:1]))
    section = raw
    for parent, child in pairwise(path.split(".")):
        below = section.get(parent) or {}
        if not isinstance(below, dict):
            raise UserError(f"--set {override}: {parent} is a value and has no keys below it")
        section[parent] = without_reasons(below, [child])  # a copy: YAML aliases share one mapping
        section = section[parent]
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {text!r} is not a YAML value") from None
