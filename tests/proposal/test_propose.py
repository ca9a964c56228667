"""The study file that is written for photos: when it is written, taken again, left alone or refused."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from decant.errors import UserError
from decant.proposal.propose import Proposal, Wishes, propose
from decant.study_reading import load_study

PhotosAt = Callable[..., Path]
Propose = Callable[..., Proposal]


@pytest.fixture
def proposed(tmp_path: Path, micro_overrides: tuple[str, ...]) -> Propose:
    def call(photos: Path, *overrides: str, **wishes: object) -> Proposal:
        wanted = Wishes(overrides=(*micro_overrides, *overrides), **wishes)  # type: ignore[arg-type]
        return propose(photos, wanted, tmp_path / "work", tmp_path / "runs")

    return call


def test_the_file_is_a_study_of_these_photos(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at("Meine Fotos", ("école", "yes"))
    study = load_study(str(proposed(photos, metric="f1_macro").file))
    assert (study.name, study.metric) == ("Meine-Fotos", "f1_macro")
    assert (study.data.source, study.data.path) == ("folder", str(photos))
    assert set(study.teachers) == {"convnext", "probe"}


def test_the_study_is_found_by_its_name_from_the_folder_of_the_call(
    photos_at: PhotosAt, proposed: Propose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = proposed(photos_at("mine")).file
    monkeypatch.chdir(tmp_path / "work")
    assert load_study("mine") == load_study(str(file))


def test_the_lines_name_classes_splits_sizes_and_time(photos_at: PhotosAt, proposed: Propose) -> None:
    lines = proposed(photos_at(count=20)).lines
    text = dict(line.split(": ", 1) for line in lines)
    assert 8 <= len(lines) <= 11
    assert text["classes"] == "2: bus (20), car (20)"
    assert text["splits"].startswith("train 28, val 6, test 6")
    assert "60 × 40" in text["geometry"]
    assert {"teachers", "student", "metric", "time", "study"} <= set(text)


def test_wide_photos_are_left_to_probes_with_their_shapes_and_the_candidates(
    photos_at: PhotosAt, proposed: Propose
) -> None:
    proposal = proposed(photos_at())
    text = dict(line.split(": ", 1) for line in proposal.lines)["geometry"]
    assert text.startswith("auto") and "probes" in text
    assert all(part in text for part in ("1.50", "67%", "inputs square", "1.50 times as wide", "12 photos"))
    assert f"\n# geometry: {text}\n" in proposal.file.read_text(encoding="utf-8")
    assert load_study(str(proposal.file)).geometry.fit == "auto"


def test_square_photos_are_cropped_for_certain(photos_at: PhotosAt, proposed: Propose) -> None:
    text = dict(line.split(": ", 1) for line in proposed(photos_at(size_px=(40, 40))).lines)["geometry"]
    assert text.startswith("crop") and "1.00" in text and "probes" not in text


def test_a_named_shape_is_taken_and_shown_with_the_inputs_it_gives(photos_at: PhotosAt, proposed: Propose) -> None:
    wishes = ("geometry.fit=stretch", "geometry.aspect=1.5", "student.input_px=96")
    text = dict(line.split(": ", 1) for line in proposed(photos_at(), *wishes).lines)
    assert text["geometry"].startswith("stretch") and "named by the study" in text["geometry"]
    assert "80x112 px" in text["student"]


def test_unreadable_photos_leave_the_geometry_open(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at()
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    text = dict(line.split(": ", 1) for line in proposed(photos).lines)
    assert "none of the photos" in text["geometry"]


def test_a_folder_that_repeats_others_is_not_counted_twice(photos_at: PhotosAt, proposed: Propose) -> None:
    for name, count in (("trainset", 8), ("valset", 3), ("testset", 4), ("train+val", 8)):
        photos = photos_at(f"photos/{name}", count=count).parent
    text = dict(line.split(": ", 1) for line in proposed(photos).lines)
    assert text["classes"] == "2: bus (15), car (15)"
    assert text["splits"].startswith("train 16, val 6, test 8, set aside 16")


def test_the_same_command_takes_its_file_again(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at()
    first = proposed(photos)
    before = first.file.stat().st_mtime_ns
    again = proposed(photos)
    assert again.file == first.file and first.file.stat().st_mtime_ns == before
    assert again.lines[:-1] == first.lines[:-1] and "before" in again.lines[-1]


def test_another_command_writes_an_unedited_file_anew(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at()
    file = proposed(photos).file
    assert proposed(photos, metric="f1_macro").file == file
    assert load_study(str(file)).metric == "f1_macro"


def test_an_edited_file_is_never_written_over(photos_at: PhotosAt, proposed: Propose, tmp_path: Path) -> None:
    photos = photos_at()
    file = proposed(photos).file
    edited = file.read_text(encoding="utf-8").replace("metric: accuracy", "metric: f1_macro")
    file.write_text(edited, encoding="utf-8")
    again = propose(photos, Wishes(), tmp_path / "work", tmp_path / "runs")
    assert again.file == file and file.read_text(encoding="utf-8") == edited
    with pytest.raises(UserError, match="was edited"):
        propose(photos, Wishes(time_limit_s=60), tmp_path / "work", tmp_path / "runs")


def test_an_edited_file_is_taken_by_the_command_that_made_it(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at()
    file = proposed(photos, time_limit_s=2700).file
    edited = file.read_text(encoding="utf-8").replace("metric: accuracy", "metric: f1_macro")
    file.write_text(edited, encoding="utf-8")
    assert proposed(photos, time_limit_s=2700).file == file
    assert file.read_text(encoding="utf-8") == edited and "--time-limit 45m" in edited
    with pytest.raises(UserError, match="was edited"):
        proposed(photos, time_limit_s=90)


def test_other_photos_of_the_same_name_have_a_file_of_their_own(
    photos_at: PhotosAt, proposed: Propose, tmp_path: Path
) -> None:
    first = proposed(photos_at("a/photos")).file
    second = proposed(photos_at("b/photos")).file
    assert [first.stem, second.stem] == ["photos", "photos-2"]
    (tmp_path / "runs" / "photos-3").mkdir(parents=True)
    assert proposed(photos_at("c/photos")).file.stem == "photos-4"


def test_a_shipped_studys_name_is_not_taken(photos_at: PhotosAt, proposed: Propose) -> None:
    assert proposed(photos_at("demo")).file.stem == "demo-2"


def test_hostile_class_names_do_not_leave_their_comment(photos_at: PhotosAt, proposed: Propose) -> None:
    raw = yaml.safe_load(proposed(photos_at("x", ("a\nname: evil", "b: [", "#"))).file.read_text(encoding="utf-8"))
    assert raw["name"] == "x"


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "a\u2028b"])
def test_a_path_with_letters_that_yaml_does_not_take_is_read_again(
    photos_at: PhotosAt, proposed: Propose, name: str
) -> None:
    photos = photos_at(name)
    file = proposed(photos).file
    assert load_study(str(file)).data.path == str(photos)
    assert proposed(photos).file == file


def test_names_that_a_terminal_would_obey_are_escaped(photos_at: PhotosAt, proposed: Propose) -> None:
    lines = proposed(photos_at("x", ("\x1b[2J", "b"))).lines
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[2J (6)" in line for line in lines)


def test_a_path_that_is_not_unicode_is_refused(tmp_path: Path, proposed: Propose) -> None:
    photos = Path(os.fsdecode(os.fsencode(tmp_path) + b"/fotos_\xe9"))
    with pytest.raises(UserError, match=r"fotos_\\xe9.*rename"):
        proposed(photos)


def test_the_reason_why_no_class_was_found_is_given(tmp_path: Path, proposed: Propose) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for label in "ab":
            archive.writestr(f"/home/me/{label}/1.jpg", b"")
    with pytest.raises(UserError, match=r"0 classes .*2 × its name leads out"):
        proposed(tmp_path / "photos.zip")


def test_an_unknown_key_names_the_nearest(photos_at: PhotosAt, proposed: Propose) -> None:
    with pytest.raises(UserError, match=r"data\.label_colum;.*label_column"):
        proposed(photos_at(), "data.label_colum=x")
    with pytest.raises(UserError, match=r"student\.epoch;.*epochs"):
        proposed(photos_at("more"), "student.epoch=1")


def test_one_class_is_refused_before_anything_is_written(
    photos_at: PhotosAt, proposed: Propose, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="1 class"):
        proposed(photos_at("one", ("only",)))
    assert not (tmp_path / "work").exists()


def test_a_class_for_each_image_asks_for_the_column(photos_at: PhotosAt, proposed: Propose) -> None:
    with pytest.raises(UserError, match=r"each of the 2 classes has one image.*data\.label_column"):
        proposed(photos_at(count=1))


def test_a_path_that_does_not_exist_names_the_nearest(photos_at: PhotosAt, proposed: Propose) -> None:
    photos = photos_at("photos")
    with pytest.raises(UserError, match="did you mean photos"):
        proposed(photos.with_name("fotos"))


def test_a_limit_that_is_too_short_says_what_is_needed(photos_at: PhotosAt, proposed: Propose) -> None:
    with pytest.raises(UserError, match=r"takes about \d+\.\d min"):
        proposed(photos_at(), time_limit_s=1.0)
