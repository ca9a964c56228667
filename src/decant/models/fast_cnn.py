"""A convolutional network that learns small images from random weights in minutes, even on a CPU.

Its first layer whitens patches of 2 x 2 px and is computed from the training images, not learned; convolutions start
near the identity; pooling comes before the norm (Jordan 2024, "94 % on CIFAR-10 in 3.29 Seconds on a Single GPU").
timm builds it by the names that are registered here.
"""

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

WHITENING_PX = 2
WHITENING_FLOOR = 5e-4  # is added to the eigenvalues of patches of normalised images, so that noise is not enlarged
NORM_MOMENTUM = 0.4  # of the statistics; high, because trainings have few steps
HEAD_SCALE = 1 / 9


class Whitening(nn.Module):
    """A convolution with filters that are computed from images, and their negatives; only the bias is learned."""

    weight: Tensor

    def __init__(self, in_chans: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        patch = in_chans * WHITENING_PX**2
        self.register_buffer("weight", torch.randn(2 * patch, in_chans, WHITENING_PX, WHITENING_PX) / patch**0.5)
        self.bias = nn.Parameter(torch.zeros(2 * patch))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set the filters to the principal components of the patches of images, scaled to a variance of 1."""
        patches = images.unfold(2, WHITENING_PX, 1).unfold(3, WHITENING_PX, 1)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, self.weight[0].numel()).double()
        values, vectors = torch.linalg.eigh(torch.cov(flat.T))
        filters = (vectors / torch.sqrt(values + self.floor)).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class FastCnn(nn.Module):
    """float32 [B, 3, height, width], normalised -> logits [B, num_classes]. Sides of 16 px or more.

    whitening_floor: higher for JPEG files, whose finest colours are noise.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        widths: tuple[int, ...] = (64, 256, 256),
        drop_rate: float = 0.0,
        whitening_floor: float = WHITENING_FLOOR,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.stem = Whitening(in_chans, whitening_floor)
        self.act = nn.GELU()
        inputs = (len(self.stem.bias), *widths[:-1])
        self.stages = nn.Sequential(*(stage(chans, width) for chans, width in zip(inputs, widths, strict=True)))
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(self.num_features, num_classes)

    def fit_stem(self, images: Tensor) -> None:
        """Whiten patches as those of these images, float32 [n, 3, height, width], normalised as the inputs are."""
        self.stem.fit(images)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.act(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        features = self.drop(x.amax(dim=(2, 3)) * HEAD_SCALE)
        return features if pre_logits else self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes, self.head = num_classes, nn.Linear(self.num_features, num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}


def stage(chans: int, width: int) -> nn.Sequential:
    first, second = convolution(chans, width), convolution(width, width)
    return nn.Sequential(first, nn.MaxPool2d(2), norm(width), nn.GELU(), second, norm(width), nn.GELU())


def convolution(chans: int, width: int) -> nn.Conv2d:
    """A convolution whose first filters pass their inputs on."""
    layer = nn.Conv2d(chans, width, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[: min(chans, width)].data)
    return layer


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, momentum=NORM_MOMENTUM)


default_cfgs = generate_default_cfgs(
    {
        "fast_cnn": {
            "input_size": (3, 32, 32), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
            "first_conv": "stem", "classifier": "head",
        }
    }
)  # fmt: skip


@register_model
def fast_cnn(pretrained: bool = False, **arguments: Any) -> FastCnn:
    return build_model_with_cfg(FastCnn, "fast_cnn", pretrained, **arguments)
