"""decant: from a messy folder of photos to a small, verified classifier."""

import os

__version__ = "0.1.0"

# OpenMP threads that spin while they wait starve each other as soon as anything else uses a core, and a training step
# takes several times as long. Read when torch is loaded, so it has to be set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
