"""From the bytes of an image file to an upright RGB image, or to the reason why it cannot be decoded."""

import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from decant.data.decoder_warnings import DECODERS

# Below the 89.5 megapixels at which Pillow warns, and far above the size of any photo.
MAX_PIXELS = 80_000_000
# Listed, because Pillow would otherwise try every decoder on an untrusted file, including Ghostscript.
FORMATS = "JPEG MPO PNG GIF BMP DIB WEBP TIFF PPM TGA ICO PCX SGI JPEG2000 AVIF HEIF".split()
EXIF_ORIENTATION = 0x0112
GREY_ROWS = 64  # of a deep grey image that are converted at once
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height
TIFF_SIZE = (256, 257)  # tags of the stored width and height
OTHER_FORMATS = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing, convert it to PNG",
    b"<?xml": "an XML file",
    b"%pdf": "a PDF, convert its pages to PNG",
    b"pk\x03\x04": "a zip archive",
    b"8bps": "a Photoshop file, convert it to PNG",
    b"\xff\x0a": "a JPEG XL image, convert it to JPEG or PNG",
    b"\0\0\0\x0cjxl \r\n": "a JPEG XL image, convert it to JPEG or PNG",
    b"version https://": "a pointer of Git LFS, fetch the file with git lfs pull",
}
RAW = "a camera RAW file, convert it to JPEG"
# By extension, because many of them begin like a TIFF and Pillow would read their thumbnail.
RAW_EXTENSIONS = dict.fromkeys(
    "cr2 cr3 crw nef nrw arw sr2 srf dng orf rw2 raf pef srw x3f 3fr erf kdc mrw iiq gpr".split(), f"not read: {RAW}"
)
RAW_EXTENSIONS |= dict.fromkeys(("dcm", "dicom"), "not read: a DICOM image, convert it to PNG")  # begins with zeros
HEIF = "a HEIF image: pip install pillow-heif (or decant[heif]), or convert it to JPEG"
AVIF = "an AVIF image that this Pillow cannot read: update Pillow, or convert it to JPEG"
# The brand of files that begin with a box "ftyp" (ISO/IEC 14496-12); other brands are videos.
BRANDS = dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"), HEIF)
BRANDS |= {b"crx ": RAW, **dict.fromkeys((b"avif", b"avis"), AVIF)}
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
JPEG_XL_START = b"\0\0\0\x0cJXL \r\n"
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
JPEG_2000_STARTS = (b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")


# Pillow warns of damaged EXIF and the like, which does not affect the pixels. The manifest counts such images.
warnings.filterwarnings("ignore", module=DECODERS)


class BrokenImage(Exception):
    """The file cannot be decoded; the message gives the reason in words fit for a manifest row."""


class NotAnImage(BrokenImage):
    """The file's content is no image, or one of a format that is not read."""


class TooManyPixels(BrokenImage):
    """The image has more than MAX_PIXELS pixels, or more than Pillow's own limit."""


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file: uint8 [H, W, 3], RGB, EXIF orientation applied.

    Transparent parts become white, 16 bits are scaled to 8, CMYK is converted, and the first frame of an animation
    is taken. Raises BrokenImage for a file that is no image, is truncated, or has more than MAX_PIXELS pixels.
    """
    with opened_image(data) as image:
        image.load()  # before its orientation is read, see `orientation`
        return np.array(upright(as_rgb(image), orientation(image)))


def probe(data: bytes) -> tuple[int, int]:
    """(width, height) of the upright image in pixels; decodes it in full. Raises as `decode` does."""
    height, width = decode(data).shape[:2]
    return width, height


def header_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the upright image in pixels, read from its header: damage behind it is not noticed.

    Raises BrokenImage for a file that is no image, and for one that has more than MAX_PIXELS pixels.
    """
    with opened_image(data) as image:
        tags = getattr(image, "tag_v2", {})  # of a TIFF, whose `size` has its orientation applied in some versions
        width, height = (tags.get(tag, side) for tag, side in zip(TIFF_SIZE, image.size, strict=True))
        return (height, width) if orientation(image) in SIDEWAYS else (width, height)


@contextmanager
def opened_image(data: bytes) -> Iterator[Image.Image]:
    """The image with its header read. Raises BrokenImage, also for what its decoder raises in the `with` block."""
    # Other libraries switch this on for the whole process; truncated files would then be decoded, half grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooManyPixels(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS} (an image bomb?)")
            yield image
    except BrokenImage:
        raise
    except Exception as error:  # damaged files make decoders raise nearly anything: struct.error, IndexError ...
        raise kind_of_error(data, error)(reason(data, error)) from error


def looks_like_image(head: bytes) -> bool:
    """True if a file begins like a common image format. head: its first 16 bytes."""
    bitmap = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    boxed = head[4:8] == b"ftyp" and head[8:12] in BRANDS
    return head.startswith((*IMAGE_STARTS, JPEG_XL_START, *JPEG_2000_STARTS)) or bitmap or webp or boxed


@functools.cache
def readable_formats() -> list[str]:
    """The FORMATS that this Pillow was built with; HEIF if pillow-heif is installed."""
    Image.init()
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB; transparent parts become white."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(eight_bits(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        layer = image if image.mode == "RGBA" and "transparency" not in image.info else image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def eight_bits(values: NDArray) -> NDArray[np.uint8]:
    """Grey values of 16 or 32 bits, or floats, as uint8 [H, W].

    Integers are 16-bit greys (0 … 65535 becomes 0 … 255), whatever type Pillow stores them in. Floats have no
    agreed range: 0 … 1 if none is above 1, else 0 … 255, else 0 … 65535.
    """
    if np.issubdtype(values.dtype, np.integer):
        scale = 257.0
    else:
        brightest = max((float(finite(rows).max(initial=0.0)) for rows in values), default=0.0)
        scale = 1 / 255 if brightest <= 1 else 1.0 if brightest <= 255 else 257.0
    levels = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), GREY_ROWS):  # in float64 the whole image would take ten times its memory
        rows = finite(values[start : start + GREY_ROWS])
        levels[start : start + GREY_ROWS] = np.clip(np.rint(rows / scale), 0, 255)
    return levels


def finite(values: NDArray) -> NDArray[np.float64]:
    """The values as float64, with 0 for nan and infinities."""
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 … 8. Call it after loading: Pillow rotates TIFF images while it loads them."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not affect the pixels
        return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image rotated as its EXIF orientation requires; an orientation outside 1 … 8 changes nothing."""
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def reason(data: bytes, error: Exception) -> str:
    """The reason why a file cannot be decoded, short and without the decoder's internal terms."""
    if not data:
        return "empty file"
    if isinstance(error, BOMBS):
        return f"more than {MAX_PIXELS} pixels (an image bomb?)"
    if isinstance(error, UnidentifiedImageError):
        kind = kind_of_file(data)
        return f"not read: {kind}" if kind else "not an image, or one of an unknown format"
    text = str(error).strip() or type(error).__name__
    return "the file is truncated" if "truncated" in text.lower() else f"damaged: {text}"


def kind_of_error(data: bytes, error: Exception) -> type[BrokenImage]:
    """The class of the BrokenImage for what Pillow raised."""
    if isinstance(error, BOMBS):
        return TooManyPixels
    return NotAnImage if data and isinstance(error, UnidentifiedImageError) else BrokenImage


def kind_of_file(data: bytes) -> str:
    """The kind of a file that is not decoded, and what to do; "" if its first bytes are unknown."""
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "a video")
    start = data[:16].lstrip().lower()
    return next((kind for signature, kind in OTHER_FORMATS.items() if start.startswith(signature)), "")
