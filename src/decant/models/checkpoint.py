"""Checkpoints with everything that export and prediction need: `model.safetensors` and `model.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.models.backbones import blank_classifier
from decant.models.classifier import Classifier
from decant.workspace import replacing, write_json


@dataclass(frozen=True)
class Checkpoint:
    """A classifier with its classes, its preprocessing and a card.

    card: at least `architecture`; also `model_args`, `weights` (the source that was used), and `head` if it is an mlp.
    """

    classifier: Classifier
    classes: list[str]
    preprocessing: Preprocessing
    card: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write both files atomically, `model.json` last."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in checkpoint.classifier.state_dict().items()}
    with replacing(folder / "model.safetensors") as partial:
        save_file(state, partial)
    description = {
        "classes": checkpoint.classes,
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "card": checkpoint.card,
    }
    write_json(folder / "model.json", description)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint; its network is in evaluation mode. Raises UserError for missing or damaged files."""
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; {folder} contains no checkpoint")
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        state = load_file(folder / "model.safetensors")
        card, preprocessing = description["card"], Preprocessing.from_dict(description["preprocessing"])
        classifier = blank_classifier(
            card["architecture"],
            len(description["classes"]),
            preprocessing.input_px,
            card.get("model_args"),
            hidden_layer=card.get("head") == "mlp",
        )
        classifier.load_state_dict(state)
    # KeyError, TypeError: a missing or wrong entry of the description; RuntimeError: weights of another network
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the checkpoint in {folder} is damaged ({error}); train it again") from None
    return Checkpoint(classifier.eval(), description["classes"], preprocessing, card)
