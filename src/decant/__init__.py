"""decant: from a messy folder of photos to a small, verified classifier."""

import os

__version__ = "0.1.0"

# Set in a process that times a model as its users will run it: see decant.timing.models.
UNTUNED = "DECANT_UNTUNED"

# OpenMP threads that spin while they wait take the cores from those that work: a training step takes several times as
# long as soon as another program runs. OpenMP reads the variable when torch is loaded, so it is set here.
if UNTUNED not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
