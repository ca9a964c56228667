"""The reference for an exported file in PyTorch: the student with its own preprocessing."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from decant.data.evaluation_transform import evaluation_transform
from decant.export.network import frozen_copy
from decant.models.checkpoint import Checkpoint


class TorchReference:
    """Evaluation transform and classifier of a checkpoint, image by image, in float32 on the CPU.

    It computes on one thread: for the operators of a small network, starting a second thread costs more than it saves.
    """

    name = "the student in PyTorch"

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.classes = checkpoint.classes
        self.preprocessing = checkpoint.preprocessing
        self.classifier = frozen_copy(checkpoint.classifier)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> prepared float32 [3, height, width] in [0, 1]."""
        return evaluation_transform(image, self.preprocessing).numpy()

    def network(self, prepared: np.ndarray) -> np.ndarray:
        """Prepared float32 [3, height, width] -> logits float32 [K]."""
        with torch.inference_mode(), one_thread():
            return self.classifier(torch.from_numpy(np.require(prepared, requirements=["C", "W"]))[None])[0].numpy()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread inside the block, and restore the number of threads after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
