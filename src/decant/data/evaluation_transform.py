"""The one evaluation transform: val, test, images to predict and the ONNX graph all use it."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from decant.data.preprocessing import Preprocessing


def evaluation_transform(image: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """Resize an image in float, bilinear and antialiased, then crop its centre.

    image: uint8 [H, W, 3], RGB, orientation already applied. Returns float32 [3, S, S] in [0, 1]. The whole
    resized image is held in memory: 2 GB for an image of 1 x 10,000 px and a crop of 128 px.
    """
    # torch warns about read-only arrays, which Pillow and memory maps return: they are copied.
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None].float()
    shape = preprocessing.resized_shape(*image.shape[:2])
    if shape != tuple(image.shape[:2]):
        pixels = F.interpolate(pixels, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (preprocessing.crop_start(side) for side in shape)
    size = preprocessing.input_px
    return (pixels[0, :, top : top + size, left : left + size] / 255).clamp(0, 1)
