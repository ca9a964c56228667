"""A small convolutional network for images of 32 to 96 px from random weights, registered with timm as `small_cnn`.

The residual network that Page (2018, "How to Train Your ResNet") trained on CIFAR-10 in a minute, with half as many
channels in the last stage: 2.4 M weights. Every pretrained teacher must beat it.
"""

from typing import Any

import timm
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 256)
IMAGENET = {"mean": timm.data.IMAGENET_DEFAULT_MEAN, "std": timm.data.IMAGENET_DEFAULT_STD}

CONFIG = {"input_size": (3, 32, 32), "pool_size": (4, 4), "first_conv": "stem.0", "classifier": "head.fc", **IMAGENET}
default_cfgs = generate_default_cfgs({"small_cnn.untrained": CONFIG})


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Stage(nn.Module):
    """Half the resolution; with `residual`, the output of two more convolutions is added."""

    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.halve = nn.Sequential(convolution(inputs, outputs), nn.MaxPool2d(2))
        self.residual = (
            nn.Sequential(convolution(outputs, outputs), convolution(outputs, outputs)) if residual else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.halve(x)
        return x if self.residual is None else x + self.residual(x)


class SmallCnn(nn.Module):
    """float32 [B, 3, height, width] -> logits [B, num_classes], with the methods that timm's networks have."""

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, global_pool: str = "avg"
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, CHANNELS[-1], CHANNELS[-1]
        self.stem = convolution(in_chans, CHANNELS[0])
        pairs = zip(CHANNELS[:-1], CHANNELS[1:], (True, False, True), strict=True)
        self.stages = nn.Sequential(*(Stage(*pair) for pair in pairs))
        self.head = ClassifierHead(CHANNELS[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits=pre_logits)

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        self.head.reset(num_classes, pool_type=global_pool)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of the layers, for learning rates that differ by layer."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}


@register_model
def small_cnn(pretrained: bool = False, **kwargs: Any) -> SmallCnn:
    model: SmallCnn = build_model_with_cfg(SmallCnn, "small_cnn", pretrained, **kwargs)
    return model
