"""A head from class names alone: an open_clip model's text tower encodes each class (Radford et al. 2021, 3.1)."""

from collections.abc import Callable

import numpy as np
import open_clip
import torch
from torch import nn

from decant.errors import UserError
from decant.models.weights import Unavailable, first_line, from_open_clip, read_file

TEXTS = 256  # encoded at a time


def zero_shot_head(
    architecture: str, source: str, classes: list[str], prompts: list[str], device: torch.device
) -> np.ndarray:
    """Weights float32 [K, D]; their product with image features of length 1 are CLIP's logits.

    For each class, the text embeddings of all prompts are normalised, averaged and normalised again. prompts: texts
    with {} for the class name, in which underscores become spaces. Raises UserError if the text tower is unavailable.
    """
    name = architecture.removeprefix("open_clip:").partition("/")[0]
    try:
        model = with_both_towers(architecture, name, source).to(device).eval()
        tokenizer = open_clip.get_tokenizer(name)
    except Unavailable as reason:
        raise UserError(f"head: zero_shot needs the text tower of {name}. {source}: {reason}") from None
    except OSError as error:  # the tokenizers of some models are on a hub
        raise UserError(f"no tokenizer for {name} ({first_line(error)}); use head: probe") from None
    templates = [template(prompt) for prompt in prompts]
    texts = [label.replace("_", " ") for label in classes]
    at_a_time = max(1, TEXTS // len(prompts))
    embeddings = open_clip.build_zero_shot_classifier(model, tokenizer, texts, templates, at_a_time, device)  # [D, K]
    weight = model.get_parameter("logit_scale").detach().exp() * embeddings.T
    return np.asarray(weight.float().cpu().numpy())


def template(prompt: str) -> Callable[[str], str]:
    """The text of a class. Not str.format: a prompt or a class name may contain other braces."""
    return lambda label: prompt.replace("{}", label)


def with_both_towers(architecture: str, name: str, source: str) -> nn.Module:
    """The open_clip model with its weights. Raises Unavailable if the source has none for the text tower."""
    if source == "open_clip":
        return from_open_clip(architecture)
    if not source.startswith("file:"):
        raise Unavailable("it has no text tower; use open_clip, or file:PATH with open_clip's own file")
    model: nn.Module = open_clip.create_model(name)
    try:
        missing = model.load_state_dict(read_file(source), strict=False).missing_keys
    except RuntimeError as error:  # entries of another shape
        raise Unavailable(f"it contains another model ({first_line(error)})") from None
    if missing:
        raise Unavailable(f"{len(missing)} entries are missing, first {missing[0]}; use open_clip's own file")
    return model
