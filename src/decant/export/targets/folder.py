"""Writing of a target's folder. Files that were not written here are never changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import decant
from decant.errors import UserError
from decant.workspace import replacing, write_json

MARK = "decant.json"  # lists the files written here; no consumer reads it


def write_target(folder: Path, target: str, files: Mapping[str, bytes]) -> None:
    """Write `files` (relative path -> content) into `folder`, each atomically.

    The folder may be new, empty, or written here before for the same target. Files that were written before and are
    not among `files` are removed. Raises UserError, before anything is written, if the folder was not written here or
    a file in it would be overwritten that was not.
    """
    refuse_foreign(folder, target, files)
    remove_stale(folder, files)  # before the new mark is written: files that the mark does not list count as the user's
    mark = {"target": target, "files": sorted(files), "code_version": decant.__version__}
    write_json(folder / MARK, mark)  # before the files, so that a folder whose writing was interrupted is recognised
    for name, content in files.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(content)


def refuse_foreign(folder: Path, target: str, files: Mapping[str, bytes]) -> None:
    """Raise UserError if writing would change files that were not written here for this target."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest} is a file, not a folder; choose another --out")
    if nearest != folder or not any(folder.iterdir()):
        return
    mark = mark_of(folder)
    if mark is None:
        raise UserError(f"{folder} contains files that were not written here; choose another --out, or empty it")
    if mark["target"] != target:
        raise UserError(f"{folder} contains the target {mark['target']}; choose another --out for {target}")
    foreign = [name for name in files if name not in mark["files"] and (folder / name).exists()]
    if foreign:
        raise UserError(f"{folder / foreign[0]} was not written here; move it away, or choose another --out")


def remove_stale(folder: Path, files: Mapping[str, bytes]) -> None:
    """Delete the files that the folder's mark lists and that are not in `files`. Files outside the folder are kept."""
    mark, inside = mark_of(folder), folder.resolve()
    for name in mark["files"] if mark else []:
        path = folder / name
        if name not in files and path.is_file() and path.parent.resolve().is_relative_to(inside):
            path.unlink()


def mark_of(folder: Path) -> dict[str, Any] | None:
    """The content of the folder's mark; None if `write_target` did not write the folder."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(mark, dict) or not isinstance(mark.get("files"), list) or "target" not in mark:
        return None
    return mark if all(isinstance(name, str) for name in mark["files"]) else None


def json_bytes(value: Any) -> bytes:
    """JSON as `decant.workspace.write_json` writes it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
