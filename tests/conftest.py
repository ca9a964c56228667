"""What every test may rely on: few threads, no network, no telemetry, and the real photos where they are."""

import os
from pathlib import Path

# Before torch is imported, and inherited by the scripts that tests start.
# The networks of the tests are so small that a second thread costs more than it brings; and threads that spin while
# they wait (see decant/__init__.py) would make the suite ten times slower beside another busy process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["WANDB_MODE"] = "disabled"
os.environ["MPLBACKEND"] = "Agg"

import pytest
from hypothesis import settings

# A deadline would assert a time; a fixed seed gives every run the same examples.
settings.register_profile("decant", deadline=None, derandomize=True, database=None)
settings.load_profile("decant")


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos; tests that take it carry the mark `data`."""
    folder = Path(os.environ.get("DECANT_DATA", "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}: set DECANT_DATA to the folder that holds them")
    return folder
