"""Views: training augmentations that can be replayed bit for bit from `(image, view number)`.

The parameters of a view come from a counter-based generator, Philox4x32-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), with a key from the seed and the content (SHA-256 of the image file) and a counter
from the view number: there is no state, and the order does not matter. Geometry is relative to the image, so a view
shows the same crop at any resolution.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from decant.data.geometry import SQUARE, InputGeometry
from decant.data.pixels import PixelCache
from decant.data.preprocessing import FILL, InputPx, height_width
from decant.study import Views

VERSION = 3  # of the mapping from (seed, content, view number) to pixels; recorded with stored soft labels
BLOCKS = 7  # of four uniforms each; more blocks change none of the earlier numbers
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class ViewParameters:
    """Parameters of B views. Coordinates are normalised: an image and a view both span [-1, 1] on each axis.

    affine: float32 [B, 2, 3], view coordinates -> image coordinates. side: float64 [B], geometric mean of the
    crop's sides as shares of the image's. colour: float32 [B, 3, 4], RGB in [0, 1] and 1 -> RGB. box: float32 [B,
    4], left, top, right, bottom of the erased box; empty if left >= right. fill: float32 [B, 3]. partner: int64
    [B], row of the image mixed in, or -1. share: float32 [B], the part of the view's own image, in [0, 1]; 0.5 or more
    where the partner is blended in. patch: float32 [B, 4], box that shows the partner; empty where it is blended in.
    """

    affine: np.ndarray
    side: np.ndarray
    colour: np.ndarray
    box: np.ndarray
    fill: np.ndarray
    partner: np.ndarray
    share: np.ndarray
    patch: np.ndarray


def view_keys(seed: int, contents: Sequence[str]) -> np.ndarray:
    """Generator keys, uint32 [n, 2], one per content."""
    digests = [hashlib.sha256(f"{seed}:{content}".encode()).digest()[:8] for content in contents]
    return np.frombuffer(b"".join(digests), dtype="<u4").reshape(len(digests), 2)


def philox4x32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox4x32-10. counter: uint32 [..., 4], key: uint32 [..., 2]. Returns uint32 [..., 4]."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (product1 >> shift) ^ c1 ^ k0,
            product1 & mask,
            (product0 >> shift) ^ c3 ^ k1,
            product0 & mask,
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def uniforms(keys: np.ndarray, view: int) -> np.ndarray:
    """float64 [n, 4 * BLOCKS] in (0, 1), a function of key and view number alone."""
    counter = np.zeros((len(keys), BLOCKS, 4), dtype=np.uint32)
    counter[..., 0] = np.arange(BLOCKS)
    counter[..., 1] = view
    drawn = philox4x32(counter, np.broadcast_to(keys[:, None, :], (len(keys), BLOCKS, 2)))
    return (drawn.reshape(len(keys), -1).astype(np.float64) + 0.5) / 2**32


def draw_views(
    policy: Views,
    keys: np.ndarray,
    sizes: np.ndarray,
    view: int,
    partners: np.ndarray,
    geometry: InputGeometry = SQUARE,
) -> ViewParameters:
    """Draw the parameters of view number `view` of B images.

    keys: uint32 [B, 2]. sizes: [B, 2], width and height of the originals in pixels. partners: int64 [m], rows from
    which a mixing partner is drawn. geometry: of the networks that see the views.
    """
    u = uniforms(keys, view)
    width, height = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    frame_width, frame_height, aspect = frames(geometry, width, height)
    crop_width, crop_height = crop_sides(policy, u[:, 0], u[:, 1], frame_width, frame_height, aspect)
    share_x, share_y = crop_width / width, crop_height / height
    centre_x = (2 * u[:, 2] - 1) * (frame_width / width - share_x) + shifts(policy, u[:, 23], width)
    centre_y = (2 * u[:, 3] - 1) * (frame_height / height - share_y) + shifts(policy, u[:, 24], height)
    mirror = np.where(u[:, 4] < policy.flip, -1.0, 1.0)
    angle = np.deg2rad(policy.rotate_deg) * (2 * u[:, 5] - 1)
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.stack(  # the rotation is rigid in pixels of the original, hence the ratios of one side to the other
        [
            np.stack([mirror * cos * share_x, -sin * crop_height / width, centre_x], axis=1),
            np.stack([mirror * sin * crop_width / height, cos * share_y, centre_y], axis=1),
        ],
        axis=1,
    )
    blends = (u[:, 14] < policy.mix) & (len(partners) > 0)
    pastes = (u[:, 14] >= policy.mix) & (u[:, 14] < policy.mix + policy.cutmix) & (len(partners) > 0)
    drawn_partners = partners[(u[:, 15] * len(partners)).astype(np.int64)] if len(partners) else np.full(len(u), -1)
    patch = np.where(pastes[:, None], patches(u[:, 20:23]), 0.0)
    return ViewParameters(
        affine=affine.astype(np.float32),
        side=np.sqrt(share_x * share_y),
        colour=colour_maps(policy, u[:, 6:9]),
        box=erased_boxes(policy, u[:, 9:13]),
        fill=u[:, 16:19].astype(np.float32),
        partner=np.where(blends | pastes, drawn_partners, -1),
        share=np.where(blends, 0.5 + 0.5 * u[:, 13], 1.0 - area(patch)).astype(np.float32),
        patch=patch.astype(np.float32),
    )


def frames(
    geometry: InputGeometry, width: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Width and height of the part of the plane that crops are drawn from, and the aspect ratio of an undistorted crop.

    width, height: of the originals, float64 [B]. Frames are centred on the images, in pixels of the originals.
    crop: the image, and the input's aspect ratio. stretch: the image and its own aspect ratio, because evaluation
    distorts it in the same way. pad: the padded image.
    """
    if geometry.fit == "stretch":
        return width, height, width / height
    if geometry.fit == "pad":
        frame_width = np.maximum(width, height * geometry.aspect)
        return frame_width, frame_width / geometry.aspect, geometry.aspect
    return width, height, geometry.aspect


