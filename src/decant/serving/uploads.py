"""Requests with images: their limits, the images in them, and the reasons for refusals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from flask import Request
from PIL import Image, PngImagePlugin
from werkzeug.datastructures import FileStorage

from decant.data.images import RAW_EXTENSIONS, BrokenImage, NotAnImage, TooManyPixels, decode, header_size
from decant.serving.deadline import Deadline
from decant.serving.memory import PHOTO_WIDENESS, Budget

FIELDS = ("file", "files")  # names of the form's fields that contain images
MAX_NAME = 200  # characters of a file's name that are kept
MEGA = 1_000_000
MAX_TEXTS = 4 * MEGA  # characters of all texts in a PNG; Pillow reads 64 million
IMAGE_BODIES = ("image/", "application/octet-stream")


@dataclass(frozen=True)
class Limits:
    """What one request may contain. pixels: per image; each takes up to 30 bytes of memory.

    seconds: for receiving a request, and from then until all of its images are predicted.
    """

    bytes: int = 20 * MEGA
    pixels: int = 12_600_000  # the photos of most phones, 4096 x 3072
    files: int = 20
    seconds: float = 30.0

    @property
    def counted_pixels(self) -> int:
        """The limit of `decant.serving.memory.counted_pixels`, for an image and for all images in memory together."""
        return round(self.pixels * PHOTO_WIDENESS)


@dataclass(frozen=True)
class Upload:
    """One image file that a client sent."""

    name: str
    content: bytes


class Refused(Exception):
    """A request, or one image of it, that is refused. status: of HTTP, 4xx, 500 or 503. kind: a word for programs."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason


def limit_decoders(limits: Limits) -> None:
    """Make Pillow refuse images above the limit, for the whole process.

    `header_size` reads what a file declares. A file within a file, as in ICO, may be larger than declared, and Pillow
    itself checks each. It raises above twice the number that it is given. The texts within a PNG are unpacked with its
    header, before any pixels are counted.
    """
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXTS


def uploads_in(request: Request, limits: Limits) -> list[Upload]:
    """The images of a request: the files of a form, or the body itself. Raises Refused if there are none or too many.

    A form's field without a chosen file is left out; an empty file is not.
    """
    if request.mimetype == "multipart/form-data":
        files = [file for field in FIELDS for file in request.files.getlist(field) if was_chosen(file)]
        if len(files) > limits.files:
            raise Refused(413, "too_many_files", f"{len(files)} files, more than {limits.files}; send fewer at once")
        uploads = [Upload(shown_name(file.filename or ""), file.read()) for file in files]
    elif request.mimetype.startswith(IMAGE_BODIES):
        uploads = [Upload("", request.get_data())]
    elif request.content_length or request.mimetype:
        kind = shown_name(request.mimetype) or "of no type"
        raise Refused(415, "wrong_type", f"a body {kind}; send a form with files named file, or an image as image/jpeg")
    else:
        uploads = []
    if not uploads:
        raise Refused(422, "no_image", "no image was sent; send files in the form's field file")
    return uploads


def was_chosen(file: FileStorage) -> bool:
    """False for a field in which no file was chosen: browsers then send no name and no content."""
    if file.filename:
        return True
    return bool(file.stream.read(1)) and file.stream.seek(0) == 0


def shown_name(name: str) -> str:
    """A client's text without control characters, at most MAX_NAME characters."""
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"


@contextmanager
def decoded(
    upload: Upload, limits: Limits, budget: Budget, counted: Callable[[int, int], int], deadline: Deadline
) -> Iterator[np.ndarray]:
    """The upright image uint8 [H, W, 3], whose pixels are taken from the budget until the block ends.

    counted: (height, width) -> pixels that its memory counts as. Raises Refused with the reason: 413 too many
    pixels, 415 not an image, 422 empty, truncated or damaged. Raises Busy.
    """
    raw = RAW_EXTENSIONS.get(PurePath(upload.name).suffix.lower().lstrip("."))
    if raw:
        raise Refused(415, "not_an_image", raw)
    try:
        width, height = header_size(upload.content)
    except BrokenImage as error:
        raise refused(error, limits) from None
    check_size(height, width, counted(height, width), limits)
    with budget.reserved(counted(height, width), deadline):
        try:
            image = decode(upload.content)
        except BrokenImage as error:
            raise refused(error, limits) from None
        yield image


def check_size(height: int, width: int, counted: int, limits: Limits) -> None:
    """Raise Refused for an image with too many pixels, or too wide for the model."""
    if width * height > limits.pixels:
        raise too_many_pixels(limits, f"{width} x {height} pixels, ")
    if counted > limits.counted_pixels:
        fault = f"{width} x {height} pixels are too wide for this model: they take as much memory as"
        raise Refused(413, "too_many_pixels", f"{fault} {counted / MEGA:.0f} megapixels; crop or shrink the image")


def refused(error: BrokenImage, limits: Limits) -> Refused:
    """The refusal of an image that cannot be decoded."""
    if isinstance(error, TooManyPixels):
        return too_many_pixels(limits)
    if isinstance(error, NotAnImage):
        return Refused(415, "not_an_image", str(error))
    return Refused(422, "broken_image", str(error))


def too_many_pixels(limits: Limits, size: str = "") -> Refused:
    """The refusal of an image that is too large to decode."""
    reason = f"{size}more than the {limits.pixels / MEGA:g} megapixels that this server reads"
    return Refused(413, "too_many_pixels", reason)
