#!/usr/bin/python3
"""Writes the modules of zsched/_wire that say what schemas/ says: schema.py, layouts.py and constants.py.

    client/python/tools/generate.py            writes them; needs flatc (flatbuffers-compiler)
    client/python/tools/generate.py --check    exit code 1 when they are not what would be written

The tables come from what flatc makes of schemas/wire.fbs (its binary schema), the numbers from schemas/errors.h, limits.h
and frame.h. They are committed, so that installing the package needs neither flatc nor the rest of the tree; a
test runs --check.
"""
import keyword
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
SCHEMAS = ROOT / "schemas"
WIRE = ROOT / "client/python/src/zsched/_wire"

# BaseType of reflection.fbs: name in zsched._wire.layout, format of struct, annotation.
SCALARS = {2: ("BOOL", "?", "bool"), 3: ("I8", "b", "int"), 4: ("U8", "B", "int"), 5: ("I16", "h", "int"),
           6: ("U16", "H", "int"), 7: ("I32", "i", "int"), 8: ("U32", "I", "int"), 9: ("I64", "q", "int"),
           10: ("U64", "Q", "int")}
STRING, VECTOR, OBJECT = 13, 14, 15


class Table:
    """A table of a trusted FlatBuffer: what flatc has just written."""

    def __init__(self, data, position):
        self.data, self.position = data, position
        self.vtable = position - struct.unpack_from("<i", data, position)[0]
        self.slots = struct.unpack_from("<H", data, self.vtable)[0] // 2 - 2

    def _at(self, slot):
        offset = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * slot)[0] if slot < self.slots else 0
        return self.position + offset if offset else None

    def scalar(self, slot, form, default=0):
        at = self._at(slot)
        return default if at is None else struct.unpack_from("<" + form, self.data, at)[0]

    def _follow(self, at):
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, slot):
        return Table(self.data, self._follow(self._at(slot)))

    def text(self, slot):
        at = self._follow(self._at(slot))
        size = struct.unpack_from("<I", self.data, at)[0]
        return self.data[at + 4:at + 4 + size].decode()

    def tables(self, slot):
        at = self._at(slot)
        if at is None:
            return []
        at = self._follow(at)
        count = struct.unpack_from("<I", self.data, at)[0]
        return [Table(self.data, self._follow(at + 4 + 4 * i)) for i in range(count)]


class Field:
    """A field as reflection.fbs has it."""

    def __init__(self, table):
        name = table.text(0)
        # Words of Python, and what a tuple has already.
        self.name = name + "_" if keyword.iskeyword(name) or hasattr(tuple, name) else name
        kind = table.table(1)
        self.base, self.element = kind.scalar(0, "B"), kind.scalar(1, "B")
        self.index = kind.scalar(2, "i", -1)
        self.id, self.offset = table.scalar(2, "H"), table.scalar(3, "H")
        self.default = table.scalar(4, "q")
        self.required, self.optional = table.scalar(7, "?"), table.scalar(11, "?")


class Object:
    """A table or a struct."""

    def __init__(self, table):
        self.name = table.text(0).removeprefix("zsched.wire.")
        self.fields = sorted((Field(field) for field in table.tables(1)), key=lambda field: field.id)
        self.is_struct = table.scalar(2, "?")
        self.alignment, self.size = table.scalar(3, "i"), table.scalar(4, "i")


def read_schema():
    """(tables and structs by their index, enums as {name: [(name, value)]})"""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["flatc", "--binary", "--schema", "-o", directory, str(SCHEMAS / "wire.fbs")], check=True)
        data = (pathlib.Path(directory) / "wire.bfbs").read_bytes()
    schema = Table(data, struct.unpack_from("<I", data)[0])
    objects = [Object(table) for table in schema.tables(0)]
    enums = {table.text(0).removeprefix("zsched.wire."):
             [(value.text(0), value.scalar(1, "q")) for value in table.tables(1)] for table in schema.tables(1)}
    return objects, enums


