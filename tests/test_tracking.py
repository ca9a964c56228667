"""Tracking tells what it can and never fails or blocks the run that it tracks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import numpy as np
import pytest

from decant import tracking
from decant.tracking import Artifact, Job, Record, progress, progress_line, wandb_run

wandb = pytest.importorskip("wandb")


class FakeRun:
    """Notes what it is given; `broken` and `late` methods raise, `stuck` ones return when `freed` is set."""

    def __init__(self, broken=(), stuck=(), late=()):
        self.broken, self.stuck, self.late, self.freed = broken, stuck, late, Event()
        self.logged, self.exit_codes, self.summary, self.artifacts, self.used, self.steps = [], [], {}, [], [], {}

    def meet(self, method):
        if method in self.broken:
            raise ConnectionError("the server is gone")
        if method in self.late:
            raise TimeoutError("Timed out finishing run.")
        if method in self.stuck:
            self.freed.wait(60)

    def log(self, metrics):
        self.meet("log")
        self.logged.append(metrics)

    def define_metric(self, name, step_metric):
        self.steps[name] = step_metric

    def log_artifact(self, artifact, aliases):
        self.artifacts.append((artifact, aliases))

    def use_artifact(self, artifact):
        self.used.append(artifact)

    def finish(self, exit_code=None):
        self.exit_codes.append(exit_code)
        self.meet("finish")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch, tmp_path):
    """A process that has warned of nothing yet, and whose variables are not changed."""
    monkeypatch.setattr(tracking, "_warned", set())
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "artifacts"))


@pytest.fixture
def inits(monkeypatch):
    """Keyword arguments of the calls of wandb.init, which return `inits.run` or raise in the modes `inits.down`."""

    class Inits(list):
        run = FakeRun()
        down = ()
        wait = None

    calls = Inits()

    def init(**arguments):
        calls.append(arguments)
        if calls.wait is not None:
            calls.wait.wait(60)
        if arguments["mode"] in calls.down:
            raise wandb.errors.CommError("no route to host")
        return calls.run

    calls.run = FakeRun()
    monkeypatch.setattr(wandb, "init", init)
    yield calls
    calls.run.freed.set()
    for thread in threading.enumerate():
        if thread.name == "wandb":
            thread.join(10)


def track(folder, mode="offline", **described):
    job = Job("decant-micro", "teachers/lite0", "lite0", "teachers", ["seed:0"], {"epochs": 2}, **described)
    return wandb_run(mode, folder, job)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_disabled_calls_nothing_and_writes_nothing(inits, tmp_path):
    with track(tmp_path / "wandb", "disabled") as log:
        log.metrics({"loss": 1.0})
        log.record(Record(summary={"accuracy": 0.5}))
    assert inits == [] and not (tmp_path / "wandb").exists()


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_metrics_reach_a_run_of_the_mode_that_was_asked_for(inits, tmp_path, mode):
    with track(tmp_path, mode) as log:
        log.metrics({"loss": 1.0})
        log.metrics({"loss": 0.5})
    assert [call["mode"] for call in inits] == [mode]
    assert inits.run.logged == [{"loss": 1.0}, {"loss": 0.5}] and inits.run.exit_codes == [0]


def test_a_run_has_a_project_a_group_a_kind_tags_and_a_config(inits, tmp_path):
    with track(tmp_path):
        pass
    (call,) = inits
    assert (call["project"], call["name"], call["group"], call["job_type"]) == (
        "decant-micro",
        "teachers/lite0",
        "lite0",
        "teachers",
    )
    assert call["tags"] == ["seed:0"] and call["config"] == {"epochs": 2, "inputs": []} and call["dir"] == tmp_path


def test_curves_are_drawn_over_epochs(inits, tmp_path):
    with track(tmp_path):
        pass
    assert inits.run.steps["loss"] == inits.run.steps["val_*"] == "epoch"


def test_every_wait_for_the_server_has_an_end(inits, tmp_path):
    with track(tmp_path, "online"):
        pass
    settings = inits[0]["settings"]
    assert 0 < settings.init_timeout <= 20 and 0 < settings.login_timeout <= 20
    assert 0 < getattr(settings, "finish_timeout", 60) <= 60


def test_a_server_out_of_reach_makes_this_run_and_the_later_ones_offline_and_is_told_once(inits, tmp_path, caplog):
    inits.down = ("online",)
    for _ in range(3):
        with track(tmp_path, "online") as log:
            log.metrics({"loss": 1.0})
    assert [call["mode"] for call in inits] == ["online", "offline", "offline", "offline"]
    assert inits.run.logged == [{"loss": 1.0}] * 3
    assert warnings_of(caplog) == ["W&B online is not available: no route to host"]


@pytest.mark.parametrize(("mode", "told"), [("offline", ["offline"]), ("online", ["online", "offline"])])
def test_the_run_goes_on_without_tracking_where_nothing_starts(inits, tmp_path, caplog, mode, told):
    inits.down = ("online", "offline")
    for _ in range(2):
        with track(tmp_path, mode) as log:
            log.metrics({"loss": 1.0})
    assert inits.run.logged == [] and inits.run.exit_codes == []
    assert warnings_of(caplog) == [f"W&B {one} is not available: no route to host" for one in told]


def test_an_offline_run_never_asks_for_the_server(inits, tmp_path):
    inits.down = ("offline",)
    with track(tmp_path, "offline"):
        pass
    assert [call["mode"] for call in inits] == ["offline"]


def test_a_folder_that_cannot_be_made_is_told_once_and_survived(inits, tmp_path, caplog):
    (tmp_path / "file").touch()
    for _ in range(2):
        with track(tmp_path / "file" / "wandb") as log:
            log.metrics({"loss": 1.0})
    (warning,) = warnings_of(caplog)
    assert warning.startswith("W&B offline is not available") and str(tmp_path / "file") in warning


def test_a_failing_log_is_told_once_and_survived(inits, tmp_path, caplog):
    inits.run = FakeRun(broken=("log",))
    for _ in range(2):
        with track(tmp_path) as log:
            for _ in range(3):
                log.metrics({"loss": 1.0})
    assert warnings_of(caplog) == ["W&B stopped logging: the server is gone"]
    assert inits.run.exit_codes == [0, 0]  # the training itself went well


def test_a_failing_finish_is_survived(inits, tmp_path, caplog):
    inits.run = FakeRun(broken=("finish",))
    with track(tmp_path):
        pass
    assert warnings_of(caplog) == ["W&B could not finish its run: the server is gone"]


def test_after_a_finish_that_the_server_did_not_answer_the_later_runs_are_offline(inits, tmp_path, caplog):
    inits.run = FakeRun(late=("finish",))
    for _ in range(3):
        with track(tmp_path, "online") as log:
            log.metrics({"loss": 1.0})
    assert [call["mode"] for call in inits] == ["online", "offline", "offline"]
    assert inits[0]["settings"].finish_timeout_raises
    (warning,) = warnings_of(caplog)
    assert "within 60 s" in warning and f"wandb sync {tmp_path}/wandb/" in warning


def test_the_training_does_not_wait_for_a_start_that_hangs(inits, tmp_path):
    inits.wait, trained = Event(), []
    with track(tmp_path) as log:
        for epoch in range(3):
            log.metrics({"epoch": epoch})
            trained.append(epoch)
        assert trained == [0, 1, 2] and inits.run.logged == []
        inits.wait.set()
    assert inits.run.logged == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("stuck", ["log", "finish"])
def test_a_call_that_never_returns_ends_tracking_and_is_told_once(inits, tmp_path, caplog, monkeypatch, stuck):
    monkeypatch.setattr(tracking, "LONGEST_WAIT_S", 0.2)
    inits.run = FakeRun(stuck=(stuck,))
    for _ in range(3):
        with track(tmp_path) as log:
            log.metrics({"loss": 1.0})
    assert warnings_of(caplog) == ["W&B does not answer; from now on this process tracks nothing"]
    assert len(inits) == 1


def test_a_full_disk_is_told_once(inits, tmp_path, caplog, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0))
    for _ in range(2):
        with track(tmp_path):
            pass
    assert warnings_of(caplog) == [f"W&B's files in {tmp_path} are incomplete: the disk is full"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_training_itself_ends_the_run_as_failed_and_is_passed_on(inits, tmp_path, error):
    with pytest.raises(error), track(tmp_path):
        raise error
    assert inits.run.exit_codes == [1]


@pytest.mark.parametrize("share", [False, True])
def test_code_and_git_are_asked_for_only_where_they_may_be_shared(inits, tmp_path, share):
    with track(tmp_path, share=share):
        pass
    settings = inits[0]["settings"]
    assert settings.disable_git is settings.disable_code is not share
    assert settings.save_code is False and settings.console == "off"


def test_a_summary_keeps_texts_and_finite_numbers(inits, tmp_path):
    with track(tmp_path) as log:
        log.record(Record(summary={"accuracy": 0.5, "kind": "teacher", "ece": float("nan"), "odd": [1], "none": None}))
    assert inits.run.summary == {"accuracy": 0.5, "kind": "teacher"}


def test_a_table_has_the_rows_and_a_confusion_matrix_its_counts(inits, tmp_path):
    rows = [{"class": "bus", "recall": 0.5}, {"class": "car", "recall": None}]
    counts = [{"target": "bus", "bus": 3, "car": 1}, {"target": "car", "bus": 0, "car": 2}]
    with track(tmp_path) as log:
        log.record(Record(tables={"per_class": rows}, confusions={"confusion": counts}))
    table, chart = inits.run.logged[0]["per_class"], inits.run.logged[1]["confusion"]
    assert table.columns == ["class", "recall"] and table.data == [["bus", 0.5], ["car", None]]
    expected = [["bus", "bus", 3], ["bus", "car", 1], ["car", "bus", 0], ["car", "car", 2]]
    assert chart.table.data == expected


@pytest.mark.parametrize("share", [False, True])
def test_images_are_asked_for_and_sent_only_where_they_may_be_shared(inits, tmp_path, share):
    asked = []

    def images():
        asked.append(True)
        return [np.zeros((4, 6, 3), np.uint8)]

    with track(tmp_path, share=share) as log:
        log.record(Record(tables={"mistakes": [{"id": "a"}]}, images={"mistakes": images}))
    (logged,) = inits.run.logged
    assert logged["mistakes"].columns == (["image", "id"] if share else ["id"]) and bool(asked) is share


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    return Artifact("teachers/lite0", "model", "0123456789ab", {"model.json": tmp_path / "model.json"})


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_lineage_is_drawn_online_and_written_down_in_any_mode(inits, tmp_path, model, mode):
    """W&B raises for use_artifact in an offline run."""
    data = Artifact("data", "dataset", "ba9876543210", {})
    with track(tmp_path, mode, reads=[data]) as log:
        log.record(Record(artifacts=[model]))
    ((artifact, aliases),) = inits.run.artifacts
    assert [used.name for used in inits.run.used] == (["data"] if mode == "online" else [])
    assert artifact.metadata["inputs"] == inits[0]["config"]["inputs"] == ["data:ba9876543210"]
    assert (artifact.name, artifact.type, aliases) == ("teachers-lite0", "model", ["latest", "0123456789ab"])
    assert set(artifact.manifest.entries) == {"model.json", "version.json"}


def test_an_artifact_made_again_by_a_reader_is_the_same_version(model):
    logged, read = tracking.wandb_artifact(model, [model]), tracking.wandb_artifact(model)
    other = tracking.wandb_artifact(Artifact(model.name, model.kind, "another", model.files))
    assert logged.digest == read.digest != other.digest


REAL_RUNS = """if True:
    import sys
    from pathlib import Path
    import wandb
    from decant.tracking import Job, wandb_run

    for name, share in (("shared", True), ("private", False)):
        with wandb_run("offline", Path(sys.argv[1]) / name, Job("decant", "run", share=share)) as log:
            log.metrics({"loss": 0.25})
            print("printed_marker")
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
    secrets = [git("rev-parse", "HEAD"), "secret_remote", "committed_marker", "changed_marker", "printed_marker"]
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
        from decant.tracking import Job, wandb_run

        for name in ("fine", "failing"):
            with wandb_run("offline", Path(sys.argv[1]) / name, Job("decant", "run")) as log:
                log.metrics({"loss": 0.25})
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


