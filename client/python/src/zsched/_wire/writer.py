"""Writes messages as FlatBuffers: from the front, each table before what it refers to.

The layout follows docs/protocol.md, section 2 (alignment); a field at its default is left out, and so are None and an empty
vector, but for required ones. A body is position-independent: moved by a multiple of 8 it is still valid, which is what
_tasks.py builds on.

Example:
    body = write(wire.Get(request=7, ids=[1, 2]))

Threads: any.
"""
from __future__ import annotations

import struct
from typing import Any

from zsched._wire.layout import (BYTES, STRING, STRINGS, STRUCTS, TABLE, TABLES, U64S, StructLayout, TableLayout,
                                 WritePlan)
from zsched._wire.layouts import TABLES_OF

_pack_u32 = struct.Struct("<I").pack
_pack_u32_into = struct.Struct("<I").pack_into
_ALIGN4 = (b"", b"\0\0\0", b"\0\0", b"\0")
_ALIGN8 = tuple(b"\0" * (-size % 8) for size in range(8))


def write(message: tuple[Any, ...]) -> bytes:
    """The body that holds `message`. struct.error when a number does not fit its field."""
    out = bytearray(4)
    _pack_u32_into(out, 0, append_table(out, message))
    return bytes(out)


def append_table(out: bytearray, message: tuple[Any, ...]) -> int:
    """Writes a message behind what is there, and returns where its table stands."""
    layout = TABLES_OF[type(message)]
    at, references = append_inline(out, layout, message)
    for index, offset, kind, item in references:
        here = at + offset
        _pack_u32_into(out, here, append_reference(out, kind, item, message[index]) - here)
    return at


def plan_of(layout: TableLayout, message: tuple[Any, ...]) -> WritePlan:
    """Where a table has the fields that this message gives."""
    mask, bit = 0, 1
    for value, field in zip(message, layout.fields):
        if value is not None and (value != field.default and value != [] or field.required):
            mask |= bit
        bit <<= 1
    return layout.write_plans.get(mask) or layout.plan_writing(mask)


def append_inline(out: bytearray, layout: TableLayout,
                  message: tuple[Any, ...]) -> tuple[int, tuple[tuple[int, int, int, Any], ...]]:
    """Writes vtable and table, with references left open: (the table's position, its references)."""
    plan = plan_of(layout, message)
    at = _place(out, plan)
    values = list(message)
    for index, *_ in plan.references:
        values[index] = 0
    out += plan.pack(len(plan.vtable), *[values[index] for index in plan.scalars])
    for index, offset, item in plan.structs:
        item.packed.pack_into(out, at + offset, *message[index])
    return at, plan.references


def _place(out: bytearray, plan: WritePlan) -> int:
    """Writes the vtable so that the table behind it stands where it must."""
    end = len(out) + len(plan.vtable)
    out += b"\0" * ((4 - end) % 8 if plan.wide else -end % 4)
    out += plan.vtable
    return len(out)


def append_reference(out: bytearray, kind: int, item: Any, value: Any) -> int:
    """Writes what a field refers to, and returns where it stands."""
    if kind == STRING:
        return append_bytes(out, value.encode(), b"\0")
    if kind == BYTES:
        return append_bytes(out, value)
    if kind == TABLE:
        return append_table(out, value)
    if kind == U64S:
        return append_words(out, value)
    if kind == STRUCTS:
        return append_structs(out, item, value)
    if kind not in (TABLES, STRINGS):
        raise TypeError(f"kind {kind} is no reference")
    at = _begin_vector(out, 4, len(value))
    out += bytes(4 * len(value))
    for index, element in enumerate(value):
        here = at + 4 + 4 * index
        target = append_table(out, element) if kind == TABLES else append_bytes(out, element.encode(), b"\0")
        _pack_u32_into(out, here, target - here)
    return at


def append_bytes(out: bytearray, value: bytes, end: bytes = b"") -> int:
    """A vector of bytes; a string ends with NUL."""
    out += _ALIGN4[len(out) & 3]
    at = len(out)
    out += _pack_u32(len(value)) + value + end
    return at


def _begin_vector(out: bytearray, alignment: int, count: int) -> int:
    out += b"\0" * (-(len(out) + 4) % alignment if alignment > 4 else -len(out) % 4)
    out += _pack_u32(count)
    return len(out) - 4


def append_words(out: bytearray, words: Any) -> int:
    """A vector of 64-bit integers."""
    at = _begin_vector(out, 8, len(words))
    out += struct.pack(f"<{len(words)}Q", *words)
    return at


def append_structs(out: bytearray, item: StructLayout, values: Any) -> int:
    """A vector of structs."""
    at = _begin_vector(out, item.alignment, len(values))
    pack = item.packed.pack
    out += b"".join([pack(*value) for value in values])
    return at


def pad8(out: bytearray) -> None:
    """Makes the length a multiple of 8."""
    out += _ALIGN8[len(out) & 7]
