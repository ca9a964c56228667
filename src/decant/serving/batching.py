"""Predictions for requests that come at the same time: waiting images are computed in batches."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from decant.serving.deadline import Deadline

MAX_IMAGES = 8  # per batch; more are not faster on a CPU, and the first would wait for the last
MAX_BATCH_PIXELS = 2_000_000  # the graph takes 30 bytes of memory per pixel
Answer = tuple[np.ndarray, np.ndarray]  # of one image: probabilities [K] and what else its predictor computes


class Predictor(Protocol):
    """What computes batches: an OnnxClassifier, whose second array is the logits [B, K], or ClassMaps."""

    @property
    def dtype(self) -> str: ...

    def predict_batch(self, images: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, K], and what else the predictor computes [B, ...]. images: uint8 [B, H, W, 3]."""


@dataclass(eq=False)  # two instances are never the same image
class Waiting:
    """An image that waits for its prediction."""

    classifier: Predictor
    image: np.ndarray
    answer: Future[Answer] = field(default_factory=Future)

    def goes_with(self, other: "Waiting") -> bool:
        """True if both may be in one batch: they have the same file and size. `batch_size` keeps int8 images apart."""
        return self.classifier is other.classifier and self.image.shape == other.image.shape


class Batches:
    """Computes predictions in `workers` threads. Each takes the image that waits longest, with others of its size.

    sizes: how many batches of each size were computed.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.sizes: dict[int, int] = {}
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"predict-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """The number of images that no thread has begun to predict."""
        return len(self._queue)

    def predict(self, classifier: Predictor, images: Sequence[np.ndarray], deadline: Deadline) -> list[Answer]:
        """Predict uint8 images [H, W, 3] of any sizes: probabilities [K] and logits [K], or the map, of each.

        Raises Busy for an image that no thread has begun to predict at the deadline, BrokenFile if the file fails, and
        ValueError for another shape or type.
        """
        waiting_images = [Waiting(classifier, image) for image in images]
        with self._changed:
            self._queue.extend(waiting_images)
            self._changed.notify(len(waiting_images))
        try:
            return [answer_to(waiting, deadline) for waiting in waiting_images]
        finally:  # images that are being predicted are waited for, because their memory is in use until then
            wait([waiting.answer for waiting in waiting_images if not waiting.answer.cancel()])

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                batch = take_batch(self._queue)
                self.sizes[len(batch)] = self.sizes.get(len(batch), 0) + 1
            compute([waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()])
            del batch  # an idle thread must not hold its last images


def answer_to(waiting: Waiting, deadline: Deadline) -> Answer:
    """The answer, also after the deadline if it is being computed. Raises Busy."""
    try:
        return waiting.answer.result(deadline.left_s)
    except TimeoutError:
        if waiting.answer.cancel():
            raise deadline.busy("no prediction") from None
        return waiting.answer.result()


def take_batch(queue: deque[Waiting]) -> list[Waiting]:
    """Remove the first image of the queue and others that go with it; return them in their order."""
    first = queue.popleft()
    room = batch_size(first) - 1
    others = [waiting for waiting in queue if room and first.goes_with(waiting)][:room]
    for waiting in others:
        queue.remove(waiting)
    return [first, *others]


def batch_size(waiting: Waiting) -> int:
    """The largest batch for this image. An int8 file may predict another class in a batch than alone."""
    if waiting.classifier.dtype == "int8":
        return 1
    height, width = waiting.image.shape[:2]
    return max(1, min(MAX_IMAGES, MAX_BATCH_PIXELS // max(1, height * width)))


def compute(batch: list[Waiting]) -> None:
    """Predict a batch and give each image its answer, or the error."""
    if not batch:
        return
    try:
        computed = batch[0].classifier.predict_batch(stacked([waiting.image for waiting in batch]))
        answers = list(zip(batch, *computed, strict=True))
    except Exception as error:  # any: a thread that ended would leave all later requests without an answer
        for waiting in batch:
            waiting.answer.set_exception(error)
        return
    for waiting, *answer in answers:
        waiting.answer.set_result(tuple(answer))


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images [H, W, 3] of one size as a batch [B, H, W, 3]; a single image is not copied."""
    return np.stack(images) if len(images) > 1 else images[0][None]