ONLINE_RUNS = """if True:
    import logging, sys
    from pathlib import Path
    from decant import tracking

    logging.basicConfig(format="%(message)s")
    tracking.ONLINE_TIMEOUT_S, tracking.FINISH_TIMEOUT_S = int(sys.argv[2]), 1
    for _ in range(2):
        with tracking.wandb_run("online", Path(sys.argv[1]), tracking.Job("decant", "run")) as log:
            log.metrics({"loss": 0.25})
    print("done")
"""


@pytest.fixture
def silent_server():
    """The address of a server that accepts connections and never answers."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:  # closed
                    return

        Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def go_online(folder, repository, server, start_timeout_s=1):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONLINE_RUNS, str(folder), str(start_timeout_s)],
        cwd=folder,
        env={
            **os.environ,
            "WANDB_BASE_URL": server,
            "WANDB_API_KEY": "0" * 40,
            "PYTHONPATH": str(repository / "src"),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )


def check_offline_instead(done, folder):
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
    assert done.stderr.count("W&B online is not available") == 1
    assert len(list(folder.glob("wandb/offline-run-*"))) == 2


def test_a_real_server_out_of_reach_does_not_fail_the_run(tmp_path, repository):
    check_offline_instead(go_online(tmp_path, repository, "http://127.0.0.1:9"), tmp_path)


@pytest.mark.slow
def test_a_real_server_that_never_answers_does_not_block_the_run(tmp_path, repository, silent_server):
    check_offline_instead(go_online(tmp_path, repository, silent_server), tmp_path)


class LostServer(BaseHTTPRequestHandler):
    """Lets runs begin, as W&B's server does, and answers nothing that comes after."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if b"UpsertBucket" not in asked:
            return self.server.stopped.wait(60)
        names = {"name": "decant", "entity": {"name": "somebody"}}
        run = {"id": "1", "name": "run", "displayName": "run", "config": "{}", "historyLineCount": 0, "project": names}
        answer = json.dumps({"data": {"upsertBucket": {"bucket": run, "inserted": True}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_): ...


@pytest.fixture
def lost_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), LostServer) as server:
        server.daemon_threads, server.stopped = True, Event()
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.stopped.set()
        server.shutdown()


