"""A served file under its name, and its reload when the file is replaced."""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decant.errors import UserError
from decant.export.runtime import BrokenFile, require_full_graph
from decant.serving.mapped_classifier import MappedClassifier

log = logging.getLogger(__name__)
CHECK_EVERY_S = 1.0
Mark = tuple[int, int, int]  # time of change, size, number of the file on its disk


@dataclass(frozen=True)
class LoadedModel:
    """A served model during one request: it keeps its file, even if another is loaded meanwhile."""

    name: str
    classifier: MappedClassifier


class ServedModel:
    """An exported file. `classifier` is its newest version that works; requests under way finish with an older one.

    path: may lead through links such as `latest`. loads: how often a file was loaded. fault: why the newest file is not
    served, "" if it is. Raises UserError, BrokenFile included, if the first version cannot be served.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self._loaded = self._looked = mark_of(path)
        self.classifier = opened(path)
        self.loads = 1
        self.fault = ""

    @property
    def title(self) -> str:
        """The study's title, or the name."""
        return self.classifier.metadata.get("title") or self.name

    def now(self) -> LoadedModel:
        """The model for a request that begins now."""
        return LoadedModel(self.name, self.classifier)

    def reload_if_replaced(self) -> None:
        """Load the file if it was replaced and no longer changes. Keep the old version if the new file fails."""
        mark = mark_of(self.path)
        settled, self._looked = mark == self._looked, mark
        if mark is None or not settled or mark == self._loaded:
            return
        self._loaded = mark
        try:
            self.classifier = opened(self.path)
        except Exception as error:  # any: an error that ended the thread would end the reload of all models
            reason = str(error) if isinstance(error, UserError) else f"{self.path}: {error!r}"
            self.fault = reason.replace(str(self.path), self.path.name)  # it is shown to everybody
            log.warning("%s: the new file is not served, the old one still is: %s", self.name, error)
            return
        self.loads += 1
        self.fault = ""
        log.info("%s: loaded again, because the file was replaced", self.name)


def mark_of(path: Path) -> Mark | None:
    """A mark that changes when the file is replaced; None while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def opened(path: Path) -> MappedClassifier:
    """The file, after one prediction: a file that loads may still fail when it runs, and the first run is slow.

    It computes with one thread, because several predictions run at once.
    """
    classifier = MappedClassifier(path, threads=1)
    require_full_graph(classifier, path)
    try:
        probabilities, _ = classifier.predict(np.zeros((64, 64, 3), np.uint8))
    except ValueError as error:
        raise BrokenFile(f"{path} fails when it is run ({error}); export it again") from None
    if probabilities.shape != (len(classifier.classes),):
        raise BrokenFile(f"{path} has {len(classifier.classes)} classes and another number of probabilities")
    return classifier


def served_models(files: Sequence[tuple[str, Path]]) -> list[ServedModel]:
    """Load the files. files: (name, path); an empty name becomes the study's, or the file's if it names no study.

    Raises UserError if two models have the same name.
    """
    models = [ServedModel(name, path) for name, path in files]
    for model in models:
        model.name = model.name or default_name(model)
    counts = Counter(model.name for model in models)
    for model in models:
        if counts[model.name] > 1:
            raise UserError(f"several files are called {model.name}; name them: FIRST={models[0].path} SECOND=…")
    return models


def default_name(model: ServedModel) -> str:
    """The study's name, with `_int8` for an int8 file; the file's own name if its metadata have no study."""
    study = model.classifier.metadata.get("study", "")
    if not study:
        return model.path.stem
    return f"{study}_int8" if model.classifier.dtype == "int8" else study


def watch(models: Sequence[ServedModel]) -> threading.Event:
    """Reload replaced files in a thread of its own until the returned event is set."""
    stop = threading.Event()

    def check() -> None:
        while not stop.wait(CHECK_EVERY_S):
            for model in models:
                model.reload_if_replaced()

    threading.Thread(target=check, name="reload", daemon=True).start()
    return stop
