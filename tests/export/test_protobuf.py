"""Protobuf by hand, against the protobuf of the onnx package."""

import onnx
import pytest

from decant.export.protobuf import field, fields, number_field

IR_VERSION, DOC_STRING = 1, 6  # fields of ModelProto


@pytest.mark.parametrize("length", [0, 1, 127, 128, 20_000])
def test_written_fields_are_read_by_onnx(length: int) -> None:
    model = onnx.load_from_string(number_field(IR_VERSION, length) + field(DOC_STRING, b"x" * length))
    assert (model.ir_version, model.doc_string) == (length, "x" * length)


def test_fields_of_all_wire_types_are_read_in_order() -> None:
    attribute = onnx.helper.make_attribute("alpha", 1.5)
    attribute.i, attribute.doc_string = 300, "x" * 200
    found = {number: bytes(value) if isinstance(value, memoryview) else value for number, value in parts(attribute)}
    assert found[1] == b"alpha" and found[3] == 300 and found[13] == b"x" * 200 and len(found[2]) == 4


def parts(message: onnx.AttributeProto) -> list[tuple[int, int | memoryview]]:
    return list(fields(memoryview(message.SerializeToString(deterministic=True))))


@pytest.mark.parametrize("damaged", [b"\x0a\x05abc", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x0d\x00"])
def test_a_damaged_message_is_an_error(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number|wire type"):
        list(fields(memoryview(damaged)))
