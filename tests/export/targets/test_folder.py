"""Writing of a target's folder: our own may be overwritten, the user's files are never changed."""

import json
import shutil
from pathlib import Path

import pytest

from decant.errors import UserError
from decant.export.targets.folder import write_target
from decant.export.targets.onnx import write_onnx_folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_written_to_their_paths_and_listed_in_the_mark(tmp_path: Path) -> None:
    write_target(tmp_path / "new" / "folder", "timm", {"a.json": b"1", "1/b": b"2"})
    files = contents(tmp_path / "new" / "folder")
    mark = json.loads(files.pop("decant.json"))
    assert files == {"a.json": b"1", "1/b": b"2"}
    assert (mark["target"], mark["files"]) == ("timm", ["1/b", "a.json"])


def test_our_own_folder_is_overwritten_and_files_added_by_a_user_stay(tmp_path: Path) -> None:
    write_target(tmp_path, "timm", {"a": b"1"})
    (tmp_path / "notes.txt").write_bytes(b"mine")
    write_target(tmp_path, "timm", {"a": b"2", "b": b"3"})
    files = contents(tmp_path)
    assert (files["a"], files["b"], files["notes.txt"]) == (b"2", b"3", b"mine")


def test_files_that_the_target_no_longer_has_are_removed_and_can_return(tmp_path: Path) -> None:
    write_target(tmp_path, "timm", {"a": b"1", "1/b": b"2", "c": b"3"})
    (tmp_path / "1" / "notes.txt").write_bytes(b"mine")
    write_target(tmp_path, "timm", {"a": b"1"})
    files = contents(tmp_path)
    assert files.keys() == {"a", "1/notes.txt", "decant.json"}
    write_target(tmp_path, "timm", {"a": b"1", "1/b": b"2"})
    assert contents(tmp_path)["1/b"] == b"2"


def test_an_int8_file_is_copied_with_its_card_and_removed_when_no_longer_offered(
    exported: Path, tmp_path: Path
) -> None:
    source, folder = Path(shutil.copytree(exported, tmp_path / "source")), tmp_path / "folder"
    (source / "MODEL_CARD.md").write_bytes(b"card")
    (source / "accept.json").write_bytes(b"{}")
    int8_files = {"student_int8.onnx": b"small", "student_int8_bare.onnx": b"smaller", "MODEL_CARD.md": b"its own card"}
    (tmp_path / "int8").mkdir()
    for name, content in int8_files.items():
        (tmp_path / "int8" / name).write_bytes(content)
    for _ in range(2):  # the second time it is offered again
        write_onnx_folder([source / "student.onnx", tmp_path / "int8" / "student_int8.onnx"], folder)
        files = contents(folder)
        assert (files["student_int8.onnx"], files["student_int8_bare.onnx"]) == (b"small", b"smaller")
        assert (files["MODEL_CARD.md"], files["MODEL_CARD_int8.md"]) == (b"card", b"its own card")
        write_onnx_folder([source / "student.onnx"], folder)
        assert not [name for name in contents(folder) if "int8" in name]


@pytest.mark.parametrize("absolute", [False, True])
def test_files_outside_the_folder_are_not_deleted_even_if_the_mark_lists_them(tmp_path: Path, absolute: bool) -> None:
    folder, other = tmp_path / "folder", tmp_path / "photos" / "photo.png"
    write_target(folder, "timm", {"a": b"1"})
    other.parent.mkdir()
    other.write_bytes(b"mine")
    (folder / "link").symlink_to(other.parent, target_is_directory=True)
    names = [str(other)] if absolute else ["../photos/photo.png", "link/photo.png", "."]
    (folder / "decant.json").write_text(json.dumps({"target": "timm", "files": ["a", *names]}), encoding="utf-8")
    write_target(folder, "timm", {"b": b"2"})
    assert other.read_bytes() == b"mine" and not (folder / "a").exists()


@pytest.mark.parametrize("mark", [None, b"{}", b"[]", b"not json", b'{"target": "timm", "files": 3}'])
def test_a_folder_without_our_mark_is_refused_and_unchanged(tmp_path: Path, mark: bytes | None) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    if mark is not None:
        (tmp_path / "decant.json").write_bytes(mark)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="were not written here; choose another --out"):
        write_target(tmp_path, "timm", {"b": b"2"})
    assert contents(tmp_path) == before


def test_a_users_file_in_our_folder_is_not_overwritten(tmp_path: Path) -> None:
    write_target(tmp_path, "timm", {"a": b"1"})
    (tmp_path / "b").write_bytes(b"mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="b was not written here"):
        write_target(tmp_path, "timm", {"a": b"2", "b": b"3"})
    assert contents(tmp_path) == before


def test_the_folder_of_another_target_is_refused(tmp_path: Path) -> None:
    write_target(tmp_path, "timm", {"a": b"1"})
    with pytest.raises(UserError, match="contains the target timm"):
        write_target(tmp_path, "triton", {"a": b"2"})


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is a file"):
            write_target(folder, "timm", {"a": b"1"})


def test_an_interrupted_write_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(Path, "write_bytes", full)
        write_target(tmp_path, "timm", {"a": b"1", "b": b"2"})
    assert set(contents(tmp_path)) == {"decant.json"}
    write_target(tmp_path, "timm", {"a": b"1", "b": b"2"})
    assert contents(tmp_path)["b"] == b"2"
