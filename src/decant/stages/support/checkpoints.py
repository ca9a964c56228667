"""The checkpoints of a trained stage."""

from pathlib import Path


def model_folders(trained: Path) -> list[Path]:
    """The checkpoint folders of a trained teacher or student: one, or one per fold in the order of the folds."""
    folders = sorted(trained.glob("fold*/"), key=lambda folder: int(folder.name.removeprefix("fold")))
    return folders or [trained]
