"""The models, samples and limits that the routes of the app use."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import current_app, g

from decant.serving.answers import Answers
from decant.serving.deadline import Deadline
from decant.serving.samples import Samples
from decant.serving.served_model import LoadedModel, ServedModel
from decant.serving.uploads import Limits, Refused, shown_name

EXTENSION = "decant"  # the key of `Served` among the app's extensions


@dataclass(frozen=True)
class Served:
    """What the app serves. embed_in: an address whose pages may show the app in a frame, or ""."""

    models: Sequence[ServedModel]
    answers: Answers
    samples: Samples
    embed_in: str = ""

    @property
    def limits(self) -> Limits:
        return self.answers.limits

    def model(self, name: str | None) -> LoadedModel:
        """The model of that name, the first model without a name. Call it once per request: models are reloaded.

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
    """What the app serves, within a request."""
    return current_app.extensions[EXTENSION]


def deadline() -> Deadline:
    """The deadline of the present request."""
    request_deadline: Deadline = g.deadline
    return request_deadline
