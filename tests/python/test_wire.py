"""The reader believes nothing, the writer keeps the rules of alignment, and both are what schemas/ says."""
import random
import struct
import subprocess
import sys

import pytest
import vectors
from conftest import ROOT

from zsched._wire import schema as wire
from zsched._wire.constants import MAX_TABLE_DEPTH
from zsched._wire.layout import MAX_PLANS, MalformedBody
from zsched._wire.layouts import TABLES_OF
from zsched._wire.reader import read, read_optional
from zsched._wire.writer import write

BODIES = [(vectors.TABLES_BY_NAME[vector["table"]], bytes.fromhex(vector["hex"])[40:])
          for vector in vectors.good(ROOT) if vector["table"]]
MUTATIONS = 20_000


def test_the_modules_are_what_schemas_says():
    subprocess.run([sys.executable, ROOT / "client/python/tools/generate.py", "--check"], check=True)


def mutate(body, chance):
    """The body with a few bytes changed, cut, or replaced by words that lead elsewhere."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        kind = chance.randrange(4)
        at = chance.randrange(len(data)) if data else 0
        if kind == 0 and data:
            data[at] = chance.randrange(256)
        elif kind == 1 and len(data) >= 4:
            at = at & ~3
            word = chance.choice((0, 1, 4, 0xFFFFFFFF, 0x7FFFFFFF, len(data), chance.randrange(2 * len(data))))
            data[at:at + 4] = struct.pack("<I", word)[:len(data) - at]
        elif kind == 2:
            del data[at:]
        elif kind == 3 and data:
            data[at:at] = bytes(chance.randrange(1, 9))
    return bytes(data)


def test_mutated_bodies_are_read_or_refused_and_nothing_else():
    chance = random.Random(20261122)
    refused = 0
    for _ in range(MUTATIONS):
        message, body = chance.choice(BODIES)
        try:
            read(message, mutate(body, chance))
        except MalformedBody:
            refused += 1
    # Both happen often, so neither the mutations nor the reader are blind.
    assert MUTATIONS // 10 < refused < MUTATIONS * 9 // 10


def test_every_cut_of_every_body_is_read_or_refused():
    for message, body in BODIES:
        for size in range(0, len(body), 3):
            try:
                read(message, body[:size])
            except MalformedBody:
                pass


def test_plans_of_made_up_vtables_do_not_pile_up():
    body = write(wire.Status(request=7))
    for size in range(4, 2 * MAX_PLANS, 2):
        vtable = struct.pack(f"<{size // 2}H", size, 4, *[0] * (size // 2 - 2))
        table = struct.pack("<i", len(vtable))
        start = 4 + -len(vtable) % 4 + len(vtable)
        read(wire.Status, struct.pack("<I", start) + b"\0" * (-len(vtable) % 4) + vtable + table + b"\0" * 8)
    assert len(TABLES_OF[wire.Status].read_plans) <= MAX_PLANS
    assert read(wire.Status, body).request == 7


def chain(depth):
    task = wire.TaskSpec(type="x")
    for _ in range(depth - 1):
        task = wire.TaskSpec(type="x", on_success=[task])
    return wire.Submit(seq=1, tasks=[task])


def test_depth_is_bounded():
    read(wire.Submit, write(chain(MAX_TABLE_DEPTH - 1)))
    with pytest.raises(MalformedBody, match="too deep"):
        read(wire.Submit, write(chain(MAX_TABLE_DEPTH)))


def test_a_table_that_is_named_again_and_again_is_refused():
    body = bytearray(write(wire.WorkerInfos(request=1, workers=[wire.WorkerInfo(name="w")] * 5000)))
    reached = read(wire.WorkerInfos, bytes(body))
    assert len(reached.workers) == 5000
    # All elements lead to one table: few bytes, much work.
    count = 4000
    one = bytearray(write(wire.WorkerInfos(request=1, workers=[wire.WorkerInfo(name="w")])))
    vector = one.index(struct.pack("<I", 1), 24)
    grown = one[:vector] + struct.pack("<I", count) + bytes(4 * count) + one[vector + 8:]
    target = vector + 4 + struct.unpack_from("<I", one, vector + 4)[0] + 4 * (count - 1)
    for index in range(count):
        struct.pack_into("<I", grown, vector + 4 + 4 * index, target - (vector + 4 + 4 * index))
    assert len(read(wire.WorkerInfos, bytes(grown)).workers) == count
    # The string is copied once, whoever names it.
    names = {id(worker.name) for worker in read(wire.WorkerInfos, bytes(grown)).workers}
    assert len(names) == 1


def test_strings_that_overlap_are_refused():
    """Each begins 4 bytes after the last and ends at the end: a quadratic amount of text in few bytes."""
    count, size = 256, 4096
    message = wire.WorkerInfos(workers=[wire.WorkerInfo(queues=["x" * size] + ["y"] * (count - 1))])
    body = bytearray(write(message))
    text = body.index(b"x" * size) - 4
    end = text + 4 + size
    vector = next(at for at in range(0, text, 4) if struct.unpack_from("<I", body, at)[0] == count)
    for index in range(count):
        start = text + 4 * index
        struct.pack_into("<I", body, start, end - start - 4)
        struct.pack_into("<I", body, vector + 4 + 4 * index, start - (vector + 4 + 4 * index))
    with pytest.raises(MalformedBody, match="overlaps"):
        read(wire.WorkerInfos, bytes(body))


def reference_to(body, target):
    """Where the word stands that leads to `target`."""
    return next(at for at in range(0, target, 4) if at + struct.unpack_from("<I", body, at)[0] == target)


@pytest.mark.parametrize("beyond, right", [(0, True), (1, False), (2, False), (3, False), (56, True), (57, False), (60, False),
                                           (64, False), (0x7FFFFF00, False), (0xFFFFF000, False)])
def test_references_lead_to_where_something_may_stand(beyond, right):
    """Behind the body there are 64 bytes of zeros: an empty string anywhere, as far as it ends with NUL inside."""
    body = bytearray(write(wire.Error(code=1, message="abcdefg")))
    reference = reference_to(body, body.index(b"abcdefg") - 4)
    body += bytes(-len(body) % 4)
    struct.pack_into("<I", body, reference, min(len(body) - reference + beyond, 0xFFFFFFFF))
    body += bytes(64)
    if right:
        assert read(wire.Error, bytes(body)).message == ""
    else:
        with pytest.raises(MalformedBody):
            read(wire.Error, bytes(body))


def test_a_reference_does_not_lead_to_itself():
    """It would read as an empty vector."""
    body = bytearray(write(wire.Wait(request=1, ids=[5])))
    vector = next(at for at in range(8, len(body), 4) if struct.unpack_from("<IQ", body, at) == (1, 5))
    struct.pack_into("<I", body, reference_to(body, vector), 0)
    with pytest.raises(MalformedBody, match="nowhere"):
        read(wire.Wait, bytes(body))


def test_text_that_is_no_utf8_is_still_read():
    body = bytearray(write(wire.Error(code=1, message="abc")))
    at = body.index(b"abc")
    body[at] = 0xFF
    assert read(wire.Error, bytes(body)).message == "\ufffdbc"


def test_a_string_ends_with_nul():
    body = bytearray(write(wire.Error(code=1, message="abc")))
    body[body.index(b"abc\0") + 3] = 1
    with pytest.raises(MalformedBody, match="string"):
        read(wire.Error, bytes(body))


def test_a_required_field_must_be_there():
    body = bytearray(write(wire.Wait(request=1, ids=[5])))
    at = struct.unpack_from("<I", body)[0]
    vtable = at - struct.unpack_from("<i", body, at)[0]
    struct.pack_into("<H", body, vtable + 6, 0)
    with pytest.raises(MalformedBody, match="required"):
        read(wire.Wait, bytes(body))


def test_an_empty_body_is_a_message_of_defaults():
    assert read_optional(wire.HeartbeatAck, b"") == wire.HeartbeatAck()
    with pytest.raises(MalformedBody):
        read(wire.HeartbeatAck, b"")


def is_refused_when_moved(body, shift):
    """What stands where it must from the body's start does not, moved by `shift`."""
    moved = bytearray(b"\0" * shift + body)
    struct.pack_into("<I", moved, 0, struct.unpack_from("<I", body)[0] + shift)
    try:
        read(wire.Wait, bytes(moved))
    except MalformedBody:
        return True
    return False


@pytest.mark.parametrize("count", range(1, 6))
def test_words_stand_at_multiples_of_8(count):
    body = write(wire.Wait(request=1, ids=list(range(count))))
    assert is_refused_when_moved(body, 4) and not is_refused_when_moved(body, 8)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(struct.error):
        write(wire.Get(request=1 << 64, ids=[1]))
    with pytest.raises(struct.error):
        write(wire.Credit(tasks=-1))
