"""The chain is killed at random moments and started again: what comes out is what comes out undisturbed."""

import hashlib
import multiprocessing
import shutil
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decant.study_files import ROOT

Micro = Any
FORKED = multiprocessing.get_context("forkserver")
# What a process imports before its first stage; forking it saves each restart those seconds.
FORKED.set_forkserver_preload(["decant.stages.publish", "decant.stages.student", "cleanlab.filter"])
CALL = """
import runpy, sys
sys.argv = {words!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started(place: Path) -> ForkServerProcess:
    """`distill/run.py --study micro` in a process of its own."""
    places = ["--runs", str(place / "runs"), "--results", str(place / "results")]
    words = [str(ROOT / "distill" / "run.py"), "--study", "micro", "--wandb", "disabled", *places]
    process = FORKED.Process(target=exec, args=(CALL.format(words=words), {}))
    process.start()
    return process


def finished(process: ForkServerProcess) -> None:
    process.join()
    assert process.exitcode == 0


def outcome(place: Path) -> dict[str, str]:
    """Digests of everything that a seed decides: the precision table, predictions, weights, labels, the ONNX file.

    Times are not among them, nor what is made from times.
    """
    runs = place / "runs"
    names = ("*.npy", "*.safetensors", "*.onnx", "*.parquet", "issues.csv", "weights.json", "confusion_*.csv")
    found = {path for name in names for path in (runs / "store").rglob(name)}
    found.add(runs / "micro" / "results" / "benchmarks" / "precision" / "metrics.csv")
    return {str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}


def assert_undisturbed(place: Path, expected: dict[str, str], kills: list[str]) -> None:
    found = outcome(place)
    different = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
    assert not different, f"after kills in {kills}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """What an uninterrupted run leaves, and how many seconds it takes."""
    FORKED.Process(target=int).start()  # the server is up, its imports done
    place = tmp_path_factory.mktemp("undisturbed")
    begun = time.monotonic()
    finished(started(place))
    return outcome(place), time.monotonic() - begun


def unfinished(place: Path) -> str:
    """The stages that a kill fell into; none if it fell between two."""
    store = place / "runs" / "store"
    marks = [path for path in store.rglob("*") if len(path.name) == 12 and path.is_dir()]
    return ", ".join(str(p.parent.relative_to(store)) for p in marks if not (p / "finished.json").is_file())


def test_a_process_of_its_own_gives_what_the_chain_gives_in_this_one(
    micro: Micro, undisturbed: tuple[dict[str, str], float]
) -> None:
    expected, _ = undisturbed
    assert len(expected) > 30
    assert_undisturbed(micro.place, expected, [])


def test_a_kill_in_a_training_and_one_in_the_labelling_change_nothing(
    tmp_path: Path, undisturbed: tuple[dict[str, str], float]
) -> None:
    """Each kill falls when a file shows that the work is half done."""
    fell = []
    for sign in ("teachers/convnext/*/fold0/resume.safetensors", "soft_labels/*/store-*/view-00000-*.npy"):
        process = started(tmp_path)
        while process.is_alive() and not list((tmp_path / "runs" / "store").glob(sign)):
            time.sleep(0.002)
        process.kill()
        process.join()
        fell.append(unfinished(tmp_path))
    finished(started(tmp_path))
    assert_undisturbed(tmp_path, undisturbed[0], fell)


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path, undisturbed: tuple[dict[str, str], float]) -> None:
    """A run that ends before its kill is compared, and the next begins anew: no kill is spent on a finished chain."""
    expected, seconds = undisturbed
    moments = np.random.default_rng(8)
    place, fell = tmp_path / "run", []
    while len(fell) < 10:
        process = started(place)
        process.join(float(moments.uniform(0, seconds)))
        if process.is_alive():
            process.kill()
            process.join()
            fell.append(unfinished(place))
        else:
            finished(process)
            assert_undisturbed(place, expected, fell)
            shutil.rmtree(place)
    finished(started(place))
    assert_undisturbed(place, expected, fell)
