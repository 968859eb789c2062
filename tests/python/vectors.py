"""tests/vectors as Python objects, and bodies as the JSON that the vectors have."""
import json
import pathlib

import xxhash

from zsched._wire.constants import (AttemptEnd, ClusterAction, DeadView, Delivery, Durability, MessageType, OutputStream, Overlap,
                                    QueueGate, RetryAdvice, Role, TaskState, WaitReason)
from zsched._wire.layout import BYTES, STRUCT, STRUCTS, TABLE, TABLES
from zsched._wire.layouts import TABLES_OF

GOOD_FILES = ("sessions", "client", "worker")
# (type, whether the body may, or must, be empty) where the name of the table does not follow from the message's.
MAY_BE_EMPTY = {"DISCOVER", "HEARTBEAT", "DRAIN"}
TABLES_BY_NAME = {cls.__name__: cls for cls in TABLES_OF}
ENUMS = {"state": TaskState, "role": Role, "durability": Durability, "delivery": Delivery,
         "overlap": Overlap, "gate": QueueGate, "reason": WaitReason, "end": AttemptEnd,
         "stream": OutputStream, "view": DeadView, "action": ClusterAction, "advice": RetryAdvice}


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
            found[name] = json_value(name, None, value)
        elif value is not None and (layout.fields[index].required or value != layout.fields[index].default):
            found[name] = json_value(name, layout.fields[index].kind, value)
    return found


def json_value(name, kind, value):
    if kind in (TABLE, STRUCT):
        return to_json(value)
    if kind in (TABLES, STRUCTS):
        return [to_json(item) for item in value]
    if kind == BYTES:
        return list(value)
    if isinstance(value, tuple):
        return list(value)
    if name in ENUMS and type(value) is int:
        return json_name(ENUMS[name](value))
    return value


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
        elif isinstance(value, str) and name in ENUMS and value.startswith("k"):
            value = next(item for item in ENUMS[name] if json_name(item) == value)
        values[field_name] = value
    return cls(**values)


