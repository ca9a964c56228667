"""Target timm: a folder from which `timm.create_model("local-dir:FOLDER", pretrained=True)` loads the student."""

import math
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from torch import Tensor, nn

from decant.data.preprocessing import Preprocessing
from decant.errors import UserError
from decant.export.network import frozen_copy
from decant.export.targets.folder import json_bytes, write_target
from decant.models.checkpoint import Checkpoint

MAX_LOGIT_DIFFERENCE = 1e-3


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
        check_logits(network, Path(trial), checkpoint.preprocessing.input_px)
    write_target(folder, "timm", files)


def timm_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config that timm's `save_config_for_hf` would write, with the student's classes and preprocessing.

    Raises UserError for a student that is not a timm model.
    """
    card, preprocessing, size = checkpoint.card, checkpoint.preprocessing, checkpoint.preprocessing.input_px
    if card["architecture"].startswith("open_clip:"):
        raise UserError(
            f"{card['architecture']} is an open_clip encoder, which timm cannot build; "
            "use the target onnx, transformersjs or triton"
        )
    backbone = backbone_of(checkpoint.classifier)
    default_cfg: dict[str, Any] = vars(backbone)["default_cfg"]
    fixed = bool(default_cfg.get("fixed_input_size"))
    model_args = dict(card.get("model_args") or {})
    if fixed:
        model_args.setdefault("img_size", size)  # as in decant.models.backbones
    return {
        "architecture": card["architecture"].partition(".")[0],  # without the tag of the initial weights
        "num_classes": len(checkpoint.classes),
        "num_features": int(vars(backbone)["num_features"]),
        "label_names": list(checkpoint.classes),
        **({"model_args": model_args} if model_args else {}),
        "pretrained_cfg": {
            "tag": "decant",
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": fixed,
            "interpolation": "bilinear",
            "crop_pct": crop_pct(preprocessing),
            "crop_mode": "center",
            "mean": shortest(checkpoint.classifier.mean),
            "std": shortest(checkpoint.classifier.std),
            "num_classes": len(checkpoint.classes),
            "pool_size": None,
            "first_conv": default_cfg.get("first_conv"),
            "classifier": default_cfg.get("classifier"),  # so that timm can replace the head for fine-tuning
        },
    }


def crop_pct(preprocessing: Preprocessing) -> float:
    """A crop_pct from which timm computes our resize_px: timm resizes to floor(input_px / crop_pct), decant rounds."""
    size, resized = preprocessing.input_px, preprocessing.resize_px
    candidates = (preprocessing.crop_ratio, size / resized, size / (resized + 0.5))
    return next(share for share in candidates if math.floor(size / share) == resized)


def shortest(values: Tensor) -> list[float]:
    """float32 values as the shortest decimals that round to them: 0.485 instead of 0.48500001430511475."""
    return [float(str(value)) for value in values.detach().cpu().float().numpy()]


def check_logits(network: nn.Module, folder: Path, input_px: int) -> None:
    """Raise UserError if the network that timm loads from the folder does not compute the student's logits.

    timm converts weights when it loads them, with a filter per architecture, so a comparison of files is not enough.
    """
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(2, 3, input_px, input_px, generator=torch.Generator().manual_seed(0))
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
