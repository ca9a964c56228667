"""Target timm: a folder from which `timm.create_model("local-dir:FOLDER", pretrained=True)` loads the student."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor, nn

from decant.data.preprocessing import FILL, Fit, Preprocessing, size_text
from decant.errors import UserError
from decant.export.network import frozen_copy
from decant.export.targets.folder import json_bytes, write_target
from decant.models.checkpoint import Checkpoint

MAX_LOGIT_DIFFERENCE = 1e-3
CROP_MODES: Mapping[Fit, str] = {"crop": "center", "stretch": "squash", "pad": "border"}  # timm's names


def write_timm_folder(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`, after a check that timm computes the student's logits from them.

    The weights are the backbone's alone: the student normalises inside its network, timm in the transform that
    `timm.data.create_transform` makes from the config. Raises UserError for a student that is not a timm model, and
    if timm's logits differ.
    """
    config = timm_config(checkpoint)
    network = frozen_copy(checkpoint.classifier)
    state = {name: value.contiguous() for name, value in backbone_of(network).state_dict().items()}
    files = {"config.json": json_bytes(config), "model.safetensors": save(state)}
    with tempfile.TemporaryDirectory() as trial:
        write_target(Path(trial), "timm", files)
        check_logits(network, Path(trial), checkpoint.preprocessing.shape)
    write_target(folder, "timm", files)


def timm_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config that timm's `save_config_for_hf` would write, with the student's classes and preprocessing.

    Raises UserError for a student that is not a timm model, and for a preprocessing that timm does not have.
    """
    card, preprocessing = checkpoint.card, checkpoint.preprocessing
    if card["architecture"].startswith("open_clip:"):
        raise UserError(
            f"{card['architecture']} is an open_clip encoder, which timm cannot build; "
            "use the target onnx, transformersjs or triton"
        )
    if not timm.models.model_entrypoint(card["architecture"]).__module__.startswith("timm."):
        raise UserError(
            f"{card['architecture']} is a network of decant's, which timm alone cannot build; "
            "use the target onnx, transformersjs or triton"
        )
    backbone = backbone_of(checkpoint.classifier)
    default_cfg: dict[str, Any] = vars(backbone)["default_cfg"]
    fixed = bool(default_cfg.get("fixed_input_size"))
    model_args = dict(card.get("model_args") or {})
    if fixed:
        model_args.setdefault("img_size", preprocessing.input_px)  # as in decant.models.backbones
    check_fill(preprocessing, checkpoint.classifier.mean)
    return {
        "architecture": card["architecture"].partition(".")[0],  # without the tag of the initial weights
        "num_classes": len(checkpoint.classes),
        "num_features": int(vars(backbone)["num_features"]),
        "label_names": list(checkpoint.classes),
        **({"model_args": model_args} if model_args else {}),
        "pretrained_cfg": {
            "tag": "decant",
            "custom_load": False,
            "input_size": [3, *preprocessing.shape],
            "fixed_input_size": fixed,
            "interpolation": "bilinear",
            "crop_pct": crop_pct(preprocessing),
            "crop_mode": CROP_MODES[preprocessing.fit],
            "mean": shortest(checkpoint.classifier.mean),
            "std": shortest(checkpoint.classifier.std),
            "num_classes": len(checkpoint.classes),
            "pool_size": None,
            "first_conv": default_cfg.get("first_conv"),
            "classifier": default_cfg.get("classifier"),  # so that timm can replace the head for fine-tuning
        },
    }


def crop_pct(preprocessing: Preprocessing) -> float:
    """A crop_pct from which timm computes our box: timm resizes to floor(input / crop_pct), decant rounds.

    Raises UserError if there is none, which is possible for a rectangle: one number must serve both sides.
    """
    sides = list(zip(preprocessing.shape, preprocessing.box, strict=True))
    candidates = [preprocessing.crop_ratio]
    candidates += [share for side, resized in sides for share in (side / resized, side / (resized + 0.5))]
    for share in candidates:
        if all(math.floor(side / share) == resized for side, resized in sides):
            return share
    raise UserError(
        f"timm cannot resize to {size_text(preprocessing.resize_px)} px for an input of "
        f"{size_text(preprocessing.input_px)} px; train with crop_ratio 1, or use the target onnx, transformersjs or "
        "triton"
    )


def check_fill(preprocessing: Preprocessing, mean: Tensor) -> None:
    """Raise UserError if timm would pad with another colour: it fills with the network's mean, [3] in [0, 1]."""
    colour = [round(255 * value) for value in shortest(mean)]
    if preprocessing.fit == "pad" and colour != [FILL] * 3:
        raise UserError(
            f"timm pads images with the network's mean colour {colour}, but the student was trained with the grey "
            f"level {FILL}; use the target onnx, transformersjs or triton, or train with fit stretch or crop"
        )


def shortest(values: Tensor) -> list[float]:
    """float32 values as the shortest decimals that round to them: 0.485 instead of 0.48500001430511475."""
    return [float(str(value)) for value in values.detach().cpu().float().numpy()]


def check_logits(network: nn.Module, folder: Path, shape: tuple[int, int]) -> None:
    """Raise UserError if the network that timm loads from the folder does not compute the student's logits.

    timm converts weights when it loads them, with a filter per architecture, so a comparison of files is not enough.
    """
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    cfg: dict[str, Any] = vars(loaded)["pretrained_cfg"]
    mean, std = (torch.tensor(cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        difference = float((loaded((images - mean) / std) - network(images)).abs().max())
    if not difference <= MAX_LOGIT_DIFFERENCE:
        raise UserError(
            f"the network that timm loads is not the student (logits differ by {difference:g}); nothing was written"
        )


def backbone_of(network: nn.Module) -> nn.Module:
    """The timm model inside the classifier, without the normalisation."""
    return network.get_submodule("backbone")
