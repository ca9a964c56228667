"""Requests that a server must survive: damaged and forged images, bombs, wrong types, broken HTTP and slow clients.

Each must be refused with a status 4xx and a reason, or, where the bytes are an image after all, be answered with the
same prediction as in Python.
"""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

BOUNDARY = "hostile-boundary"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
HEIGHT, WIDTH = 90, 120
Draw = np.random.Generator


@dataclass(frozen=True)
class Hostile:
    """A request as it goes over the connection.

    request: all of its bytes, or those after which the client stops sending if `slow`. image: the uploaded bytes,
    if they may be an image; a prediction for them must be right. None: the request must be refused.
    """

    kind: str
    request: bytes
    image: bytes | None = None
    slow: bool = False


def hostile_uploads(count: int, seed: int = 0, slow: bool = True) -> Iterator[Hostile]:
    """`count` requests of all kinds in turn; the same arguments give the same bytes. slow: with slow clients."""
    kinds = [kind for kind in KINDS if slow or kind is not slow_client]
    for number in range(count):
        draw = np.random.default_rng([seed, number])
        yield kinds[number % len(kinds)](draw, number // len(kinds))


def truncated(draw: Draw, turn: int) -> Hostile:
    whole = photo(draw, FORMATS[turn % len(FORMATS)])
    return of_image("truncated", whole[: int(draw.integers(1, len(whole)))])


def corrupt(draw: Draw, turn: int) -> Hostile:
    """Images in which some bytes after the first few are replaced."""
    content = bytearray(photo(draw, FORMATS[turn % len(FORMATS)]))
    for position in draw.integers(4, len(content), 1 + turn % 20):
        content[position] = int(draw.integers(256))
    return of_image("corrupt", bytes(content))


def bomb(draw: Draw, turn: int) -> Hostile:
    """Small files with very many pixels, declared or real, and a text that is large when unpacked."""
    packed_pixels = zlib.compress(bytes(3 * 9000 * 9000 // 4), 9)
    contents: Sequence[Callable[[], bytes]] = (
        lambda: png(100_000, 100_000, b""),
        lambda: png(9000, 9000, packed_pixels),
        lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b";",
        lambda: jpeg_of_size(photo(draw, "JPEG"), 65_500, 65_500),
        lambda: icon_with(png(20_000, 20_000, b"")),
        lambda: icon_with(plain_png(5000, 5000)),
        lambda: png_with_text(photo(draw, "PNG"), zlib.compress(bytes(50_000_000), 9)),
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        lambda: b"P6 70000 70000 255\n",
    )
    return of_image("bomb", contents[turn % len(contents)]())


def long_side(draw: Draw, turn: int) -> Hostile:
    """Sides of 100,000 pixels, with few and with too many pixels."""
    sides = ((100_000, 1), (1, 100_000), (100_000, 60), (60, 100_000), (100_000, 1000), (2**31 - 1, 1))
    width, height = sides[turn % len(sides)]
    content = plain_png(width, height) if width * height < 10**7 else png(width, height, b"")
    return of_image("100,000 px side", content)


def polyglot(draw: Draw, turn: int) -> Hostile:
    """Files that look like two formats at once."""
    script = b"<script>alert(1)</script>"
    jpeg, gif = photo(draw, "JPEG"), photo(draw, "GIF")
    contents = (
        jpeg + b"PK\x03\x04" + bytes(100),
        gif[:6] + b"/*" + gif[8:] + b"*/=1;" + script,
        b"%PDF-1.4\n" + jpeg,
        script + jpeg,
        photo(draw, "PNG") + b"<?php system($_GET['c']); ?>",
        b"\x7fELF" + jpeg,
        jpeg[:2] + b"\xff\xfe\x00\x1c" + script + b"\0" + jpeg[2:],
    )
    return of_image("polyglot", contents[turn % len(contents)], f"a.{('jpg', 'gif', 'html', 'php')[turn % 4]}")


def wrong_type(draw: Draw, turn: int) -> Hostile:
    contents = (
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        b"PK\x03\x04" + bytes(200),
        b"\x7fELF" + bytes(200),
        b"\0\0\0\x18ftypmp42" + bytes(200),
        gzip.compress(photo(draw, "JPEG")),
        json.dumps({"image": "file:///etc/passwd"}).encode(),
        bytes(draw.integers(0, 256, 5000, dtype=np.uint8)),
        b"8BPS" + bytes(100),
        b"<html>404</html>",
    )
    return of_image("wrong type", contents[turn % len(contents)], "a.jpg")


def empty(draw: Draw, turn: int) -> Hostile:
    unfinished = multipart_body([("file", "a.jpg", photo(draw, "JPEG"))])[:-60]
    form = f"multipart/form-data; boundary={BOUNDARY}"
    bodies = (
        multipart([("file", "a.jpg", b"")]),
        multipart([]),
        multipart([("other", "a.jpg", photo(draw, "JPEG"))]),
        multipart([("file", "", b"")]),
        post("/predict", b"", "image/jpeg"),
        post("/predict", b"", "multipart/form-data"),
        post("/predict", b"--", "multipart/form-data; boundary=x"),
        post("/predict", unfinished, form),
        post("/", b"", form),
    )
    return Hostile("empty", bodies[turn % len(bodies)])


def huge_name(draw: Draw, turn: int) -> Hostile:
    """File names that are long or point to other folders; the image itself is valid."""
    names = (
        "x" * 100_000 + ".jpg",
        "../../etc/passwd",
        "a\\..\\..\\b.jpg",
        "con",
        "\u202egpj.exe",
        "%00.jpg",
        "x" * 2_000_000,
    )
    content = photo(draw, "JPEG")
    return Hostile("huge name", multipart([("file", names[turn % len(names)], content)]), image=content)


def too_much(draw: Draw, turn: int) -> Hostile:
    """More files, fields or bytes than allowed."""
    content = photo(draw, "JPEG")
    requests: Sequence[Callable[[], bytes]] = (
        lambda: multipart([("file", "a.jpg", content)] * 50),
        lambda: multipart([(f"f{number}", "", b"") for number in range(3000)]),
        lambda: post("/predict", bytes(25_000_000), "image/jpeg"),
        lambda: post("/predict", b"", "image/jpeg", length=10**15),
        lambda: multipart([("model", "", b"x" * 900_000), ("file", "a.jpg", content)]),
        lambda: post("/v1/models/any:predict", b'{"instances": [' + b"[]," * 5_000_000 + b"[]]}", "application/json"),
    )
    return Hostile("too much", requests[turn % len(requests)]())


def broken_http(draw: Draw, turn: int) -> Hostile:
    requests = (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"DELETE /predict HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /static/..%2f..%2fserving/app.py HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /samples/%2e%2e%2fa HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    return Hostile("broken HTTP", requests[turn % len(requests)])


def forged_json(draw: Draw, turn: int) -> Hostile:
    """Requests of the two protocols with too much or with impossible content."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2**31, 2**31, 3], "data": [1]}
    bodies = (
        b"[" * 500_000,
        b'{"instances": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"instances": [' + b"9" * 5000 + b"]}",
        json.dumps({"instances": [{"b64": "A" * 1001}]}).encode(),
        b'{"instances": [NaN, Infinity]}',
        b"\xff\xfe\x00",
        json.dumps({"inputs": [tensor]}).encode(),
        json.dumps({"inputs": [{**tensor, "shape": [2**40, 0, -1, 3]}]}).encode(),
        json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 10**12}}]}).encode(),
    )
    address = "/v2/models/MODEL/infer" if turn % len(bodies) > 5 else "/v1/models/MODEL:predict"
    return Hostile("forged JSON", post(address, bodies[turn % len(bodies)], "application/json"))


def odd_metadata(draw: Draw, turn: int) -> Hostile:
    """Photos with damaged or nonsensical EXIF, which does not affect their pixels."""
    orientations = (0, 9, 65535, 3)
    exif = Image.Exif()
    exif[0x0112] = orientations[turn % len(orientations)]
    block = exif.tobytes()
    if turn % 2:
        block = block[:-4] + bytes(draw.integers(0, 256, 60_000, dtype=np.uint8))
    return of_image("odd metadata", photo(draw, "JPEG", exif=block))


def slow_client(draw: Draw, turn: int) -> Hostile:
    """The client stops within the headers or within the body, and keeps its connection."""
    whole = multipart([("file", "a.jpg", photo(draw, "JPEG"))])
    return Hostile("slow client", whole[: (10, 100, len(whole) - 50, len(whole) // 2)[turn % 4]], slow=True)


KINDS = (
    truncated, corrupt, bomb, long_side, polyglot, wrong_type, empty, huge_name, too_much, broken_http, forged_json,
    odd_metadata, slow_client,
)  # fmt: skip


def of_image(kind: str, content: bytes, name: str = "photo.jpg") -> Hostile:
    return Hostile(kind, multipart([("file", name, content)]), image=content)


def photo(draw: Draw, kind: str, **options: object) -> bytes:
    """A small smooth image in a format of Pillow's."""
    coarse = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, packed: bytes) -> bytes:
    """An RGB PNG whose pixels are `packed`, whatever it declares."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def plain_png(width: int, height: int) -> bytes:
    """A whole PNG of one colour."""
    row = b"\0" + b"\x80\x40\xc0" * width
    packer = zlib.compressobj(9)
    return png(width, height, b"".join(packer.compress(row) for _ in range(height)) + packer.flush())


def png_with_text(whole: bytes, packed: bytes) -> bytes:
    """The PNG with a compressed comment before its pixels."""
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + packed) + whole[33:]


def icon_with(inner: bytes) -> bytes:
    """An ICO that declares 16 x 16 pixels and contains this PNG."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 24, len(inner), 22) + inner


def jpeg_of_size(whole: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header."""
    position = whole.index(b"\xff\xc0") + 5
    return whole[:position] + struct.pack(">HH", height, width) + whole[position + 4 :]


def multipart(parts: Sequence[tuple[str, str, bytes]]) -> bytes:
    """A whole POST /predict of a form. parts: field, name of the file or "", content."""
    return post("/predict", multipart_body(parts), f"multipart/form-data; boundary={BOUNDARY}")


def multipart_body(parts: Sequence[tuple[str, str, bytes]]) -> bytes:
    body = b""
    for field, name, content in parts:
        file_name = f'; filename="{name}"' if name else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def post(address: str, body: bytes, content_type: str, length: int | None = None) -> bytes:
    """A whole request; length: what it declares instead of the length of its body."""
    head = (
        f"POST {address} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
