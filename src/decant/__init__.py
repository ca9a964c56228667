"""decant: from a messy folder of photos to a small, verified classifier."""

import os

__version__ = "0.1.0"

UNTUNED = "DECANT_UNTUNED"  # set where a process times a model as its users will run it: see reporting/candidates.py

# OpenMP threads that spin while they wait starve each other as soon as anything else uses a core, and a training step
# takes several times as long. Read when torch is loaded, so it has to be set here.
if UNTUNED not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
