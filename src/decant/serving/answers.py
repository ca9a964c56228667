"""From an uploaded image to its answer: it is decoded within the limits, and predicted in a batch with others."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from decant.export.runtime import BrokenFile, OnnxClassifier
from decant.serving.batching import Batches
from decant.serving.deadline import Busy, Deadline
from decant.serving.heat_picture import evidence_for, heat_picture
from decant.serving.memory import Budget, counted_pixels
from decant.serving.metrics import Metrics
from decant.serving.served_model import LoadedModel
from decant.serving.uploads import MEGA, Limits, Refused, Upload, check_size, decoded

MAX_ARRAYS = 32  # images in one request of an inference protocol, as in the target triton


@dataclass(frozen=True)
class Answer:
    """The prediction for one image, or why there is none.

    classes: names with probabilities, the highest first. accept: None if the file has no thresholds. seconds: from the
    image's bytes to its prediction, with waiting. probabilities, logits: float32 [K] in the file's order. preview: a
    small copy, for the page, as an address.
    """

    name: str
    classes: Sequence[tuple[str, float]] = ()
    accept: bool | None = None
    seconds: float = 0.0
    refused: Refused | None = None
    probabilities: np.ndarray | None = None
    logits: np.ndarray | None = None
    preview: str = field(default="", repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON: a refused image has its status, kind and reason."""
        if self.refused is not None:
            return {"name": self.name, **refusal(self.refused)}
        return {
            "name": self.name,
            "class": self.classes[0][0],
            "probability": self.classes[0][1],
            "accept": self.accept,
            "classes": [{"class": name, "probability": probability} for name, probability in self.classes],
            "milliseconds": round(self.seconds * 1000, 1),
        }


@dataclass(frozen=True)
class Heat:
    """A PNG to lay over an image: which places support a class. share: of the image's area that the model sees."""

    label: str
    picture: bytes = field(repr=False)
    share: float


Preview = Callable[[np.ndarray], str]  # from an image uint8 [H, W, 3]


def no_preview(image: np.ndarray) -> str:
    return ""


class Answers:
    """Predicts uploads with any of the served models, and counts images in `metrics`.

    budget: pixels that are decoded and predicted at once. bodies: bytes of the requests that are worked on.
    """

    def __init__(self, limits: Limits, workers: int) -> None:
        self.limits = limits
        self.batches = Batches(workers)
        self.budget = Budget(limits.counted_pixels)
        self.bodies = Budget(limits.bytes)
        self.metrics = Metrics()

    def answer(self, model: LoadedModel, upload: Upload, deadline: Deadline, preview: Preview = no_preview) -> Answer:
        """The prediction for an upload, or its refusal. Raises nothing for what a client sent."""
        started = time.perf_counter()
        classifier = model.classifier
        try:
            with decoded(upload, self.limits, self.budget, partial(counted_pixels, classifier), deadline) as image:
                ((probabilities, logits),) = self.batches.predict(classifier, [image], deadline)
                small = preview(image)  # here, because the image itself must go before its memory is given to others
                del image
        except (Busy, BrokenFile) as error:
            answer = Answer(upload.name, refused=server_fault(error))
        except Refused as error:
            answer = Answer(upload.name, refused=error)
        else:
            seconds = time.perf_counter() - started
            answer = answer_of(classifier, upload.name, probabilities, logits, seconds, small)
        kind = answer.refused.kind if answer.refused else "predicted"
        self.metrics.count("decant_images_total", model=model.name, outcome=kind)
        return answer

    def heat(self, model: LoadedModel, upload: Upload, deadline: Deadline) -> Heat:
        """The places of the image that support its most probable class, at the cost of a prediction.

        Raises Refused for an image that cannot be predicted, and for a model without maps.
        """
        classifier, maps = model.classifier, model.classifier.maps
        if maps is None:
            raise Refused(
                422, "no_map", "this model has no map: its predictions are not an average over places of the image"
            )
        try:
            with decoded(upload, self.limits, self.budget, partial(counted_pixels, classifier), deadline) as image:
                ((probabilities, at_places),) = self.batches.predict(maps, [image], deadline)
                height, width, _ = image.shape
                del image
        except (Busy, BrokenFile) as error:
            raise server_fault(error) from None
        self.metrics.count("decant_images_total", model=model.name, outcome="mapped")
        top = int(probabilities.argmax())
        evidence = evidence_for(at_places, top)
        picture, share = heat_picture(evidence, (height, width), maps.places, maps.preprocessing)
        return Heat(classifier.classes[top], picture, share)

    def answer_arrays(
        self, model: LoadedModel, images: np.ndarray, deadline: Deadline
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and logits, float32 [B, K] each. images: uint8 [B, H, W, 3].

        Raises Refused for images above the limit, and if the file fails or too many images wait.
        """
        classifier = model.classifier
        count, height, width, _ = images.shape
        counted = count * counted_pixels(classifier, height, width)
        if count > MAX_ARRAYS or count * height * width > self.limits.pixels:
            limit = f"{MAX_ARRAYS} images and {self.limits.pixels / MEGA:g} megapixels"
            raise Refused(413, "too_many_pixels", f"{count} images of {width} x {height} pixels, more than {limit}")
        check_size(height, width, counted, self.limits)
        try:
            with self.budget.reserved(counted, deadline):
                predictions = self.batches.predict(classifier, list(images), deadline)
        except (Busy, BrokenFile) as error:
            raise server_fault(error) from None
        self.metrics.count("decant_images_total", by=count, model=model.name, outcome="predicted")
        probabilities, logits = (np.stack(arrays) for arrays in zip(*predictions, strict=True))
        return probabilities, logits


def answer_of(
    classifier: OnnxClassifier,
    name: str,
    probabilities: np.ndarray,
    logits: np.ndarray,
    seconds: float,
    preview: str = "",
) -> Answer:
    """The answer with this prediction. probabilities, logits: float32 [K]."""
    order = np.argsort(-probabilities, kind="stable")
    return Answer(
        name,
        [(classifier.classes[index], float(probabilities[index])) for index in order],
        classifier.accepts(probabilities, logits),
        seconds,
        probabilities=probabilities,
        logits=logits,
        preview=preview,
    )


def server_fault(error: Busy | BrokenFile) -> Refused:
    """The refusal of an image that was in order."""
    busy = isinstance(error, Busy)
    return Refused(503 if busy else 500, "busy" if busy else "broken_model", str(error))


def refusal(refused: Refused) -> dict[str, Any]:
    """A refusal as JSON."""
    return {"status": refused.status, "kind": refused.kind, "reason": refused.reason}
