"""Every kind of image is decoded to upright RGB; any other file raises BrokenImage with a reason."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from decant.data import images
from decant.data.images import BrokenImage, decode, header_size, looks_like_image, probe

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# Each EXIF orientation as a NumPy operation on the stored rows (EXIF 2.32, tag 0x0112).
TO_UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.transpose(a, (1, 0, 2)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.transpose(np.rot90(a, 2), (1, 0, 2)),
    8: np.rot90,
}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners() -> np.ndarray:
    """One colour per corner of an image that is wider than high, so that every orientation differs."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12], pixels[8:, 12:] = RED, GREEN, BLUE, WHITE
    return pixels


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(kind, {})
    data = saved(Image.fromarray(corners()), kind, exif=exif, **options)
    expected = TO_UPRIGHT[orientation](corners())
    assert np.abs(decode(data) - expected.astype(int)).max() <= (8 if kind == "AVIF" else 0)
    assert probe(data) == header_size(data) == (expected.shape[1], expected.shape[0])


def test_a_header_gives_the_size_of_a_file_that_cannot_be_decoded() -> None:
    data = saved(Image.fromarray(corners()), "PNG")
    cut = data[: data.index(b"IDAT") + 8]
    assert header_size(cut) == (24, 16)
    with pytest.raises(BrokenImage):
        decode(cut)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(saved(Image.fromarray(corners()), "PNG", exif=exif)), corners())


def test_damaged_exif_does_not_change_the_pixels() -> None:
    data = saved(Image.fromarray(corners()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    np.testing.assert_array_equal(decode(data), corners())


def test_transparent_parts_become_white() -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    grey = round(255 * (1 - 128 / 255))  # half of black over white
    expected = [[RED, WHITE, (grey, grey, grey)]]
    np.testing.assert_array_equal(decode(saved(Image.fromarray(pixels), "PNG")), expected)


def test_a_palette_colour_marked_as_transparent_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(saved(image, "GIF", transparency=1)), [[RED, WHITE]])
    np.testing.assert_array_equal(decode(saved(image, "PNG", transparency=1)), [[RED, WHITE]])


def test_transparent_grey_becomes_white() -> None:
    image = Image.merge("LA", (Image.new("L", (2, 2), 10), Image.new("L", (2, 2), 0)))
    np.testing.assert_array_equal(decode(saved(image, "PNG")), np.full((2, 2, 3), 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(kind: str) -> None:
    grey = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    expected = np.repeat(np.array([[0, 1, 128, 255]])[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey), kind)), expected)


def test_sixteen_bit_colour_is_scaled_to_eight() -> None:
    """A PNG written by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixel = b"\0" + struct.pack(">HHH", 65535, 128 * 257, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(data), [[[255, 128, 0]]])


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floats_are_scaled_by_their_largest_value(scale: float) -> None:
    image = Image.fromarray(np.array([[0.0, 0.2, 1.0]], np.float32) * np.float32(scale))
    np.testing.assert_array_equal(decode(saved(image, "TIFF"))[0, :, 0], [0, 51, 255])


def test_cmyk_jpeg_keeps_its_colours() -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    assert np.abs(decode(saved(image, "JPEG", quality=95)).astype(int) - RED).max() <= 4


def test_the_first_frame_of_an_animation_is_decoded() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (GREEN, BLUE, RED)]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(data), np.full((4, 4, 3), GREEN), err_msg=kind)


@pytest.mark.parametrize("kind", ["MPO", "TIFF", "AVIF"])
def test_the_first_image_of_several_in_a_file_is_decoded(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "several"
    Image.new("RGB", (16, 12), GREEN).save(file, kind, save_all=True, append_images=[Image.new("RGB", (16, 12), RED)])
    pixels = decode(file.read_bytes())
    assert pixels.shape == (12, 16, 3) and np.abs(pixels - np.array(GREEN)).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_an_image_is_known_by_its_first_bytes(kind: str) -> None:
    image = Image.new("RGB", (16, 12), GREEN)
    assert looks_like_image(saved(image, kind)[:16])
    if kind == "AVIF":
        assert looks_like_image(saved(image, kind, save_all=True, append_images=[image.rotate(180)])[:16])


def test_bilevel_becomes_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((0, 0), 1)
    np.testing.assert_array_equal(decode(saved(image, "PNG")), [[WHITE, (0, 0, 0)]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_broken_even_if_pillow_is_set_to_load_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(BrokenImage):
        decode(data[: len(data) * 2 // 3])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not an image"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "camera RAW"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_the_reason_names_the_kind_of_file_that_is_not_an_image(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenImage, match=reason):
        decode(data)


def test_a_heif_file_that_cannot_be_read_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "readable_formats", lambda: ["JPEG", "PNG"])
    for brand in (b"heic", b"mif1", b"heix"):
        with pytest.raises(BrokenImage, match="pip install pillow-heif"):
            decode(b"\0\0\0\x18ftyp" + brand + bytes(200))


def test_heif_is_read_with_pillow_heif() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    data = saved(Image.new("RGB", (64, 48), RED), "HEIF", quality=95)
    assert decode(data).shape == (48, 64, 3)
    assert np.abs(decode(data).astype(int) - RED).max() <= 12


def test_damaged_exif_puts_no_warning_on_the_console(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\0\0\x06"
    (tmp_path / "bad.jpg").write_bytes(saved(Image.fromarray(corners()), "JPEG", exif=exif))
    code = "import sys; from decant.data.images import decode; print(decode(open(sys.argv[1], 'rb').read()).shape)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "bad.jpg"], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("(16, 24, 3)", "")


def test_an_image_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L", (10, 10)), "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    for read in (decode, header_size):
        with pytest.raises(BrokenImage, match="10 x 10 pixels"):
            read(data)


@pytest.mark.parametrize("side_px", [10_000, 30_000])
def test_a_header_that_declares_too_many_pixels_is_refused(side_px: int) -> None:
    """Also above Pillow's two limits: above the lower it warns, above the higher it raises."""
    data = bytearray(saved(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = struct.pack(">II", side_px, side_px)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    for read in (decode, header_size):
        with pytest.raises(BrokenImage, match="pixels"):
            read(bytes(data))


def test_random_damage_gives_an_image_or_a_reason() -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "TGA", "ICO", "PPM"):
        whole = np.frombuffer(saved(noise, kind), np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            try:
                pixels = decode(data.tobytes())
            except BrokenImage as error:
                assert str(error)
            else:
                assert pixels.dtype == np.uint8
                assert pixels.shape[2] == 3
