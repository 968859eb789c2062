"""tests/vectors: Python reads every frame to the meaning beside it, refuses the malformed ones with their code, and writes
what C++ reads to the same meaning (by flatc, which is not ours)."""
import json
import subprocess
import zlib

import pytest
import vectors
from conftest import ROOT

from zsched._frame import FLAG_CRC32, open_frame, seal
from zsched._wire.constants import MessageType
from zsched._wire.layout import MalformedBody
from zsched._wire.reader import read
from zsched._wire.writer import write
from zsched.errors import MalformedFrame

GOOD = vectors.good(ROOT)
MALFORMED = vectors.load(ROOT, "malformed")


def names(items):
    return [item["name"] for item in items]


def read_frame(data):
    """All that a receiver checks before the fields of a frame have a meaning: (frame, message or None), or the code."""
    try:
        frame = open_frame(data, vectors.xxh3)
    except MalformedFrame as error:
        return error.code.name
    try:
        name = MessageType(frame.type).name
    except ValueError:
        return "UNKNOWN_MESSAGE"
    if not frame.body and (name == "GOODBYE" or name in vectors.MAY_BE_EMPTY):
        return frame, None
    if name == "GOODBYE":
        return "MALFORMED"
    try:
        return frame, read(vectors.table_of(name), frame.body)
    except MalformedBody:
        return "MALFORMED"


@pytest.mark.parametrize("vector", GOOD, ids=names(GOOD))
def test_every_frame_has_its_meaning(vector):
    data = bytes.fromhex(vector["hex"])
    frame, message = read_frame(data)
    assert MessageType(frame.type).name == vector["type"]
    assert (data[6] & FLAG_CRC32 == FLAG_CRC32) == (vector["checksum"] == "crc32")
    assert (frame.epoch, frame.session, frame.number) == (vector["epoch"], vector["session"], vector["number"])
    if message is None:
        assert vector["table"] is None and not frame.body
    else:
        assert type(message).__name__ == vector["table"]
        assert vectors.meaning(vectors.to_json(message)) == vectors.meaning(vector["body"])


@pytest.mark.parametrize("vector", [v for v in GOOD if v["table"]], ids=names([v for v in GOOD if v["table"]]))
def test_what_is_written_is_read_back_with_its_meaning(vector):
    message = vectors.from_json(vectors.TABLES_BY_NAME[vector["table"]], vector["body"])
    body = write(message)
    assert vectors.meaning(vectors.to_json(read(type(message), body))) == vectors.meaning(vector["body"])
    data = seal(MessageType[vector["type"]], body, number=vector["number"], epoch=vector["epoch"],
                session=vector["session"])
    assert open_frame(data).body == body
    assert int.from_bytes(data[32:40], "little") == zlib.crc32(body, zlib.crc32(data[:32]))


def test_flatc_reads_what_is_written(tmp_path):
    """One run of flatc a table; it does not know of our reader."""
    for table in sorted({vector["table"] for vector in GOOD if vector["table"]}):
        # flatc does not take a root type on the command line that is not in a schema file of its own.
        schema = tmp_path / f"{table}.fbs"
        schema.write_text(f'include "wire.fbs"; root_type zsched.wire.{table};', encoding="utf-8")
        bodies = [vector["body"] for vector in GOOD if vector["table"] == table]
        files = []
        for index, body in enumerate(bodies):
            files.append(tmp_path / f"{table}-{index}.bin")
            files[-1].write_bytes(write(vectors.from_json(vectors.TABLES_BY_NAME[table], body)))
        subprocess.run(["flatc", "--json", "--strict-json", "--raw-binary", "-I", ROOT / "schemas", "-o", tmp_path, schema,
                        "--", *files], check=True)
        for file, body in zip(files, bodies):
            found = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            assert vectors.meaning(found) == vectors.meaning(body), table


@pytest.mark.parametrize("vector", MALFORMED, ids=names(MALFORMED))
def test_malformed_frames_are_refused_with_their_code(vector):
    assert read_frame(bytes.fromhex(vector["hex"])) == vector["error"]


def test_every_message_is_there():
    assert {vector["type"] for vector in GOOD} == {message.name for message in MessageType}