def test_a_real_server_that_is_lost_during_a_run_makes_the_later_runs_offline(tmp_path, repository, lost_server):
    done = go_online(tmp_path, repository, lost_server, start_timeout_s=20)
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
    assert done.stderr.count("W&B") == 1 and "did not take all of run within 1 s" in done.stderr
    assert len(list(tmp_path.glob("wandb/run-*"))) == len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_without_a_login_a_real_run_is_an_offline_one_and_asks_nothing(tmp_path, repository):
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ONLINE_RUNS, str(tmp_path), "1"],
        cwd=tmp_path,
        env={**env, "HOME": str(tmp_path), "PYTHONPATH": str(repository / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    check_offline_instead(done, tmp_path)


OFFLINE_RUN = """if True:
    import logging, sys
    from pathlib import Path
    from decant import tracking

    logging.basicConfig(format="%(message)s")
    for _ in range(2):
        with tracking.wandb_run("offline", Path(sys.argv[1]), tracking.Job("decant", "run")) as log:
            for epoch in range(300):
                log.metrics({"epoch": epoch, "loss": 0.25})
            log.record(tracking.Record(tables={"t": [{"a": 1}]}))
    print("done")
"""


def test_a_real_full_disk_does_not_fail_the_run_and_is_told_once(tmp_path, repository):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: unshare -rm is not allowed")
    mounted = f'mount -t tmpfs -o size=128k tmpfs {tmp_path} && exec {sys.executable} -W ignore -c "$CODE" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted],
        env={**os.environ, "CODE": OFFLINE_RUN, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
    lines = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert any("the disk is full" in line for line in lines) and len(set(lines)) == len(lines), done.stderr


LISTENED_RUN = """if True:
    import sys

    def heard(event, given):
        if event in ("socket.getaddrinfo", "socket.connect"):
            address = given[0] if event == "socket.getaddrinfo" else given[1]
            host = address[0] if isinstance(address, tuple) else address
            if host not in ("127.0.0.1", "localhost") and not str(host).startswith(("/", "\\0")):
                print("asked", host, flush=True)

    sys.addaudithook(heard)
    from pathlib import Path
    from decant import tracking

    with tracking.wandb_run("offline", Path(sys.argv[1]), tracking.Job("decant", "run")) as log:
        log.metrics({"loss": 0.25})
        log.record(tracking.Record(tables={"t": [{"a": 1}]}, artifacts=[tracking.Artifact("a", "model", "0", {})]))
"""


def test_a_real_offline_run_asks_no_other_machine(tmp_path, repository):
    """Not even for reports of errors and of use."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LISTENED_RUN, str(tmp_path)],
        env={**env, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


HANGING_RUN = """if True:
    import logging, os, signal, subprocess, sys, time
    from pathlib import Path
    from decant import tracking

    def services():
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
        return [int(line) for line in found.stdout.split()]

    logging.basicConfig(format="%(message)s")
    tracking.LONGEST_WAIT_S = 2
    with tracking.wandb_run("offline", Path(sys.argv[1]), tracking.Job("decant", "run")) as log:
        while not list(Path(sys.argv[1]).rglob("*.wandb")):
            time.sleep(0.1)
        for service in services():
            os.kill(service, signal.SIGSTOP)
        log.metrics({"loss": 0.25})
    with tracking.wandb_run("offline", Path(sys.argv[1]), tracking.Job("decant", "run")) as log:
        log.metrics({"loss": 0.25})
    print("done")
"""


def test_a_real_run_whose_service_hangs_ends_and_so_does_the_process(tmp_path, repository):
    if shutil.which("pgrep") is None:
        pytest.skip("pgrep is missing: W&B's process cannot be found")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HANGING_RUN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
    assert done.stderr.count("W&B does not answer") == 1, done.stderr


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
    with wandb_run("offline", tmp_path, Job("decant", "run", config=config)):
        pass
    assert json.dumps(config) == before
