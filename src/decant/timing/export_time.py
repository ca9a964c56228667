"""The time to export a student and to verify the file."""

import time
from pathlib import Path

from decant.data.preprocessing import height_width, size_text
from decant.export.student import export_student
from decant.export.verification.torch_reference import TorchReference
from decant.export.verification.verify import verify
from decant.models.checkpoint import Checkpoint
from decant.timing.preprocessing_error import drawn_images

EXPORT_TIME_COLUMNS = ("classes", "input_px", "images", "export_s", "verify_s", "total_s", "passed")


def export_time_row(checkpoint: Checkpoint, folder: Path, images: int) -> dict[str, object]:
    """Export a student into `folder` and verify it against PyTorch on `images` drawn photos of odd sizes.

    Keys are EXPORT_TIME_COLUMNS. `passed` is True if verification passed.
    """
    input_px = checkpoint.preprocessing.input_px
    drawn = [
        (str(number), image)
        for number, image in enumerate(drawn_images("photo", "odd", max(height_width(input_px)), images, seed=0))
    ]
    start = time.perf_counter()
    export_student(checkpoint, folder)
    exported = time.perf_counter()
    report = verify(folder / "student.onnx", drawn, TorchReference(checkpoint))
    verified = time.perf_counter()
    return {
        "classes": len(checkpoint.classes),
        "input_px": size_text(input_px),
        "images": images,
        "export_s": exported - start,
        "verify_s": verified - exported,
        "total_s": verified - start,
        "passed": report["passed"],
    }
