"""Tracking tells what it can and never fails or blocks the run that it tracks."""

import json
import os
import subprocess
import sys

import pytest

from decant import tracking
from decant.tracking import progress, progress_line, wandb_run

wandb = pytest.importorskip("wandb")


class FakeRun:
    def __init__(self, broken=()):
        self.broken, self.logged, self.exit_codes = broken, [], []

    def log(self, metrics):
        if "log" in self.broken:
            raise ConnectionError("the server is gone")
        self.logged.append(metrics)

    def finish(self, exit_code=None):
        self.exit_codes.append(exit_code)
        if "finish" in self.broken:
            raise ConnectionError("the server is gone")


@pytest.fixture
def inits(monkeypatch):
    """Keyword arguments of the calls of wandb.init, which return `inits.run` or raise in the modes `inits.down`."""

    class Inits(list):
        run = FakeRun()
        down = ()

    calls = Inits()

    def init(**arguments):
        calls.append(arguments)
        if arguments["mode"] in calls.down:
            raise wandb.errors.CommError("no route to host")
        return calls.run

    calls.run = FakeRun()
    monkeypatch.setattr(wandb, "init", init)
    return calls


def track(folder, mode="offline", share_code=False):
    return wandb_run(mode, folder, "decant", "micro/lite0", {"epochs": 2}, share_code)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_disabled_calls_nothing_and_writes_nothing(inits, tmp_path):
    with track(tmp_path / "wandb", "disabled") as log:
        log({"loss": 1.0})
    assert inits == [] and not (tmp_path / "wandb").exists()


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_metrics_reach_a_run_of_the_mode_that_was_asked_for(inits, tmp_path, mode):
    with track(tmp_path, mode) as log:
        log({"loss": 1.0})
        log({"loss": 0.5})
    assert [call["mode"] for call in inits] == [mode]
    assert inits[0]["project"] == "decant" and inits[0]["name"] == "micro/lite0" and inits[0]["config"] == {"epochs": 2}
    assert inits[0]["dir"] == tmp_path
    assert inits.run.logged == [{"loss": 1.0}, {"loss": 0.5}] and inits.run.exit_codes == [0]


def test_every_wait_for_the_server_has_an_end(inits, tmp_path):
    with track(tmp_path, "online"):
        settings = inits[0]["settings"]
    assert 0 < settings.init_timeout <= 20 and 0 < settings.login_timeout <= 20
    assert 0 < getattr(settings, "finish_timeout", 60) <= 60


def test_a_server_out_of_reach_makes_the_run_an_offline_one(inits, tmp_path, caplog):
    inits.down = ("online",)
    with track(tmp_path, "online") as log:
        log({"loss": 1.0})
    assert [call["mode"] for call in inits] == ["online", "offline"]
    assert inits.run.logged == [{"loss": 1.0}]
    assert warnings_of(caplog) == ["W&B online is not available: no route to host"]


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_run_goes_on_without_tracking_where_nothing_starts(inits, tmp_path, mode):
    inits.down = ("online", "offline")
    with track(tmp_path, mode) as log:
        log({"loss": 1.0})
    assert inits.run.logged == [] and inits.run.exit_codes == []


def test_an_offline_run_never_asks_for_the_server(inits, tmp_path):
    inits.down = ("offline",)
    with track(tmp_path, "offline"):
        pass
    assert [call["mode"] for call in inits] == ["offline"]


def test_a_failing_log_is_told_once_and_survived(inits, tmp_path, caplog):
    inits.run = FakeRun(broken=("log",))
    with track(tmp_path) as log:
        for _ in range(3):
            log({"loss": 1.0})
    assert warnings_of(caplog) == ["W&B stopped logging: the server is gone"]
    assert inits.run.exit_codes == [0]  # the training itself went well