def struct_format(item):
    """The format of struct for a struct, with its padding."""
    form, at = "<", 0
    for field in item.fields:
        form += "x" * (field.offset - at) + SCALARS[field.base][1]
        at = field.offset + struct.calcsize("<" + SCALARS[field.base][1])
    return form + "x" * (item.size - at)


def describe(field, objects):
    """(annotation, default, arguments of layout.Field) of a table's field."""
    required = ", required=True" if field.required else ""
    if field.base in SCALARS:
        name, _, annotation = SCALARS[field.base]
        if field.optional:
            return annotation + " | None", "None", f'"{field.name}", {name}, None'
        default = bool(field.default) if name == "BOOL" else field.default
        return annotation, repr(default), f'"{field.name}", {name}, {default!r}'
    if field.base == STRING:
        default = '""' if field.required else "None"
        return "str" if field.required else "str | None", default, f'"{field.name}", STRING, {default}{required}'
    if field.base == OBJECT:
        item = objects[field.index]
        kind = "STRUCT" if item.is_struct else "TABLE"
        # A table that is required has no neutral value: reading never leaves None there.
        return f"{item.name} | None", "None", f'"{field.name}", {kind}, None, wire.{item.name}{required}'
    if field.base != VECTOR:
        raise SystemExit(f"generate.py: the kind of field {field.name} is not known here")
    if field.element == 4:
        return "bytes | None", "None", f'"{field.name}", BYTES, None{required}'
    if field.element in SCALARS:
        name, _, annotation = SCALARS[field.element]
        return f"Sequence[{annotation}]", "()", f'"{field.name}", {name}S, (){required}'
    if field.element == STRING:
        return "Sequence[str]", "()", f'"{field.name}", STRINGS, (){required}'
    item = objects[field.index]
    kind = "STRUCTS" if item.is_struct else "TABLES"
    return f"Sequence[{item.name}]", "()", f'"{field.name}", {kind}, (), wire.{item.name}{required}'


def schema_module():
    objects, _ = read_schema()
    lines = ['"""The messages of schemas/wire.fbs as plain tuples. None is an absent field.', "",
             "Written by client/python/tools/generate.py; a test compares.", '"""', "from __future__ import annotations", "",
             "from collections.abc import Sequence", "from typing import NamedTuple"]
    for item in objects:
        lines += ["", f"class {item.name}(NamedTuple):"]
        if item.is_struct:
            lines += [f"    {field.name}: {SCALARS[field.base][2]} = 0" for field in item.fields]
        for field in item.fields if not item.is_struct else []:
            annotation, default, _ = describe(field, objects)
            lines.append(f"    {field.name}: {annotation} = {default}")
        if not item.fields:
            lines.append("    pass")
    return "\n".join(lines) + "\n"


def layouts_module():
    objects, _ = read_schema()
    lines = ['"""How the messages of schemas/wire.fbs lie in a FlatBuffer: their fields in the order of the schema.', "",
             "Written by client/python/tools/generate.py; a test compares.", '"""', "from zsched._wire import schema as wire",
             "from zsched._wire.layout import (BOOL, BYTES, I64, STRING, STRINGS, STRUCT, STRUCTS, STRUCTS_OF, TABLE, TABLES, "
             "TABLES_OF,", "                                 U8, U16, U32, U64, U64S, Field, define_struct, define_table)", "",
             '__all__ = ["STRUCTS_OF", "TABLES_OF"]', ""]
    for item in objects:
        if item.is_struct:
            lines.append(f'define_struct(wire.{item.name}, "{struct_format(item)}", {item.alignment})')
    for item in objects:
        if not item.is_struct:
            fields = "".join(f"Field({describe(field, objects)[2]}),\n" for field in item.fields).split("\n")[:-1]
            lines += wrap(f"define_table(wire.{item.name}, (", fields, "))")
    return "\n".join(lines) + "\n"


def wrap(begin, parts, end, width=120):
    """One call over as many lines as it needs."""
    lines = [begin]
    for part in parts:
        if len(lines[-1]) + len(part) + 1 > width:
            lines.append("    " + part)
        else:
            lines[-1] += part if lines[-1] == begin else " " + part
    lines[-1] += end
    return lines