def crop_sides(
    policy: Views,
    area_u: np.ndarray,
    ratio_u: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    aspect: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Sides of the crops in pixels of the originals: area uniform, log aspect ratio uniform about `aspect`.

    area_u, ratio_u: uniform in (0, 1), float64 [B]. width, height: of the frames, float64 [B]. A crop that is larger
    than the frame is shrunk as a whole: clipping one side would distort what it shows.
    """
    low, high = policy.scale
    area = (low + (high - low) * area_u) * width * height
    log_low, log_high = np.log(policy.ratio[0]), np.log(policy.ratio[1])
    ratio = np.exp(log_low + (log_high - log_low) * ratio_u) * aspect
    crop_width, crop_height = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fit = np.minimum(1, np.minimum(width / crop_width, height / crop_height))
    return crop_width * fit, crop_height * fit


def shifts(policy: Views, u: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Shifts of the crops in normalised coordinates, float64 [B]. u: uniform in (0, 1), [B]. side: pixels, [B].

    They are uniform among whole pixels of the originals, which stay sharp.
    """
    return 2 * np.rint(policy.shift * (2 * u - 1) * side) / side


def colour_maps(policy: Views, u: np.ndarray) -> np.ndarray:
    """Brightness, contrast about mid-grey and saturation as one affine map, float32 [B, 3, 4]. u: [B, 3]."""
    ranges = np.array([policy.brightness, policy.contrast, policy.saturation])
    brightness, contrast, saturation = (1 + ranges * (2 * u - 1)).T
    grey = np.broadcast_to(LUMA, (3, 3))
    saturate = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * grey
    linear = (brightness * contrast)[:, None, None] * saturate
    offset = np.broadcast_to((0.5 * (1 - contrast))[:, None, None], (len(u), 3, 1))
    return np.concatenate([linear, offset], axis=2).astype(np.float32)


def erased_boxes(policy: Views, u: np.ndarray) -> np.ndarray:
    """Boxes of 4 to 25 % of the view and its shape (random erasing, Zhong et al. 2020), float32 [B, 4]. u: [B, 4]."""
    half = 0.2 + 0.3 * u[:, 1]
    x, y = (2 * u[:, 2] - 1) * (1 - half), (2 * u[:, 3] - 1) * (1 - half)
    boxes = np.stack([x - half, y - half, x + half, y + half], axis=1)
    return np.where((u[:, 0] < policy.erase)[:, None], boxes, 0.0).astype(np.float32)


def patches(u: np.ndarray) -> np.ndarray:
    """Boxes of the view's shape with a uniform area and a uniform centre, cut at the border (CutMix, Yun et al. 2019).

    u: [B, 3]. Returns float64 [B, 4], left, top, right, bottom.
    """
    half, centre = np.sqrt(u[:, :1]), 2 * u[:, 1:3] - 1
    return np.concatenate([centre - half, centre + half], axis=1).clip(-1, 1)


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes [B, 4] as shares of the view."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 4


@dataclass(frozen=True)
class ViewSet:
    """All views of a cache under one policy. partners: int64, rows that an image may be mixed with.

    geometry: of the networks that see the views; they then see the same part of an image.
    """

    cache: PixelCache
    policy: Views
    keys: np.ndarray
    partners: np.ndarray
    geometry: InputGeometry = SQUARE

    @classmethod
    def of(
        cls, cache: PixelCache, policy: Views, seed: int, partners: np.ndarray, geometry: InputGeometry = SQUARE
    ) -> "ViewSet":
        """The views of a cache, with the keys that follow from the seed and the contents."""
        return cls(cache, policy, view_keys(seed, cache.contents), partners, geometry)

    def draw(self, rows: np.ndarray, view: int) -> ViewParameters:
        """The parameters of view number `view` of these rows, int64 [B]."""
        return draw_views(self.policy, self.keys[rows], self.cache.sizes[rows], view, self.partners, self.geometry)

    def render(self, rows: np.ndarray, view: int, size: InputPx) -> Tensor:
        """View number `view` of these rows at `size` px (a side, or height and width): uint8 [B, 3, height, width].

        Bit for bit the same in any batch and process on one machine.
        """
        parameters = self.draw(rows, view)
        padded = self.geometry.fit == "pad"
        images = warp(self.cache, rows, parameters, size, padded)
        mixed = np.flatnonzero(parameters.partner >= 0)
        if len(mixed):
            partners = parameters.partner[mixed]
            others = warp(self.cache, partners, self.draw(partners, view), size, padded)
            patch = torch.from_numpy(parameters.patch[mixed])
            blended = torch.from_numpy(parameters.share[mixed]).view(-1, 1, 1, 1)
            share = torch.where((patch[:, 2] > patch[:, 0]).view(-1, 1, 1, 1), 1 - inside(patch, images), blended)
            images[mixed] = images[mixed] * share + others * (1 - share)
        return images.round_().to(torch.uint8)


def warp(
    cache: PixelCache, rows: np.ndarray, parameters: ViewParameters, size: InputPx, padded: bool = False
) -> Tensor:
    """The views before mixing: float32 [B, 3, height, width] in [0, 255].

    padded: outside an image views have the grey level FILL, else its reflection.
    """
    height, width = height_width(size)
    images = torch.empty(len(rows), 3, height, width)
    levels, samples = cache.levels_for(parameters.side, size)
    affine = torch.from_numpy(parameters.affine)
    for level, per_axis in sorted(set(zip(levels.tolist(), samples.tolist(), strict=True))):
        members = np.flatnonzero((levels == level) & (samples == per_axis))
        pixels = torch.from_numpy(cache.read(rows[members], level)).permute(0, 3, 1, 2).float()
        grid = sampling_grid(affine[members], height * per_axis, width * per_axis)
        sampled = sample_filled(pixels, grid) if padded else sample_reflected(pixels, grid)
        images[members] = F.avg_pool2d(sampled, per_axis) if per_axis > 1 else sampled
    images = recolour(images, torch.from_numpy(parameters.colour))
    return erase(images, torch.from_numpy(parameters.box), torch.from_numpy(parameters.fill))


def sample_reflected(pixels: Tensor, grid: Tensor) -> Tensor:
    """Samples of images, which continue as their reflections: float32 [B, 3, height, width]."""
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def sample_filled(pixels: Tensor, grid: Tensor) -> Tensor:
    """Samples of images in a grey plane: float32 [B, 3, height, width]. grid_sample itself can only fill with 0."""
    return F.grid_sample(pixels - FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + FILL


# No matrix products below: their rounding may depend on the batch, and views must replay exactly.
def sampling_grid(affine: Tensor, height: int, width: int) -> Tensor:
    """float32 [B, height, width, 2] of image coordinates; affine: float32 [B, 2, 3]."""
    x, y = pixel_centres(height, width)
    a = affine.view(-1, 6, 1, 1)
    return torch.stack([a[:, 0] * x + a[:, 1] * y + a[:, 2], a[:, 3] * x + a[:, 4] * y + a[:, 5]], dim=-1)


def pixel_centres(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Normalised x [1, 1, width] and y [1, height, 1] of the pixel centres."""
    x, y = ((torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1 for size in (width, height))
    return x.view(1, 1, width), y.view(1, height, 1)


def recolour(images: Tensor, colour: Tensor) -> Tensor:
    """Apply the colour maps; float32 [B, 3, height, width] in [0, 255], clamped."""
    red, green, blue = images.unbind(1)
    m = colour.view(-1, 3, 4, 1, 1)
    channels = [red * m[:, i, 0] + green * m[:, i, 1] + blue * m[:, i, 2] + 255 * m[:, i, 3] for i in range(3)]
    return torch.stack(channels, dim=1).clamp_(0, 255)


def erase(images: Tensor, box: Tensor, fill: Tensor) -> Tensor:
    """Fill each view's box with its colour, in place; float32 [B, 3, height, width] in [0, 255]."""
    boxed = torch.nonzero(box[:, 2] > box[:, 0]).flatten()
    if len(boxed) == 0:
        return images
    erased = inside(box[boxed], images) > 0
    images[boxed] = torch.where(erased, 255 * fill[boxed].view(-1, 3, 1, 1), images[boxed])
    return images


def inside(box: Tensor, images: Tensor) -> Tensor:
    """1 for the pixels of a box, 0 for the others: float32 [B, 1, height, width] for boxes [B, 4]."""
    x, y = pixel_centres(*images.shape[-2:])
    left, top, right, bottom = (box[:, i].view(-1, 1, 1) for i in range(4))
    return ((x >= left) & (x < right) & (y >= top) & (y < bottom))[:, None].float()
