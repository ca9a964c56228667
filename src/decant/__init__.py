"""decant: from a messy folder of photos to a small, verified classifier."""

import os

from decant.cores import choose_waiting

__version__ = "0.1.0"

# Set in a process that times a model as its users will run it: see decant.timing.models.
UNTUNED = "DECANT_UNTUNED"

if UNTUNED not in os.environ:
    choose_waiting()
