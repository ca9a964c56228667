"""Writes the bytes of one planned file: its image, with the planned fault, in its format."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from toy_vehicles.plan import Plan
from toy_vehicles.scene import draw

_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF"}


def file_bytes(plan: Plan, seed: int) -> bytes:
    """Return the bytes of the file. They depend only on plan and seed, so files can be written in any order."""
    rng = np.random.default_rng([seed, 3, plan.key])
    if plan.treatment == "non_image":
        return _not_an_image(rng)
    scene = np.random.default_rng([seed, 2, plan.scene])
    image = draw(plan.true_label, scene, plan.width_px, plan.height_px)
    if plan.treatment in _RETOUCHES:
        image = _RETOUCHES[plan.treatment](image, rng)
    if plan.treatment in _CONTAINERS:
        return _CONTAINERS[plan.treatment](image, plan.encoding, rng)
    quality = int(rng.integers(25, 50) if plan.treatment == "reencoded" else rng.integers(82, 96))
    return _encoded(image, plan.encoding, quality)


def write_file(folder: Path, plan: Plan, seed: int) -> None:
    """Write the file below the folder."""
    path = folder / plan.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(plan, seed))


def _encoded(image: Image.Image, encoding: str, quality: int = 90, **options: object) -> bytes:
    if encoding == "gif" and image.mode == "RGB":
        image = image.quantize(255, method=Image.Quantize.FASTOCTREE)
    if encoding in ("jpg", "webp"):
        options["quality"] = quality
    if encoding == "webp":
        options["method"] = 2
    buffer = io.BytesIO()
    image.save(buffer, _FORMATS[encoding], **options)
    return buffer.getvalue()


# faults of the image: image to image


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = float(rng.choice([0.5, 0.66, 0.8, 1.25, 1.5]))
    size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top, right, bottom = rng.uniform(0.01, 0.1, 4)
    w, h = image.size
    return image.crop((int(left * w) + 1, int(top * h) + 1, w - int(right * w) - 1, h - int(bottom * h) - 1))


def _mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _too_dark(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gain = float(rng.uniform(0.05, 0.14))
    return image.point([round(level * gain) for level in range(256)] * 3)


def _too_bright(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    gain = float(rng.uniform(0.06, 0.14))
    return image.point([round(255 - (255 - level) * gain) for level in range(256)] * 3)


def _blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) * float(rng.uniform(0.035, 0.06))))


_RETOUCHES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "resized": _resized, "cropped": _cropped, "mirrored": _mirrored,
    "too_dark": _too_dark, "too_bright": _too_bright, "blurred": _blurred,
}  # fmt: skip

# file formats: image to bytes


def _exif_rotated(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    """Store the image rotated, with the EXIF orientation tag that tells readers to rotate it back."""
    turn = Image.Transpose
    stored = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
              6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}  # fmt: skip
    orientation = int(rng.choice([3, 6, 6, 8, 8, 2, 4, 5, 7]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _encoded(image.transpose(stored[orientation]), encoding, exif=exif)


def _cmyk(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    return _encoded(image.convert("CMYK"), encoding)


def _sixteen_bit(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    """Store 16 bits per channel: grey with Pillow, colour with our own PNG writer, because Pillow has none."""
    if encoding == "png" and rng.random() < 0.6:
        return _colour_png_16(np.asarray(image).astype(np.uint16) * 257)
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return _encoded(Image.fromarray(grey), encoding)


def _colour_png_16(pixels: np.ndarray) -> bytes:
    """Encode uint16 [H, W, 3] as PNG (colour type 2, bit depth 16, no filter)."""
    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").tobytes()
    stride = width * 6
    raw = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")


def _palette(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    return _encoded(image.quantize(int(rng.integers(24, 65))), encoding)


def _alpha(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    """Make the corners transparent; their colour is black."""
    mask = Image.new("L", image.size, 0)
    w, h = image.size
    ImageDraw.Draw(mask).rounded_rectangle(
        (1, 1, w - 2, h - 2), radius=min(w, h) * float(rng.uniform(0.15, 0.4)), fill=255
    )
    clear = Image.composite(image, Image.new("RGB", image.size), mask)
    clear.putalpha(mask.filter(ImageFilter.BoxBlur(1)))
    return _encoded(clear, encoding)


def _animated(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    """Store three frames that scroll; the first is the image."""
    step = max(1, image.width // 12)
    frames = [image, ImageChops.offset(image, step, 0), ImageChops.offset(image, 2 * step, 0)]
    if encoding == "gif":
        frames = [frame.quantize(128) for frame in frames]
    return _encoded(frames[0], encoding, save_all=True, append_images=frames[1:], duration=120)


def _truncated(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    whole = _encoded(image, encoding)
    return whole[: int(len(whole) * rng.uniform(0.3, 0.7))]


def _corrupt(image: Image.Image, encoding: str, rng: np.random.Generator) -> bytes:
    """Overwrite the header (JPEG) or the compressed rows (PNG, whose checksums then fail) with random bytes."""
    whole = bytearray(_encoded(image, encoding))
    start = 0 if encoding == "jpg" else len(whole) // 3
    noise = rng.integers(0, 256, 220, dtype=np.uint8).tobytes()
    whole[start : start + len(noise)] = noise[: max(0, len(whole) - start)]
    return bytes(whole)


_CONTAINERS: dict[str, Callable[[Image.Image, str, np.random.Generator], bytes]] = {
    "exif_rotated": _exif_rotated, "cmyk": _cmyk, "sixteen_bit": _sixteen_bit, "palette": _palette,
    "alpha": _alpha, "animated": _animated, "truncated": _truncated, "corrupt": _corrupt,
}  # fmt: skip


def _not_an_image(rng: np.random.Generator) -> bytes:
    """Return what a failed download leaves in a file with an image's name."""
    contents = (
        b"",
        b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n",
        b'{"error": "too many requests", "retry_after_s": 30}\n',
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 48213\n",
        b"PK\x03\x04" + bytes(60),
        rng.integers(0, 256, 900, dtype=np.uint8).tobytes(),
    )
    return contents[int(rng.integers(len(contents)))]
