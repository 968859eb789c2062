"""tests/vectors as Python objects, and bodies as the JSON that the vectors have."""
import json
import re

import xxhash
from conftest import ROOT

from zsched._wire import constants
from zsched._wire.layout import BYTES, STRUCT, STRUCTS, TABLE, TABLES
from zsched._wire.layouts import TABLES_OF

GOOD_FILES = ("sessions", "client", "worker")
# (type, whether the body may, or must, be empty) where the name of the table does not follow from the message's.
MAY_BE_EMPTY = {"DISCOVER", "HEARTBEAT", "DRAIN"}
TABLES_BY_NAME = {cls.__name__: cls for cls in TABLES_OF}
SCHEMA = re.sub(r"//.*", "", (ROOT / "schemas/wire.fbs").read_text(encoding="utf-8"))
# The enumeration of a field, by the name of its table or struct: {("Outcome", "state"): TaskState, …}.
ENUMS = {(table, field): getattr(constants, kind)
         for table, fields in re.findall(r"(?:table|struct) (\w+) \{([^}]*)\}", SCHEMA)
         for field, kind in re.findall(r"(\w+):(\w+)", fields) if hasattr(constants, kind)}


def load(root, name):
    return json.loads((root / "tests/vectors" / f"{name}.json").read_text(encoding="utf-8"))


def good(root):
    return [vector for name in GOOD_FILES for vector in load(root, name)]


def table_of(type_name):
    """The message class of a frame's type."""
    name = type_name.title().replace("_", "")
    return TABLES_BY_NAME[name] if type_name != "GOODBYE" else None


def xxh3(header, body):
    """As docs/protocol.md says it."""
    return xxhash.xxh3_64_intdigest(body, seed=xxhash.xxh3_64_intdigest(header))


def meaning(body):
    """JSON without empty vectors, which mean the same as absent ones."""
    if isinstance(body, dict):
        return {key: meaning(value) for key, value in body.items() if value != []}
    return [meaning(item) for item in body] if isinstance(body, list) else body


def json_name(value):
    return "k" + value.name.title().replace("_", "")


def to_json(message):
    """A message as the vectors have it: without what is at its default."""
    layout = TABLES_OF.get(type(message))
    found = {}
    for index, value in enumerate(message):
        name = message._fields[index].rstrip("_")
        if layout is None:  # a struct: all of its fields are there
            found[name] = json_value(message, name, None, value)
        elif value is not None and (layout.fields[index].required or value != layout.fields[index].default):
            found[name] = json_value(message, name, layout.fields[index].kind, value)
    return found


def json_value(message, name, kind, value):
    if kind in (TABLE, STRUCT):
        return to_json(value)
    if kind in (TABLES, STRUCTS):
        return [to_json(item) for item in value]
    if kind == BYTES:
        return list(value)
    if isinstance(value, tuple):
        return list(value)
    enumeration = ENUMS.get((type(message).__name__, name))
    return value if enumeration is None else json_name(enumeration(value))


def from_json(cls, body):
    """The message that a vector's JSON means."""
    layout = TABLES_OF.get(cls)
    values = {}
    for field_name in cls._fields:
        name = field_name.rstrip("_")
        if name not in body:
            continue
        field = layout.fields[cls._fields.index(field_name)] if layout else None
        value = body[name]
        if field is not None and field.kind in (TABLE, STRUCT):
            value = from_json(field.item, value)
        elif field is not None and field.kind in (TABLES, STRUCTS):
            value = [from_json(field.item, item) for item in value]
        elif field is not None and field.kind == BYTES:
            value = bytes(value)
        elif (cls.__name__, name) in ENUMS:
            value = next(item for item in ENUMS[cls.__name__, name] if json_name(item) == value)
        values[field_name] = value
    return cls(**values)


