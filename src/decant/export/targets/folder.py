"""A folder for one consumer: its files are ours and whole, and whatever else lies there stays as it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import decant
from decant.errors import UserError
from decant.workspace import replacing, write_json

MARK = "decant.json"  # names the files that are ours; no consumer looks at it


def write_target(folder: Path, target: str, files: Mapping[str, bytes]) -> None:
    """Write `files` (relative path -> content) into `folder`, each whole or not at all.

    A folder that is new, empty or was written here for the same target is taken; what was written there before and is
    not among `files` goes. Raises UserError, before anything is written, where the folder or a file is somebody else's.
    """
    refuse_foreign(folder, target, files)
    remove_stale(folder, files)  # before the mark forgets them: else they would be taken for a user's
    mark = {"target": target, "files": sorted(files), "code_version": decant.__version__}
    write_json(folder / MARK, mark)  # first: after an interruption the folder is still known as ours
    for name, content in files.items():
        with replacing(folder / name) as beside:
            beside.write_bytes(content)


def refuse_foreign(folder: Path, target: str, files: Mapping[str, bytes]) -> None:
    """UserError where writing would touch what was not written here for this target."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest} is a file, and no folder can be made there; choose another --out")
    if nearest != folder or not any(folder.iterdir()):
        return
    mark = mark_of(folder)
    if mark is None:
        raise UserError(f"{folder} holds files that were not written here; choose another --out, or empty it yourself")
    if mark["target"] != target:
        raise UserError(f"{folder} holds the target {mark['target']}; choose another --out for {target}")
    foreign = [name for name in files if name not in mark["files"] and (folder / name).exists()]
    if foreign:
        raise UserError(f"{folder / foreign[0]} was not written here; move it away, or choose another --out")


def remove_stale(folder: Path, files: Mapping[str, bytes]) -> None:
    """Delete the files that the folder's mark names and `files` lacks; of what it names, those inside the folder."""
    mark, inside = mark_of(folder), folder.resolve()
    for name in mark["files"] if mark else []:
        path = folder / name
        if name not in files and path.is_file() and path.parent.resolve().is_relative_to(inside):
            path.unlink()


def mark_of(folder: Path) -> dict[str, Any] | None:
    """What `write_target` said of the folder; None where it said nothing."""
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
