"""Networks by name: any timm architecture, or an open_clip image encoder with a linear head."""

from typing import Any, Protocol, cast

import open_clip
import timm
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from timm.layers import Mlp
from torch import Tensor, nn

from decant.data.preprocessing import InputPx, size_text
from decant.errors import UserError
from decant.models import cut, fast_cnn, small_cnn  # noqa: F401  timm knows them once their modules are imported
from decant.models.classifier import Classifier
from decant.models.weights import load_weights

HUB_PX = 224  # of the encoders of open_clip and of most vision transformers
TRANSFORMERS = (  # timm's files of networks that mostly consist of attention
    "beit cait convit crossvit davit deit eva gcvit hiera levit maxxvit mvitv2 naflexvit nest nextvit pit pvt_v2 "
    "swin_transformer swin_transformer_v2 swin_transformer_v2_cr tiny_vit tnt twins visformer vision_transformer "
    "vision_transformer_hybrid vision_transformer_relpos vision_transformer_sam vitamin volo xcit"
).split()


class TimmNetwork(Protocol):
    """What timm's networks have besides the methods of nn.Module."""

    def get_classifier(self) -> nn.Module: ...
    def forward_features(self, images: Tensor) -> Tensor: ...
    def forward_head(self, features: Tensor, pre_logits: bool) -> Tensor: ...


def has_fixed_input(architecture: str) -> bool:
    """True if the pretrained weights fit one size of the input alone, because of their position embeddings."""
    if architecture.startswith("open_clip:"):
        return True
    try:
        cfg = timm.get_pretrained_cfg(architecture)
    except RuntimeError as error:  # the part behind the dot names no weights of this architecture
        raise UserError(f"{error} timm.list_pretrained({architecture.partition('.')[0] + '*'!r}) lists them") from None
    return cfg is not None and bool(cfg.fixed_input_size)


def has_drop_path(architecture: str, input_px: InputPx, model_args: dict[str, Any]) -> bool:
    """True if the network accepts a rate of stochastic depth. Those of open_clip do not."""
    if architecture.startswith("open_clip:"):
        return False
    try:
        with torch.device("meta"):
            blank_classifier(architecture, 2, input_px, model_args, drop_path=0.1)
    except UserError:
        return False
    return True


def is_transformer(architecture: str) -> bool:
    """True for a vision transformer, by the file of timm that defines it or by open_clip's name; else False."""
    if architecture.startswith("open_clip:"):
        return "ViT" in architecture
    if not timm.is_model(architecture):
        return False
    return timm.model_entrypoint(architecture).__module__.rpartition(".")[2] in TRANSFORMERS


def build_classifier(
    architecture: str,
    classes: int,
    input_px: InputPx,
    weights: list[str],
    seed: int,
    model_args: dict[str, Any] | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    hidden_layer: bool = False,
) -> tuple[Classifier, str]:
    """A classifier with `classes` outputs, and the weight source that was used.

    architecture: a timm name, or open_clip:MODEL or open_clip:MODEL/TAG. Random weights depend on `seed` alone.
    Raises UserError for an unknown architecture and if no weight source is available.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = blank_classifier(architecture, classes, input_px, model_args, drop_path, dropout, hidden_layer)
    arguments = timm_arguments(architecture, input_px, model_args)
    return classifier, load_weights(classifier.backbone, architecture, weights, arguments)


def blank_classifier(
    architecture: str,
    classes: int,
    input_px: InputPx,
    model_args: dict[str, Any] | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    hidden_layer: bool = False,
) -> Classifier:
    """The classifier with random weights, drawn from torch's global generator. hidden_layer: the head has one.

    Raises UserError for an unknown architecture, and for an input or arguments that it does not accept.
    """
    if has_fixed_input(architecture) and not isinstance(input_px, int):
        raise UserError(
            f"{architecture} accepts square inputs only, because its position embeddings are those of a square; "
            f"give one side as input_px instead of {size_text(input_px)}, or choose a convolutional network"
        )
    if architecture.startswith("open_clip:"):
        return blank_open_clip(architecture.removeprefix("open_clip:").partition("/")[0], classes)
    if not timm.is_model(architecture):
        similar = timm.list_models(f"*{architecture.split('.')[0][:12]}*")[:5]
        raise UserError(f"timm has no architecture {architecture!r}; similar names: {', '.join(similar) or 'none'}")
    args = timm_arguments(architecture, input_px, model_args)
    if drop_path:
        args["drop_path_rate"] = drop_path
    if dropout:
        args["drop_rate"] = dropout
    try:
        backbone = timm.create_model(architecture, pretrained=False, num_classes=classes, **args)
    except TypeError as error:
        raise UserError(f"{architecture} does not accept these model_args, drop_path or dropout: {error}") from None
    if hidden_layer:
        add_hidden_layer(backbone, architecture, dropout)
    default_cfg: dict[str, Any] = vars(backbone)["default_cfg"]
    return Classifier(backbone, default_cfg["mean"], default_cfg["std"])


def timm_arguments(architecture: str, input_px: InputPx, model_args: dict[str, Any] | None) -> dict[str, Any]:
    """The keyword arguments with which timm builds the network for this input."""
    size = {"img_size": input_px} if has_fixed_input(architecture) else {}
    return {**size, **(model_args or {})}


def add_hidden_layer(backbone: nn.Module, architecture: str, dropout: float) -> None:
    """Replace the last layer [D, K] by two with D hidden units. Raises UserError if the last layer is not linear."""
    name = vars(backbone)["default_cfg"].get("classifier")
    head = backbone.get_submodule(name) if isinstance(name, str) else None
    if not isinstance(head, nn.Linear):
        raise UserError(f"{architecture} does not end in one linear layer; head: mlp is not possible for it")
    mlp = Mlp(head.in_features, out_features=head.out_features, drop=(dropout, 0.0))
    parent, _, last = str(name).rpartition(".")
    setattr(backbone.get_submodule(parent), last, mlp)


def blank_open_clip(model: str, classes: int) -> Classifier:
    """open_clip's image encoder with a linear head. Raises UserError for an unknown model."""
    if model not in open_clip.list_models():
        raise UserError(f"open_clip has no model {model!r}; open_clip.list_models() lists the known ones")
    visual = open_clip.create_model(model).visual
    return Classifier(
        nn.Sequential(visual, nn.Linear(visual.output_dim, classes)), OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    )


def head_of(classifier: Classifier) -> nn.Linear:
    """The network's last layer. Raises UserError if it is not linear."""
    backbone = classifier.backbone
    head = backbone[-1] if isinstance(backbone, nn.Sequential) else cast(TimmNetwork, backbone).get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(f"{type(backbone).__name__} does not end in a linear layer and cannot be probed")
    return head


def embed(classifier: Classifier, images: Tensor) -> Tensor:
    """The head's input: float32 [B, 3, height, width] in [0, 1] -> features [B, D]."""
    normalised = classifier.normalised(images)
    backbone = classifier.backbone
    if isinstance(backbone, nn.Sequential):
        return backbone[0](normalised)
    network = cast(TimmNetwork, backbone)
    return network.forward_head(network.forward_features(normalised), pre_logits=True)
