"""A served classifier that also computes class activation maps."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from decant.data.preprocessing import Preprocessing
from decant.export.class_activation import MAP, NoMap, Places, with_map
from decant.export.interface import IMAGES, LOGITS, PROBABILITIES
from decant.export.runtime import BrokenFile, OnnxClassifier, open_session, run

log = logging.getLogger(__name__)
TOLERANCE = 1e-3  # between the logits and the map's mean, relative to the largest logit


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """The maps of one file, computed by the session of its predictions.

    places: where the cells lie in the input, on the axis of the rows and of the columns.
    """

    session: onnxruntime.InferenceSession
    places: tuple[Places, Places]
    preprocessing: Preprocessing
    dtype: str = "fp32"

    def predict_batch(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, K] and maps [B, K, h, w], the logits at each place; float32. images: uint8 [B, H, W, 3]."""
        probabilities, maps = run(self.session, {IMAGES: images}, [PROBABILITIES, MAP])
        return probabilities, maps

    def are_sound(self) -> bool:
        """True if the mean of a map over the places is the logits, and there are several places on both axes."""
        image = np.zeros((1, 64, 64, 3), np.uint8)
        logits, maps = run(self.session, {IMAGES: image}, [LOGITS, MAP])
        difference = np.abs(maps.mean(axis=(2, 3)) - logits).max()
        return bool(difference <= TOLERANCE * np.abs(logits).max()) and min(maps.shape[2:]) > 1


class MappedClassifier(OnnxClassifier):
    """An exported classifier with `maps`; None for a file that allows none, see `decant.export.class_activation`.

    Its session has one more output than the file and computes the same predictions. A single session keeps the weights
    in memory only once.
    """

    _places: tuple[Places, Places] | None = None

    def __init__(self, path: Path | str, threads: int = 0) -> None:
        super().__init__(path, threads)
        self.maps = self._checked_maps()

    def _open(self, path: Path, threads: int) -> onnxruntime.InferenceSession:
        try:
            model, places = with_map(path.read_bytes())
            session = open_session(model, threads)
        except (NoMap, ValueError, OSError, BrokenFile) as error:
            log.info("%s has no class activation map: %s", path, error)
            return super()._open(path, threads)
        self._places = places
        return session

    def _checked_maps(self) -> ClassMaps | None:
        if self._places is None:
            return None
        try:
            preprocessing = Preprocessing.from_dict(json.loads(self.metadata["preprocessing"]))
            maps = ClassMaps(self.session, self._places, preprocessing)
            return maps if maps.are_sound() else None
        except (KeyError, ValueError, BrokenFile):
            return None
