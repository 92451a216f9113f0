"""Tiny ONNX files for tests: the few protobuf fields that a Conv needs, written by hand.

The test environment then needs no onnx package. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import numpy as np


def classifier(weights: np.ndarray, bias: np.ndarray, size_px: int = 32) -> bytes:
    """cam = weights (labels, channels) * input + bias; logits = its mean over the picture."""
    labels, channels = weights.shape
    nodes = [
        _node("Conv", ["image", "w", "b"], ["cam"]),
        _node("GlobalAveragePool", ["cam"], ["mean"]),
        _node("Flatten", ["mean"], ["logits"]),
    ]
    tensors = [_tensor("w", weights.reshape(labels, channels, 1, 1)), _tensor("b", bias)]
    return _model(
        nodes,
        tensors,
        ("image", (1, channels, size_px, size_px)),
        [("logits", (1, labels)), ("cam", (1, labels, size_px, size_px))],
    )


def detector(rows: np.ndarray, size_px: int = 64) -> bytes:
    """Answers rows (4 + labels, N) whatever it sees."""
    answer = rows[None]
    return _model(
        [_node("Identity", ["answer"], ["output0"])],
        [_tensor("answer", answer)],
        ("images", (1, 1, size_px, size_px)),
        [("output0", answer.shape)],
    )


def with_external_data(size_px: int = 32) -> bytes:
    """A classifier whose weights would be read from another file."""
    entry = _text(1, "location") + _text(2, "../../etc/passwd")
    tensor = _number(1, 1) + _number(2, 1) + _text(8, "w") + _field(13, entry) + _number(14, 1)
    shape = (1, 1, size_px, size_px)
    return _model([_node("Conv", ["image", "w"], ["logits"])], [tensor], ("image", shape), [])


def _model(
    nodes: list[bytes],
    tensors: list[bytes],
    given: tuple[str, tuple[int, ...]],
    outputs: list[tuple[str, tuple[int, ...]]],
) -> bytes:
    graph = b"".join(_field(1, node) for node in nodes) + _text(2, "graph")
    graph += b"".join(_field(5, tensor) for tensor in tensors) + _field(11, _value(*given))
    graph += b"".join(_field(12, _value(*output)) for output in outputs)
    return _number(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _number(2, 17))


def _node(kind: str, given: list[str], made: list[str]) -> bytes:
    texts = [_text(1, name) for name in given] + [_text(2, name) for name in made]
    return b"".join(texts) + _text(4, kind)


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_number(1, side) for side in values.shape)
    return dims + _number(2, 1) + _text(8, name) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _number(1, side)) for side in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
