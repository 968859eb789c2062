"""Reads bodies of frames, believing nothing: the verifier that FlatBuffers for Python does not have.

A body comes back as the tuple of its message, or MalformedBody says what is wrong with it; hostile bytes cause nothing
else. Checked as the C++ side does (schemas/verify.h): every table, vtable, vector and string lies inside of the body and
where it may stand, strings end with NUL, required fields are there, tables nest at most MAX_TABLE_DEPTH deep, and there are no
more of them than the body has room for. What is read is copied, so the bytes of all strings and vectors together are bounded by
the body too: one that names the same megabyte a thousand times is refused, not unfolded.

Text that is no UTF-8 is read with replacement characters: workers may put anything into an error message.

Example:
    ack = read(wire.SubmitAck, frame.body)

Threads: any.
"""
from __future__ import annotations

import struct
from typing import Any, TypeVar

from zsched._wire.constants import MAX_TABLE_DEPTH
from zsched._wire.layout import (BYTES, STRING, STRINGS, STRUCT, STRUCTS, TABLE, TABLES, U64S, MalformedBody,
                                 StructLayout, TableLayout)
from zsched._wire.layouts import TABLES_OF

Message = TypeVar("Message", bound=tuple[Any, ...])

_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u16 = struct.Struct("<H").unpack_from


def read(message: type[Message], body: bytes) -> Message:
    """The message that a body is. MalformedBody when it is none."""
    if len(body) < 8:
        raise MalformedBody(f"a body of {len(body)} bytes has no room for a table")
    reader = _Reader(body)
    found: Message = reader.table(TABLES_OF[message], reader.follow(0, _u32(body, 0)[0]), 1)
    return found


def read_optional(message: type[Message], body: bytes) -> Message:
    """As read; an empty body is a message whose fields are all at their defaults."""
    return read(message, body) if body else message()


class _Reader:
    __slots__ = ("body", "size", "tables_left", "bytes_left", "seen")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.size = len(body)
        self.tables_left = self.size // 4 + 1
        self.bytes_left = self.size
        # What was copied already, by position and kind: builders share strings.
        self.seen: dict[int, Any] = {}

    def follow(self, at: int, offset: int) -> int:
        """Where the reference at `at` leads to: a multiple of 4 with 4 bytes behind it."""
        target = at + offset
        if not offset or target + 4 > self.size or target & 3:
            raise MalformedBody(f"the offset at {at} leads nowhere")
        return target

    def table(self, layout: TableLayout, at: int, depth: int) -> Any:
        """The table at `at`, which `follow` has checked."""
        self.tables_left -= 1
        if depth > MAX_TABLE_DEPTH or self.tables_left < 0:
            raise MalformedBody(f"{layout.name}: too many tables, or too deep")
        body, size = self.body, self.size
        vtable = at - _i32(body, at)[0]
        if vtable < 0 or vtable & 1 or vtable + 4 > size:
            raise MalformedBody(f"{layout.name} at {at}: its vtable is not in the body")
        length = _u16(body, vtable)[0]
        if length < 4 or length & 1 or vtable + length > size:
            raise MalformedBody(f"{layout.name} at {at}: its vtable is cut off")
        shape = body[vtable:vtable + length]
        plan = layout.read_plans.get(shape)
        if plan is None:
            plan = layout.plan_reading(shape)
        if at + plan.span > size or (plan.residue >= 0 and (at + plan.residue) & 7):
            raise MalformedBody(f"{layout.name} at {at}: a field is misaligned or not in the body")
        values = plan.arrange(plan.unpack(body, at) + layout.defaults)
        if not plan.references:
            return layout.make(values)
        fields = list(values)
        for index, offset, kind, item in plan.references:
            here = at + offset
            if kind == STRING:
                fields[index] = self.text(self.follow(here, fields[index]))
            elif kind == BYTES:
                fields[index] = self.blob(self.follow(here, fields[index]))
            elif kind == STRUCT:
                fields[index] = item.make(item.packed.unpack_from(body, here))
            else:
                fields[index] = self.nested(kind, item, self.follow(here, fields[index]), depth)
        return layout.make(fields)

    def nested(self, kind: int, item: Any, at: int, depth: int) -> Any:
        """A table, or a vector of something that is not bytes."""
        if kind == TABLE:
            return self.table(item, at, depth + 1)
        if kind == TABLES:
            return tuple([self.table(item, target, depth + 1) for target in self.targets(at)])
        if kind == STRINGS:
            return tuple([self.text(target) for target in self.targets(at)])
        if kind == STRUCTS:
            return self.structs(item, at)
        if kind == U64S:
            return self.words(at)
        raise MalformedBody("a field of an unknown kind")

    def targets(self, at: int) -> list[int]:
        """Where the elements of a vector of references stand."""
        count = _u32(self.body, at)[0]
        if count > (self.size - at - 4) // 4:
            raise MalformedBody(f"the vector at {at} is cut off")
        offsets = struct.unpack_from(f"<{count}I", self.body, at + 4)
        follow = self.follow
        return [follow(at + 4 + 4 * index, offset) for index, offset in enumerate(offsets)]

    def spend(self, at: int, bytes_: int) -> None:
        """Counts what is copied out of the body."""
        self.bytes_left -= bytes_
        if self.bytes_left < 0:
            raise MalformedBody(f"what stands at {at} overlaps other parts of the body")

    def text(self, at: int) -> str:
        key = at << 1
        known: str | None = self.seen.get(key)
        if known is not None:
            return known
        length = _u32(self.body, at)[0]
        end = at + 4 + length
        if end >= self.size or self.body[end]:
            raise MalformedBody(f"the string at {at} is cut off")
        self.spend(at, length)
        text = str(self.body[at + 4:end], "utf-8", "replace")
        self.seen[key] = text
        return text

    def blob(self, at: int) -> bytes:
        key = at << 1 | 1
        known: bytes | None = self.seen.get(key)
        if known is not None:
            return known
        end = at + 4 + _u32(self.body, at)[0]
        if end > self.size:
            raise MalformedBody(f"the vector at {at} is cut off")
        self.spend(at, end - at)
        found = self.body[at + 4:end]
        self.seen[key] = found
        return found

    def elements(self, at: int, size: int, alignment: int) -> int:
        """How many elements a vector has, whose elements may be read."""
        count: int = _u32(self.body, at)[0]
        if count > (self.size - at - 4) // size:
            raise MalformedBody(f"the vector at {at} is cut off")
        if count and (at + 4) % alignment:
            raise MalformedBody(f"the elements of the vector at {at} are misaligned")
        self.spend(at, count * size)
        return count

    def words(self, at: int) -> tuple[int, ...]:
        count = self.elements(at, 8, 8)
        return struct.unpack_from(f"<{count}Q", self.body, at + 4)

    def structs(self, item: StructLayout, at: int) -> tuple[Any, ...]:
        size = item.packed.size
        count = self.elements(at, size, item.alignment)
        return tuple(map(item.make, item.packed.iter_unpack(self.body[at + 4:at + 4 + count * size])))