def snake(name):
    """kReadyToRun → ready_to_run"""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removeprefix("k")).lower()


def strip_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def error_lines():
    text = (SCHEMAS / "errors.h").read_text(encoding="utf-8")
    rows = re.findall(r"X\((k\w+),\s*(\d+), \"(\w+)\",\s*(true|false),", text)
    attempt = re.search(r"kAttemptErrors =(.*?);", text, re.DOTALL)[1]
    by_name = {name: code for name, _, code, _ in rows}
    lines = ["", "", "class ErrorCode(enum.IntEnum):",
             '    """Every code that a frame, an exception or a task can carry: docs/errors.md."""', ""]
    lines += [f"    {code} = {number}" for _, number, code, _ in rows]
    lines += ["", "", "# The same request may succeed later.", "RETRYABLE = frozenset(("]
    lines += [f"    ErrorCode.{code}," for _, _, code, retryable in rows if retryable == "true"]
    lines += ["))", "# What an attempt at a task can end with, and a type's rule may name.", "ATTEMPT_ERRORS = frozenset(("]
    lines += [f"    ErrorCode.{by_name[name]}," for name in re.findall(r"ErrorCode::(k\w+)", attempt)]
    return lines + ["))"]


def message_lines():
    text = (SCHEMAS / "frame.h").read_text(encoding="utf-8")
    body = strip_comments(re.search(r"enum class MessageType : uint8_t \{(.*?)\};", text, re.DOTALL)[1])
    observers = re.search(r"constexpr bool IsObservers.*?\n\}", text, re.DOTALL)[0]
    # What brokers say to each other is no business of a client.
    types = [(snake(name).upper(), int(number)) for name, number in re.findall(r"(k\w+) = (\d+)", body) if int(number) < 80]
    lines = ["", "", "class MessageType(enum.IntEnum):", '    """What a frame is: docs/protocol.md, section 3."""', ""]
    lines += [f"    {name} = {number}" for name, number in types]
    lines += ["", "", "# What a client may send that only observes.", "OBSERVERS = frozenset(("]
    lines += [f"    MessageType.{snake(name).upper()}," for name in re.findall(r"case MessageType::(k\w+)", observers)]
    return lines + ["))"]


def enum_lines():
    _, enums = read_schema()
    lines = []
    for name, values in enums.items():
        lines += ["", "", f"class {name}(enum.IntEnum):", f'    """{name} of schemas/wire.fbs."""', ""]
        lines += [f"    {snake(value).upper()} = {number}" for value, number in values]
    return lines


def limit_lines():
    text = strip_comments((SCHEMAS / "limits.h").read_text(encoding="utf-8"))
    names, lines = {}, ["", ""]
    for name, value in re.findall(r"inline constexpr [\w ]+ (k\w+)(?:\[\])? =\s*(.*?);", text, re.DOTALL):
        value = " ".join(value.replace("'", "").replace("uint64_t{10}", "10").replace("uint64_t{366}", "366").split())
        constant = snake(name).upper()
        names[name] = constant
        value = re.sub(r"k[A-Z]\w+", lambda match: names[match[0]], value)
        lines.append(f"{constant} = {value}")
    return lines


def constants_module():
    lines = ['"""The numbers that all processes share: codes of errors, types of messages, enumerations, limits.', "",
             "Written by client/python/tools/generate.py from schemas/errors.h, frame.h, wire.fbs and limits.h, where each has",
             'its reason; a test compares.', '"""', "import enum"]
    return "\n".join(lines + error_lines() + message_lines() + enum_lines() + limit_lines()) + "\n"


def main(arguments):
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__, file=sys.stderr)
        return 2
    differs = False
    for name, make in (("schema.py", schema_module), ("layouts.py", layouts_module), ("constants.py", constants_module)):
        path, text = WIRE / name, make()
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            print(f"{path.relative_to(ROOT)} is not what schemas/ says; run client/python/tools/generate.py")
            differs = True
        elif not check:
            path.write_text(text, encoding="utf-8")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
