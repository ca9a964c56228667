"""Protobuf messages as bytes: the fields of one, and new ones. Needs no onnx package.

Protobuf merges messages whose bytes are concatenated: single fields are merged, repeated fields are appended (Protocol
Buffers, Encoding, "Last One Wins"). So appending a model that contains only new nodes or outputs adds these.
"""

from collections.abc import Iterator

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5  # the wire types of proto3
FIXED_BYTES = {FIXED_64: 8, FIXED_32: 4}


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field in order: an int for a varint, else its bytes.

    Raises ValueError if the message is damaged.
    """
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, position = read_varint(message, position)
            yield number, value
            continue
        if wire_type == LENGTH_DELIMITED:
            length, position = read_varint(message, position)
        elif wire_type in FIXED_BYTES:
            length = FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} is unknown")
        if position + length > len(message):
            raise ValueError("the message ends within a field")
        yield number, message[position : position + length]
        position += length


def read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at the position, and the position behind it. Raises ValueError if it is cut off or too long."""
    value = 0
    for shift, byte in enumerate(message[position : position + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("a number is damaged")


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def number_field(number: int, value: int) -> bytes:
    """A field with a number that is not negative."""
    return varint(number << 3 | VARINT) + varint(value)


def varint(value: int) -> bytes:
    """A number as protobuf writes it: seven bits per byte, the lowest first, the last byte below 128."""
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])
