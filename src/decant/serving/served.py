"""What the routes of the app work with."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import current_app, g

from decant.serving.answers import Answers
from decant.serving.deadline import Deadline
from decant.serving.samples import Samples
from decant.serving.served_model import LoadedModel, ServedModel
from decant.serving.uploads import Limits, Refused, shown_name

EXTENSION = "decant"  # the key under which the app keeps it


@dataclass(frozen=True)
class Served:
    """What the routes work with. embed_in: an address whose pages may show the app in a frame, or ""."""

    models: Sequence[ServedModel]
    answers: Answers
    samples: Samples
    embed_in: str = ""

    @property
    def limits(self) -> Limits:
        return self.answers.limits

    def model(self, name: str | None) -> LoadedModel:
        """The model of that name, or the first one without a name, for one request: ask once.

        Raises Refused for an unknown name.
        """
        if not name:
            return self.models[0].now()
        for model in self.models:
            if model.name == name:
                return model.now()
        known = ", ".join(model.name for model in self.models)
        raise Refused(404, "unknown_model", f"no model {shown_name(name)!r}; known: {known}")


def served() -> Served:
    """What the app of the present request serves."""
    return current_app.extensions[EXTENSION]


def deadline() -> Deadline:
    """The deadline of the present request."""
    found: Deadline = g.deadline
    return found
