"""The limits of what is decoded, and the status and reason of each refusal."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask import Request
from PIL import Image, PngImagePlugin
from werkzeug.test import EnvironBuilder

from decant.data.images import decode
from decant.serving.deadline import Deadline
from decant.serving.memory import Budget
from decant.serving.uploads import (
    Limits,
    Refused,
    Upload,
    decoded,
    limit_decoders,
    shown_name,
    uploads_in,
)

Encode = Callable[..., bytes]
PIXELS = 10_000
LIMITS = Limits(pixels=PIXELS)


def area(height: int, width: int) -> int:
    return height * width


def refusal(content: bytes, name: str = "a.png", limits: Limits = LIMITS) -> Refused:
    with (
        pytest.raises(Refused) as raised,
        decoded(Upload(name, content), limits, Budget(limits.pixels), area, Deadline(20)),
    ):
        pass
    return raised.value


def declared_png(width: int, height: int) -> bytes:
    """A PNG whose header declares a size and that has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 100) + b"IDAT"


def test_an_image_within_the_limits_is_what_decode_returns(photo: np.ndarray, encode: Encode) -> None:
    with decoded(Upload("a", encode(photo)), LIMITS, Budget(PIXELS), area, Deadline(20)) as image:
        np.testing.assert_array_equal(image, photo)


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"hello", 415, "not an image"),
        (b"<html>", 415, "a web page"),
        (declared_png(100_000, 100_000), 413, "more than the 0.01 megapixels"),
        (declared_png(101, 100), 413, "101 x 100 pixels"),
        (declared_png(10, 10), 422, "truncated"),
    ],
)
def test_a_refusal_has_the_status_and_the_reason(content: bytes, status: int, reason: str) -> None:
    refused = refusal(content)
    assert refused.status == status and reason in refused.reason


def test_a_truncated_photo_is_refused_and_not_half_grey(photo: np.ndarray, encode: Encode) -> None:
    content = encode(photo, "JPEG")
    assert refusal(content[: len(content) // 2]).status == 422


def test_a_raw_photo_is_refused_by_its_name_as_its_thumbnail_would_be_read(photo: np.ndarray, encode: Encode) -> None:
    refused = refusal(encode(photo, "TIFF"), "holiday.NEF")
    assert refused.status == 415 and "RAW" in refused.reason


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_an_image_in_an_icon_is_bounded_although_the_icon_declares_less(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = encode(np.zeros((200, 200, 3), np.uint8))
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 24, len(inner), 22) + inner
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    assert decode(icon).shape == (200, 200, 3)
    limit_decoders(LIMITS)
    assert refusal(icon, "a.ico").status == 413


@pytest.mark.parametrize(("texts", "is_read"), [(2, True), (20, False)])
def test_a_png_with_megabytes_of_text_is_refused(texts: int, is_read: bool) -> None:
    limit_decoders(LIMITS)
    info = PngImagePlugin.PngInfo()
    for number in range(texts):
        info.add_text(f"text{number}", "a" * 1_000_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(file, "PNG", pnginfo=info)
    assert len(file.getvalue()) < 200_000
    if is_read:
        with decoded(Upload("a.png", file.getvalue()), LIMITS, Budget(PIXELS), area, Deadline(20)) as image:
            assert image.shape == (10, 20, 3)
    else:
        assert refusal(file.getvalue()).status == 422


def test_pixels_are_free_again_after_a_refusal_and_after_an_error(photo: np.ndarray, encode: Encode) -> None:
    budget = Budget(PIXELS)
    content = encode(photo)
    for _ in range(3):
        with pytest.raises(Refused), decoded(Upload("a", content[:-100]), LIMITS, budget, area, Deadline(20)):
            pass
        with pytest.raises(KeyError), decoded(Upload("a", content), LIMITS, budget, area, Deadline(20)):
            raise KeyError
    with budget.reserved(PIXELS, Deadline(0.1)):
        pass


@contextmanager
def request_with(**sent: Any) -> Iterator[Request]:
    request = Request(EnvironBuilder(method="POST", **sent).get_environ())
    yield request
    request.close()


def test_a_field_without_a_chosen_file_is_left_out_and_an_empty_file_is_not() -> None:
    with request_with(data={"file": (io.BytesIO(b""), "")}) as nothing, pytest.raises(Refused) as raised:
        uploads_in(nothing, LIMITS)
    assert raised.value.status == 422
    with request_with(data={"file": (io.BytesIO(b""), "empty.jpg")}) as empty:
        assert uploads_in(empty, LIMITS) == [Upload("empty.jpg", b"")]


def test_a_body_of_another_type_is_refused_with_what_to_send() -> None:
    with (
        request_with(data="x=1", content_type="application/x-www-form-urlencoded") as request,
        pytest.raises(Refused, match="file") as raised,
    ):
        uploads_in(request, LIMITS)
    assert raised.value.status == 415


def test_a_name_is_shown_short_and_without_control_characters() -> None:
    assert shown_name("a\r\nb\0.jpg") == "a��b�.jpg"
    assert len(shown_name("x" * 1_000_000)) == 200
