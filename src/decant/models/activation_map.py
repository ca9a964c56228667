"""Class-activation maps: the regions of an image that support a prediction."""

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn
from torch.nn import functional as F

from decant.models.classifier import Classifier

SMALLEST_MAP = 4  # cells per side: a coarser map locates nothing


def activation_maps(classifier: Classifier, images: Tensor, classes: Tensor) -> npt.NDArray[np.float64] | None:
    """Gradient times activation of a convolution, where positive, summed over channels.

    LayerCAM (Jiang et al. 2021) is similar: it clamps the gradient alone, after a layer without negative activations.

    images: float32 [B, 3, H, W] in [0, 1]. classes: int64 [B], the predictions to explain. Returns float64 [B, H, W] in
    [0, 1], the highest value of each map 1; None for a network without convolutions whose output is large enough, and
    for one that turns it into tokens, as vision transformers do.
    """
    layer = mapped_layer(classifier, images[:1])
    if layer is None:
        return None
    attribution = LayerGradientXActivation(classifier, layer).attribute(images, target=classes)
    heat = attribution.detach().clamp(min=0).sum(dim=1, keepdim=True)
    heat = F.interpolate(heat, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    highest = heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    return (heat / highest).double().cpu().numpy()


def mapped_layer(classifier: nn.Module, image: Tensor) -> nn.Module | None:
    """The last convolution whose output is at least SMALLEST_MAP cells wide and high; None if tokens follow it."""
    called: list[nn.Module | None] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor) and min(output.shape[-2:]) >= SMALLEST_MAP:
            called.append(module)
        elif isinstance(module, nn.Linear) and isinstance(output, Tensor) and output.ndim == 3:
            called.append(None)

    hooks = [part.register_forward_hook(note) for part in classifier.modules()]
    try:
        with torch.no_grad():
            classifier(image)
    finally:
        for hook in hooks:
            hook.remove()
    return called[-1] if called else None
