"""From the bytes of an image file to an upright RGB picture, or to the reason why there is none."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

# Below the 89.5 megapixels at which Pillow itself begins to warn, and far above what a photo needs here.
MAX_PIXELS = 80_000_000
# Named, because Pillow would else try every decoder that it has on a stranger's file, Ghostscript among them.
FORMATS = "JPEG MPO PNG GIF BMP DIB WEBP TIFF PPM TGA ICO PCX SGI JPEG2000 AVIF".split()
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NO_IMAGE = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing, convert it to PNG",
    b"<?xml": "an XML file",
    b"%pdf": "a PDF, convert its pages to PNG",
    b"pk\x03\x04": "a zip archive",
}
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


class BrokenImage(Exception):
    """The file gives no picture; the message says why, in words fit for a manifest row."""


def decode(data: bytes) -> NDArray[np.uint8]:
    """The picture in `data`: uint8 [H, W, 3], RGB, upright as its EXIF orientation asks.

    Transparent parts lie on white, 16 bits are scaled to 8, CMYK is converted, an animation gives its first
    frame. Raises BrokenImage for what is no image, is cut off, or has more than MAX_PIXELS pixels.
    """
    # The libraries around us switch this on for the whole process, and a cut-off file would pass, half grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BrokenImage(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS} (an image bomb?)")
            image.load()  # before its orientation is asked for, see there
            return np.array(upright(as_rgb(image), orientation(image)))
    except BrokenImage:
        raise
    except Exception as error:  # a damaged file makes decoders raise nearly anything: struct.error, IndexError ...
        raise BrokenImage(reason(data, error)) from error


def probe(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of the upright picture, which is decoded in full. Raises as `decode` does."""
    height, width = decode(data).shape[:2]
    return width, height


def looks_like_image(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a common image format."""
    bitmap = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return head.startswith(IMAGE_STARTS) or bitmap or webp or head[4:12] == b"ftypavif"


@functools.cache
def readable_formats() -> list[str]:
    """FORMATS, as far as this Pillow was built with them."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow's as RGB; what is transparent lies on white."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(eight_bits(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def eight_bits(values: NDArray) -> NDArray[np.uint8]:
    """Grey values of 16 or 32 bits, or floats, as uint8 [H, W].

    Integers are 16-bit greys (0 … 65535 becomes 0 … 255), whatever Pillow keeps them in. Floats have no
    agreed range: 0 … 1 where none is above 1, else 0 … 255, else 0 … 65535.
    """
    grey = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    if np.issubdtype(values.dtype, np.integer):
        scale = 257.0
    else:
        brightest = float(grey.max(initial=0.0))
        scale = 1 / 255 if brightest <= 1 else 1.0 if brightest <= 255 else 257.0
    return np.clip(np.rint(grey / scale), 0, 255).astype(np.uint8)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 … 8. To be asked after loading: Pillow turns TIFF pictures as it loads them."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF spoils no pixels
        return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as its camera was held; an orientation out of 1 … 8 turns nothing."""
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def reason(data: bytes, error: Exception) -> str:
    """Why a file gave no picture, short and without the decoder's private words."""
    if not data:
        return "empty file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS} pixels (an image bomb?)"
    if isinstance(error, UnidentifiedImageError):
        start = data[:16].lstrip().lower()
        kind = next((kind for sign, kind in NO_IMAGE.items() if start.startswith(sign)), "")
        if not kind and data[4:8] == b"ftyp":
            kind = "a HEIC picture or a film, convert it to JPEG"
        return f"not an image: {kind}" if kind else "not an image, or one of an unknown format"
    text = str(error).strip() or type(error).__name__
    return "the file is cut off" if "truncated" in text.lower() else f"damaged: {text}"