def test_a_failing_finish_is_survived(inits, tmp_path, caplog):
    inits.run = FakeRun(broken=("finish",))
    with track(tmp_path):
        pass
    assert warnings_of(caplog) == ["W&B could not finish its run: the server is gone"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_training_itself_ends_the_run_as_failed_and_is_passed_on(inits, tmp_path, error):
    with pytest.raises(error), track(tmp_path):
        raise error
    assert inits.run.exit_codes == [1]


@pytest.mark.parametrize("share_code", [False, True])
def test_code_and_git_are_asked_for_only_where_they_may_be_shared(inits, tmp_path, share_code):
    with track(tmp_path, share_code=share_code):
        settings = inits[0]["settings"]
    assert settings.disable_git is settings.disable_code is not share_code
    assert settings.save_code is False


REAL_RUNS = """if True:
    import sys
    from pathlib import Path
    import wandb
    from decant.tracking import wandb_run

    for name, share_code in (("shared", True), ("private", False)):
        with wandb_run("offline", Path(sys.argv[1]) / name, "decant", "run", {"epochs": 2}, share_code) as log:
            log({"loss": 0.25})
    wandb.teardown()
"""


def test_an_offline_run_writes_below_its_folder_and_holds_neither_code_nor_git(tmp_path, repository):
    checkout = tmp_path / "checkout"
    checkout.mkdir()

    def git(*arguments):
        named = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(named, cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    script = checkout / "train.py"
    script.write_text(REAL_RUNS + "    # committed_marker\n")
    git("add", ".")
    git("commit", "-qm", "a")
    git("remote", "add", "origin", "https://example.org/secret_remote.git")
    script.write_text(REAL_RUNS + "    # changed_marker\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(checkout)],
        cwd=checkout,
        env={
            **os.environ,
            "PYTHONPATH": str(repository / "src"),
            "WANDB_MODE": "disabled",
            "WANDB_DISABLE_GIT": "false",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in checkout.iterdir() if path.name != ".git") == ["private", "shared", "train.py"]
    written = {
        name: {path: path.read_bytes() for path in (checkout / name).rglob("*") if path.is_file()}
        for name in ("private", "shared")
    }
    secrets = [git("rev-parse", "HEAD"), "secret_remote", "committed_marker", "changed_marker"]
    found = {
        name: [secret for secret in secrets if any(secret.encode() in content for content in files.values())]
        for name, files in written.items()
    }
    assert found["private"] == []
    assert set(secrets[:2]) <= set(found["shared"])  # so the search finds what is there
    assert any(path.suffix == ".wandb" and b"loss" in content for path, content in written["private"].items())
    assert not [path for path in written["private"] if path.suffix in (".py", ".patch")]


def test_a_real_run_that_raises_is_written_down_as_failed(tmp_path, repository):
    from wandb.proto.wandb_internal_pb2 import Record, RunExitRecord

    code = """if True:
        import sys
        from pathlib import Path
        from decant.tracking import wandb_run

        for name in ("fine", "failing"):
            with wandb_run("offline", Path(sys.argv[1]) / name, "decant", "run", {}) as log:
                log({"loss": 0.25})
                assert name == "fine"
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "AssertionError" in done.stderr and "could not finish" not in done.stderr
    failed = Record(exit=RunExitRecord(exit_code=1)).SerializeToString()
    for name, expected in (("fine", False), ("failing", True)):
        (file,) = (tmp_path / name / "wandb").glob("offline-run-*/*.wandb")
        assert (failed in file.read_bytes()) is expected


def test_a_real_server_out_of_reach_does_not_fail_the_run(tmp_path, repository):
    code = """if True:
        import sys, time
        from pathlib import Path
        from decant import tracking

        tracking.ONLINE_TIMEOUT_S = 1
        with tracking.wandb_run("online", Path(sys.argv[1]), "decant", "run", {}) as log:
            log({"loss": 0.25})
        print("done")
    """
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **nowhere, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr
    assert list(tmp_path.glob("wandb/offline-run-*"))


def numbers(count):
    yield from range(count)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_progress_passes_every_item_through_in_order(monkeypatch, capsys, terminal, count):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(progress(list(range(count)), "reading")) == list(range(count))
    assert list(progress(numbers(count), "reading")) == list(range(count))
    assert list(progress(numbers(count), "reading", total=count)) == list(range(count))
    assert capsys.readouterr().out == ""


def test_progress_is_lazy_so_that_work_is_done_between_the_items(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    taken = []
    items = progress((taken.append(number) or number for number in range(9)), "reading")
    assert next(items) == 0 and taken == [0]


def test_progress_passes_on_an_error_of_the_items(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with pytest.raises(ZeroDivisionError):
        list(progress((1 // number for number in (1, 0)), "reading"))


def test_without_a_terminal_a_line_is_told_now_and_then(monkeypatch, caplog):
    caplog.set_level("INFO")
    now = iter(range(0, 10_000, 4))  # four seconds an item
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    monkeypatch.setattr(tracking.time, "monotonic", lambda: next(now))
    list(progress(range(10), "decoding", unit="images"))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "decoding: 3 of 10 images, 0.2 images/s, 37 s left",
        "decoding: 7 of 10 images, 0.2 images/s, 14 s left",
    ]


@pytest.mark.parametrize(
    ("count", "total", "seconds", "line"),
    [
        (50, 200, 10.0, "views: 50 of 200 it, 5.0 it/s, 30 s left"),
        (1, 62, 17.0, "views: 1 of 62 it, 0.1 it/s, about 17 min left"),
        (50, None, 10.0, "views: 50 it, 5.0 it/s"),
        (0, 200, 0.0, "views: 0 of 200 it, 0.0 it/s"),
    ],
)
def test_a_line_of_progress_tells_rate_and_time_left(count, total, seconds, line):
    assert progress_line("views", count, total, seconds, "it") == line


def test_a_config_of_a_run_is_not_changed(inits, tmp_path):
    config = {"views": {"flip": 0.5}}
    before = json.dumps(config)
    with wandb_run("offline", tmp_path, "decant", "run", config):
        pass
    assert json.dumps(config) == before
