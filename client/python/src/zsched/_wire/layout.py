"""How messages lie in a FlatBuffer: what the schema says of each table and struct, and the plans made of it.

A FlatBuffer's table has a vtable that says where each field stands. Builders make few different vtables, so what one means
is worked out once, as a plan: one struct.Struct that takes all scalars and offsets at a time, and a list of the fields
that have to be followed. A reader finds the plan by the vtable's bytes, a writer by which fields are there.

Threads: any. A plan that two threads make at the same time is the same plan.
"""
from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

# Kinds of fields: what stands in the table.
BOOL, I8, U8, I16, U16, I32, U32, I64, U64 = range(9)
# These are references, to what stands behind the table; a STRUCT stands in it.
STRING, BYTES, TABLE, STRUCT = range(9, 13)
TABLES, STRINGS, STRUCTS, U64S = range(13, 17)

FORMATS = "?bBhHiIqQ"
_SIZES = (1, 1, 1, 2, 2, 4, 4, 8, 8)

# Plans kept for one table. A peer that makes up new vtables all the time costs time, not memory.
MAX_PLANS = 256


class MalformedBody(Exception):
    """A body is not the FlatBuffer that it should be. Says where."""


class Field(NamedTuple):
    """One field of a table, in the order of the schema. `item` is the class of a table or struct."""

    name: str
    kind: int
    default: Any
    item: Any = None
    required: bool = False


class StructLayout(NamedTuple):
    """A struct: a few scalars that always stand together."""

    make: Callable[[Any], Any]
    packed: struct.Struct
    alignment: int


class ReadPlan(NamedTuple):
    """What one vtable means."""

    unpack: Callable[..., tuple[Any, ...]]
    # Into the order of the schema: the values found, then the defaults of all fields.
    arrange: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    span: int  # bytes of the table that are looked at
    residue: int  # the table's position + residue is a multiple of 8; -1: wherever it stands
    # (field, its offset in the table, kind, layout of the item)
    references: tuple[tuple[int, int, int, Any], ...]


class WritePlan(NamedTuple):
    """Where a table with these fields has them. It stands 4 behind a multiple of 8 when `wide`."""

    vtable: bytes
    pack: Callable[..., bytes]
    wide: bool
    scalars: tuple[int, ...]  # fields in the order of `pack`, behind the vtable's offset; references are packed as 0
    structs: tuple[tuple[int, int, Any], ...]
    references: tuple[tuple[int, int, int, Any], ...]  # as in ReadPlan


class TableLayout:
    """A table and the plans made of it."""

    __slots__ = ("name", "make", "fields", "defaults", "read_plans", "write_plans")

    def __init__(self, cls: Any, fields: tuple[Field, ...]) -> None:
        self.name: str = cls.__name__
        self.make: Callable[[Any], Any] = cls._make
        self.fields = fields
        self.defaults = tuple(field.default for field in fields)
        self.read_plans: dict[bytes, ReadPlan] = {}
        self.write_plans: dict[int, WritePlan] = {}

    def plan_reading(self, vtable: bytes) -> ReadPlan:
        """Works out what a vtable means. MalformedBody when fields overlap, or stand where they must not."""
        count = min(len(vtable) // 2 - 2, len(self.fields))
        offsets = struct.unpack_from(f"<{count}H", vtable, 4)
        found = sorted((offset, index) for index, offset in enumerate(offsets) if offset)
        form, at, residue = ["<4x"], 4, -1
        taken: list[int] = []
        references: list[tuple[int, int, int, Any]] = []
        for offset, index in found:
            field = self.fields[index]
            form_here, size, alignment = _inline(field)
            if offset < at:
                raise MalformedBody(f"{self.name}.{field.name} overlaps what stands before it")
            if alignment == 8:
                if residue not in (-1, offset % 8):
                    raise MalformedBody(f"{self.name}.{field.name} is misaligned")
                residue = offset % 8
            elif offset % alignment:
                raise MalformedBody(f"{self.name}.{field.name} is misaligned")
            form.append("x" * (offset - at) + (form_here or "x" * size))
            at = offset + size
            if form_here:
                taken.append(index)
            if field.kind >= STRING:
                references.append((index, offset, field.kind, _layout_of(field)))
        for index, field in enumerate(self.fields):
            if field.required and index not in [i for _, i in found]:
                raise MalformedBody(f"{self.name}.{field.name} is required")
        where = {index: place for place, index in enumerate(taken)}
        order = [where.get(index, len(taken) + index) for index in range(len(self.fields))]
        plan = ReadPlan(struct.Struct("".join(form)).unpack_from, _arrange(order), at, residue,
                        tuple(references))
        if len(self.read_plans) < MAX_PLANS:
            self.read_plans[vtable] = plan
        return plan

    def plan_writing(self, mask: int) -> WritePlan:
        """Places the fields whose bits are set: the widest first, so that nothing has to be padded."""
        present = [index for index in range(len(self.fields)) if mask >> index & 1]
        placed = sorted(present, key=lambda index: (-_inline(self.fields[index])[2], -_inline(self.fields[index])[1]))
        form, at = ["<i"], 4
        scalars: list[int] = []
        structs: list[tuple[int, int, Any]] = []
        references: list[tuple[int, int, int, Any]] = []
        offsets = [0] * (present[-1] + 1 if present else 0)
        for index in placed:
            field = self.fields[index]
            form_here, size, _ = _inline(field)
            offsets[index] = at
            if field.kind == STRUCT:
                structs.append((index, at, STRUCTS_OF[field.item]))
                form_here = f"{size}x"
            else:
                scalars.append(index)
            if field.kind >= STRING and field.kind != STRUCT:
                references.append((index, at, field.kind, _layout_of(field)))
            form.append(form_here)
            at += size
        vtable = struct.pack(f"<{len(offsets) + 2}H", 4 + 2 * len(offsets), at, *offsets)
        wide = any(_inline(self.fields[index])[2] == 8 for index in present)
        plan = WritePlan(vtable, struct.Struct("".join(form)).pack, wide, tuple(scalars), tuple(structs),
                         tuple(references))
        self.write_plans[mask] = plan
        return plan


def _inline(field: Field) -> tuple[str, int, int]:
    """(format, size, alignment) of what stands in the table. A struct is read through its reference."""
    if field.kind < STRING:
        size = _SIZES[field.kind]
        return FORMATS[field.kind], size, size
    if field.kind == STRUCT:
        layout = STRUCTS_OF[field.item]
        return "", layout.packed.size, layout.alignment
    return "I", 4, 4


def _layout_of(field: Field) -> Any:
    if field.kind in (STRUCT, STRUCTS):
        return STRUCTS_OF[field.item]
    return TABLES_OF[field.item] if field.item is not None else None


def _arrange(order: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: tuple(values[index] for index in order)


STRUCTS_OF: dict[Any, StructLayout] = {}
TABLES_OF: dict[Any, TableLayout] = {}


def define_struct(cls: Any, form: str, alignment: int) -> None:
    """Says how a struct lies in memory. Of the schema module."""
    STRUCTS_OF[cls] = StructLayout(cls._make, struct.Struct(form), alignment)


def define_table(cls: Any, fields: tuple[Field, ...]) -> None:
    """Says which fields a table has. Of the schema module."""
    TABLES_OF[cls] = TableLayout(cls, fields)
