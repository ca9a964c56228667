"""Stages run when something they depend on changed, and never otherwise; files are whole or not there."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decant import workspace as workspace_module
from decant.workspace import (
    FINISHED,
    Passing,
    Undecided,
    Workspace,
    fingerprint,
    followed,
    locked,
    point_latest,
    record_of,
    replacing,
    write_csv,
    write_json,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Chain:
    """a -> b -> c, and d beside them; `ran` lists what was built."""

    def __init__(self, runs, study="study"):
        self.workspace = Workspace(runs, study)
        self.ran = []

    def run(self, a=1, b=1, c=1, d=1, version_of_b=1):
        self.ran = []
        first = self.stage("a", {"value": a}, [])
        second = self.stage("b", {"value": b}, [first], version_of_b)
        return first, second, self.stage("c", {"value": c}, [second]), self.stage("d", {"value": d}, [])

    def stage(self, name, section, reads, version=1):
        def build(folder):
            self.ran.append(name)
            (folder / "value.json").write_text(json.dumps(section))

        return self.workspace.stage(name, section, reads, version, build)


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path / "runs")


def in_another_process(repository, code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_finished_and_unchanged_stage_is_not_built_again(chain):
    before = chain.run()
    assert chain.ran == ["a", "b", "c", "d"]
    assert chain.run() == before and chain.ran == []
    again = Chain(chain.workspace.folder.parent)  # as another process would
    assert again.run() == before and again.ran == []


def test_skipping_is_told_and_told_once(chain, caplog):
    caplog.set_level("INFO")
    chain.run()
    Workspace._logged.clear()
    caplog.clear()
    first = chain.run()[0]
    chain.run()
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("a:")] == [
        f"a: unchanged, kept in {first.folder}"
    ]


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        ({"a": 2}, ["a", "b", "c"]),
        ({"b": 2}, ["b", "c"]),
        ({"version_of_b": 2}, ["b", "c"]),
        ({"c": 2}, ["c"]),
        ({"d": 2}, ["d"]),
    ],
)
def test_a_change_runs_what_depends_on_it_and_nothing_else(chain, change, rerun):
    chain.run()
    chain.run(**change)
    assert chain.ran == rerun


def test_what_was_there_before_a_change_stays_and_is_found_again(chain):
    old = chain.run()[1]
    new = chain.run(b=2)[1]
    assert new.folder != old.folder
    assert json.loads((old.folder / "value.json").read_text()) == {"value": 1}
    latest = chain.workspace.folder / "b" / "latest"
    assert latest.resolve() == new.folder
    chain.run(b=1)
    assert chain.ran == []
    assert latest.resolve() == old.folder


def test_a_digest_of_an_outside_file_is_something_a_stage_reads(tmp_path):
    workspace, ran = Workspace(tmp_path, "study"), []
    for digest in ("one", "one", "two"):
        workspace.stage("manifest", {}, [digest], 1, ran.append)
    assert len(ran) == 2


def test_two_stages_with_the_same_section_do_not_share_a_folder(tmp_path):
    workspace = Workspace(tmp_path, "study")
    made = [workspace.stage(name, {}, [], 1, lambda folder: None) for name in ("teachers/lite0", "teachers/lite1")]
    assert made[0].fingerprint != made[1].fingerprint and made[0].folder.parent != made[1].folder.parent


def test_the_record_of_a_stage_says_what_it_was_made_from(chain):
    first, second, *_ = chain.run(b=5)
    record = json.loads((second.folder / FINISHED).read_text())
    assert {key: record[key] for key in ("stage", "fingerprint", "settings", "reads", "version")} == {
        "stage": "b",
        "fingerprint": second.fingerprint,
        "settings": {"value": 5},
        "reads": [first.fingerprint],
        "version": 1,
    }
    assert record["seconds"] >= 0


@pytest.mark.parametrize(("resumable", "seconds"), [(False, 0), (True, 60)])
def test_the_time_of_a_resumed_stage_includes_interrupted_attempts(tmp_path, resumable, seconds):
    workspace = Workspace(tmp_path, "study")

    def interrupted(folder):
        (folder / "half").write_text("half")
        later = time.time() + 60
        os.utime(folder / "half", (later, later))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.stage("student", {}, [], 1, interrupted, resumable)
    done = workspace.stage("student", {}, [], 1, lambda folder: None, resumable)
    assert record_of(done.folder)["seconds"] == pytest.approx(seconds, abs=5)
    assert [path.name for path in done.folder.parent.glob(".*attempt*")] == []


@pytest.mark.parametrize("resumable", [False, True])
def test_an_interrupted_stage_is_cleared_unless_it_can_resume(tmp_path, resumable):
    workspace, seen = Workspace(tmp_path, "study"), []

    def build(folder):
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / "half").touch()
        if len(seen) == 1:
            raise RuntimeError("the disk is full")
        (folder / "whole").touch()

    with pytest.raises(RuntimeError, match="the disk is full"):
        workspace.stage("student", {}, [], 1, build, resumable)
    assert not (tmp_path / "study" / "student" / "latest").exists()
    done = workspace.stage("student", {}, [], 1, build, resumable)
    assert seen == [[], ["half"] if resumable else []]
    assert (done.folder / "whole").is_file() and (done.folder / FINISHED).is_file()


def test_a_stage_whose_process_was_killed_is_built_again(tmp_path, repository):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from decant.workspace import Workspace

        def build(folder):
            (folder / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)

        Workspace(Path(sys.argv[1]), "study").stage("student", {}, [], 1, build)
    """
    process = in_another_process(repository, code, tmp_path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and list(tmp_path.glob("store/student/*/half"))
    done = Workspace(tmp_path, "study").stage("student", {}, [], 1, lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in done.folder.iterdir()) == [FINISHED, "whole"]


def test_latest_still_points_right_when_the_runs_folder_is_moved(chain, tmp_path):
    done = chain.run()[0]
    (tmp_path / "runs").rename(tmp_path / "moved")
    latest = tmp_path / "moved" / "study" / "a" / "latest"
    assert latest.resolve().name == done.folder.name and (latest / FINISHED).is_file()


def test_a_study_that_changes_only_its_last_stage_reuses_the_others_of_another_study(tmp_path):
    one, other = Chain(tmp_path, "one"), Chain(tmp_path, "other")
    first = one.run()
    second = other.run(c=2)
    assert other.ran == ["c"]
    assert second[:2] == first[:2]
    for study, results in (("one", first), ("other", second)):
        assert (tmp_path / study / "c" / "latest").resolve() == results[2].folder


@pytest.mark.parametrize(
    "error", [OSError(95, "Operation not supported"), PermissionError(1, "Operation not permitted")]
)
def test_on_a_disk_without_links_latest_is_a_text_file_that_is_followed(chain, monkeypatch, error):
    def no_links(*arguments, **options):
        raise error

    monkeypatch.setattr(os, "symlink", no_links)
    old = chain.run()[1]
    new = chain.run(b=2)[1]
    latest = chain.workspace.folder / "b" / "latest"
    assert latest.is_file() and not latest.is_symlink()
    assert followed(latest) == new.folder and followed(latest / "value.json").read_text() == '{"value": 2}'
    chain.run(b=1)
    assert followed(latest) == old.folder


def test_a_path_through_a_link_or_without_latest_is_left_as_it_is(chain):
    chain.run()
    latest = chain.workspace.folder / "b" / "latest"
    assert followed(latest / "value.json") == latest / "value.json"
    assert followed(chain.workspace.store / "b") == chain.workspace.store / "b"


def test_a_link_takes_the_place_of_a_text_file(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "latest").write_text("../store/1")
    target = tmp_path / "store" / "2"
    target.mkdir(parents=True)
    point_latest(tmp_path / "study", target)
    assert (tmp_path / "study" / "latest").is_symlink() and (tmp_path / "study" / "latest").resolve() == target


def test_what_a_clock_decides_is_decided_once_and_stays_for_all_studies(tmp_path):
    values = iter(["bf16", "fp32"])
    assert Workspace(tmp_path, "one").decided("dtype", lambda: next(values)) == "bf16"
    assert Workspace(tmp_path, "two").decided("dtype", lambda: next(values)) == "bf16"
    assert Workspace(tmp_path, "one").decided("other", lambda: next(values)) == "fp32"
    assert Workspace(tmp_path, "one").decided("dtype", None) == "bf16"


def test_a_passing_value_stays_for_the_process_and_is_not_stored(tmp_path, monkeypatch):
    values = iter([Passing("none"), "timm"])
    assert Workspace(tmp_path, "one").decided("weights", lambda: next(values)) == "none"
    assert Workspace(tmp_path, "two").decided("weights", lambda: next(values)) == "none"
    monkeypatch.setattr(Workspace, "_passing", {})  # another process
    assert Workspace(tmp_path, "one").decided("weights", lambda: next(values)) == "timm"


def test_a_value_that_may_not_be_measured_is_undecided(tmp_path):
    with pytest.raises(Undecided, match="dtype"):
        Workspace(tmp_path, "study").decided("dtype", None)


def test_even_none_is_a_value_that_stays(tmp_path):
    assert Workspace(tmp_path, "study").decided("limit", lambda: None) is None
    assert Workspace(tmp_path, "study").decided("limit", lambda: pytest.fail("asked twice")) is None


BUILDING = """if True:
    import sys, time
    from pathlib import Path
    from decant.workspace import Workspace

    runs, study, stage = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

    def build(folder):
        print("building", flush=True)
        sys.stdin.readline()
        (folder / "built_by").write_text(study)

    done = Workspace(runs, study).stage(stage, {}, [], 1, build)
    print((done.folder / "built_by").read_text(), flush=True)
"""


def building(repository, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", BUILDING, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_study_waits_for_a_stage_that_the_first_is_building_and_takes_it(tmp_path, repository):
    first = building(repository, tmp_path, "one", "clean")
    assert first.stdout.readline() == "building\n"
    second = building(repository, tmp_path, "two", "clean")
    time.sleep(0.5)
    assert second.poll() is None  # it waits
    assert first.communicate("\n")[0] == "one\n"
    assert second.communicate("\n")[0] == "one\n"  # it has not built the stage itself


def test_two_studies_build_different_stages_at_the_same_time(tmp_path, repository):
    processes = [building(repository, tmp_path, name, f"teachers/{name}") for name in ("one", "two")]
    assert [process.stdout.readline() for process in processes] == ["building\n"] * 2
    assert [process.communicate("\n")[0] for process in processes] == ["one\n", "two\n"]


def test_the_lock_of_a_killed_process_is_free(tmp_path, repository):
    holder = building(repository, tmp_path, "one", "clean")
    assert holder.stdout.readline() == "building\n"
    holder.kill()
    holder.communicate()
    done = Workspace(tmp_path, "two").stage("clean", {}, [], 1, lambda folder: (folder / "built_by").write_text("two"))
    assert (done.folder / "built_by").read_text() == "two"


def test_a_disk_without_locks_is_named_once_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    import filelock

    def no_locks(self, *arguments, **options):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    with locked(tmp_path / "stage"):
        pass
    assert "no locks" in caplog.text and workspace_module.STORE == "store"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"accuracy": 0.9})
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half of a fi")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"accuracy": 0.9}
    assert list(tmp_path.iterdir()) == [path]


