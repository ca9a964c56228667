"""decant: from a messy folder of photos to a small, verified classifier."""

__version__ = "0.1.0"
