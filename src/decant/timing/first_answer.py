"""The class of one photo, and when each step on the way was done: a program of its own.

    python first_answer.py student.onnx photo.jpg

imports what a user's program imports and nothing of the project, and writes the class's number and the stamps, seconds
of the system's monotonic clock, on one line. `decant.timing.cold_start` starts it.
"""

import sys
import time

STARTED = time.monotonic()  # the interpreter is there


def main(model: str, photo: str) -> None:
    """Answers, and tells when. The imports stand where they are timed."""
    stamps = [STARTED]
    import numpy as np

    stamps.append(time.monotonic())
    import onnxruntime

    stamps.append(time.monotonic())
    from PIL import Image, ImageOps

    stamps.append(time.monotonic())
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    stamps.append(time.monotonic())
    picture = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
    stamps.append(time.monotonic())
    (probabilities,) = session.run(["probabilities"], {"images": picture[None]})
    best = int(probabilities[0].argmax())
    stamps.append(time.monotonic())
    sys.stdout.write(f"{best} {' '.join(map(repr, stamps))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