def test_until_a_file_is_whole_its_name_shows_the_old_one(tmp_path):
    path = tmp_path / "new folder" / "metrics.json"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists() and partial.parent == path.parent  # one file system, so that renaming is atomic
    assert path.read_text() == "new"


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == "1\n" and list(tmp_path.iterdir()) == [path]


def test_json_for_people_is_indented_and_keeps_its_letters(tmp_path):
    write_json(tmp_path / "a.json", {"klasse": "Straßenbahn 🚋"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "klasse": "Straßenbahn 🚋"\n}\n'.encode()


def test_a_csv_reads_back_whatever_its_cells_hold(tmp_path):
    rows = [{"id": "a", "label": 'tram, "old"\nline'}, {"id": "é", "label": ""}]
    write_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_a_row_with_other_columns_is_an_error_and_leaves_the_old_csv(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, [{"id": 1}])
    with pytest.raises(ValueError, match="surplus"):
        write_csv(path, [{"id": 2}, {"id": 3, "surplus": 4}])
    assert path.read_text() == "id\n1\n"


def test_a_fingerprint_is_the_sha256_of_the_canonical_json():
    assert fingerprint({"b": [1, "é"], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,"\\u00e9"]}').hexdigest()[:12]


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value):
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@given(json_values, json_values)
def test_different_values_have_different_fingerprints(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )
