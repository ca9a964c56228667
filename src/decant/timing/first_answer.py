"""A separate program that predicts the class of one photo and prints when each step finished.

    python first_answer.py student.onnx photo.jpg

It imports what a user's program imports and nothing of this project. It prints one line: the index of the class, then
one time per step, in seconds of the system's monotonic clock. `decant.timing.cold_start` starts it.
"""

import sys
import time

STARTED = time.monotonic()  # the interpreter has started


def main(model: str, photo: str) -> None:
    """Print the class and the times. The imports are inside because they are timed."""
    stamps = [STARTED]
    import numpy as np

    stamps.append(time.monotonic())
    import onnxruntime

    stamps.append(time.monotonic())
    from PIL import Image, ImageOps

    stamps.append(time.monotonic())
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    stamps.append(time.monotonic())
    # The lines of example.py. Importing `decant.data.images` would add 50 to 80 ms, mostly for formats that this
    # photo does not have, to what a user's program takes.
    upright = ImageOps.exif_transpose(Image.open(photo)).convert("RGBA")
    image = np.asarray(Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB"))
    stamps.append(time.monotonic())
    (probabilities,) = session.run(["probabilities"], {"images": image[None]})
    best = int(probabilities[0].argmax())
    stamps.append(time.monotonic())
    sys.stdout.write(f"{best} {' '.join(map(repr, stamps))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
