"""Values of callers to the wire and back, and what is wrong with them is said with the field's name."""
import doctest
import json
import pickle
import random
import subprocess
import typing
from dataclasses import fields
from datetime import datetime, timedelta, timezone

import pytest
from conftest import ROOT

import zsched
from zsched import _convert as convert
from zsched import _operations as operations
from zsched import errors, options, serialization, types
from zsched._version import VERSION
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_LABELS, ErrorCode
from zsched._wire.reader import read
from zsched._tasks import _prefixes, encode_task, submit_body
from zsched.types import Delivery, Durability, Outcome, TaskId, TaskSpec, TaskState

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
FULL = TaskSpec("mail", b"\0\x01\xff", queue="outbox", content_type="a/b", priority=9, delay=5, max_attempts=3,
                timeout=timedelta(minutes=1), retry_base=0.1, retry_cap=10, key="k", labels={"customer": "42", "empty": ""},
                concurrency_key="c", fairness_key="f", correlation_id="id", traceparent="t" * 55,
                delivery=Delivery.AT_MOST_ONCE, durability=Durability.DISK, start_within=60,
                on_success=[TaskSpec("next", "text", on_complete=[TaskSpec("last", pass_result=True)])],
                on_failure=[TaskSpec("sorry", start_within=1)])


def through_a_frame(specs):
    """The tasks as the other side reads them."""
    body = submit_body([encode_task(spec) for spec in specs], seq=3, acked_below=2)
    submit = read(wire.Submit, body)
    assert (submit.seq, submit.acked_below, submit.notify) == (3, 2, False)
    return list(submit.tasks)


def test_a_task_with_everything_comes_through():
    [task] = through_a_frame([FULL])
    assert task == convert.task_to_wire(FULL)
    back = convert.task_of(task)
    assert back.on_success[0].payload == b"text" and back.on_success[0].on_complete[0].pass_result
    for name in ("type", "queue", "payload", "priority", "key", "labels", "delivery", "durability", "max_attempts"):
        assert getattr(back, name) == getattr(FULL, name)
    assert (back.delay, back.timeout, back.retry_base, back.start_within) == (5.0, 60.0, 0.1, 60.0)


def test_frames_of_many_shapes_come_through():
    chance = random.Random(7)
    specs = []
    for index in range(500):
        specs.append(TaskSpec(
            "t" * chance.randint(1, 20), chance.randbytes(chance.choice((0, 0, 1, 3, 4, 5, 7, 8, 100))),
            queue=chance.choice(("default", "q", "queue-two")), priority=chance.choice((5, 0, 9)),
            delay=chance.choice((None, 5)), labels=chance.choice((None, {"a": str(index)})),
            key=chance.choice((None, f"key-{index}")), run_at=None, timeout=chance.choice((None, 3)),
            durability=chance.choice((Durability.REPLICATED, Durability.MEMORY))))
    for part in (specs[:1], specs[:2], specs[:3], specs):
        assert through_a_frame(part) == [convert.task_to_wire(spec) for spec in part]


def test_flatc_reads_the_frames(tmp_path):
    """The independent reader; a fast path that makes valid bytes only for ourselves would be of no use."""
    specs = [FULL, TaskSpec("noop"), TaskSpec("echo", "hello", run_at=NOON)]
    body = submit_body([encode_task(spec) for spec in specs], seq=1, acked_below=1)
    (tmp_path / "submit.bin").write_bytes(body)
    (tmp_path / "submit.fbs").write_text('include "wire.fbs"; root_type zsched.wire.Submit;', encoding="utf-8")
    subprocess.run(["flatc", "--json", "--strict-json", "--raw-binary", "-I", ROOT / "schemas", "-o", tmp_path,
                    tmp_path / "submit.fbs", "--", tmp_path / "submit.bin"], check=True)
    tasks = json.loads((tmp_path / "submit.json").read_text(encoding="utf-8"))["tasks"]
    assert [task["type"] for task in tasks] == ["mail", "noop", "echo"]
    assert tasks[0]["labels"] == [{"key": "customer", "value": "42"}, {"key": "empty", "value": ""}]
    assert tasks[0]["on_success"][0]["on_complete"][0] == {"type": "last", "pass_result": True}
    assert tasks[2]["payload"] == list(b"hello") and tasks[2]["run_at_ms"] == int(NOON.timestamp() * 1000)


def test_what_is_kept_of_earlier_tasks_is_bounded_and_right():
    for index in range(3000):
        spec = TaskSpec("t", b"x", key=f"k{index}")
        [task] = through_a_frame([spec])
        assert task.key == f"k{index}"
    assert len(_prefixes) <= 1024


def test_payloads_are_bytes_text_or_json():
    assert (TaskSpec("t", "grüß").payload, TaskSpec("t", "x").content_type) == ("grüß".encode(), "text/plain; charset=utf-8")
    spec = TaskSpec("t", json={"a": [1, None]})
    assert (spec.payload, spec.content_type) == (b'{"a":[1,null]}', "application/json")
    assert TaskSpec("t", json=None).payload == b"null"
    assert TaskSpec("t", b"\xff").content_type is None
    assert through_a_frame([TaskSpec("t", bytearray(b"ab"))])[0].payload == b"ab"
    for bad in ({1, 2}, float("nan"), object()):
        with pytest.raises(errors.InvalidArgument, match="json"):
            TaskSpec("t", json=bad)
    with pytest.raises(errors.InvalidArgument, match="one of the two"):
        TaskSpec("t", b"x", json=1)
    with pytest.raises(errors.InvalidArgument, match="payload"):
        encode_task(TaskSpec("t", 5))


@pytest.mark.parametrize("field, value", [
    ("priority", 10), ("priority", -1), ("priority", "5"), ("priority", True), ("max_attempts", 10_001), ("delay", -1),
    ("delay", float("nan")), ("delay", float("inf")), ("delay", "5s"), ("timeout", 10**9), ("run_at", 5),
    ("run_at", datetime(2026, 1, 1)), ("queue", 5), ("type", None), ("key", b"k"), ("labels", {"a": 1}), ("labels", {1: "a"}),
    ("labels", {str(n): "" for n in range(MAX_LABELS + 1)}), ("correlation_id", "\ud800"), ("start_by", "now"),
])
def test_what_the_wire_cannot_carry_is_refused_by_name(field, value):
    spec = TaskSpec("t", b"x")
    setattr(spec, field, value)
    with pytest.raises(errors.InvalidArgument, match=field):
        encode_task(spec)


@pytest.mark.parametrize("field, value", [("delivery", 7), ("durability", 9), ("on_success", ["t"]), ("on_success", 5)])
def test_what_is_no_value_of_its_kind_is_refused(field, value):
    spec = TaskSpec("t", b"x")
    setattr(spec, field, value)
    with pytest.raises(errors.InvalidArgument):
        encode_task(spec)


def test_chains_are_bounded_before_the_broker_would_refuse_the_frame():
    deep = TaskSpec("t")
    for _ in range(4):
        deep = TaskSpec("t", on_success=[deep])
    with pytest.raises(errors.InvalidArgument, match="deep"):
        encode_task(deep)
    with pytest.raises(errors.InvalidArgument, match="templates"):
        encode_task(TaskSpec("t", on_complete=[TaskSpec("x")] * 17))


def test_a_payload_over_a_frame_is_too_large():
    with pytest.raises(errors.TooLarge):
        encode_task(TaskSpec("t", bytes(4 << 20)))


def test_durations_are_rounded_up_to_milliseconds():
    assert [convert.milliseconds(value, "x") for value in (None, 0, 0.0001, 0.1, 1.5, timedelta(seconds=2))] == [
        0, 0, 1, 100, 1500, 2000]


def test_ids_read_as_people_see_them():
    number = TaskId.parse("4-17")
    assert (int(number), str(number), f"{number}", repr(number)) == (4 << 40 | 17, "4-17", "4-17", "TaskId('4-17')")
    for text in ("", "4", "4-", "-4", "04-1", "4-1 ", "+4-1", "16777216-0", f"1-{1 << 40}", "4-1-1", "٤-1", "9" * 40 + "-1"):
        with pytest.raises(errors.InvalidArgument, match="id of a task"):
            TaskId.parse(text)
    assert convert.task_ids("4-17") == [number] and convert.task_ids(["4-17", 5]) == [number, 5]
    for bad in (-1, 1 << 64, None, 1.5, True):
        with pytest.raises(errors.InvalidArgument):
            convert.task_id(bad)


def test_times_that_no_calendar_has_are_read_all_the_same():
    assert convert.time_of(0) is None and convert.time_of(1000) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    for absurd in ((1 << 63) - 1, -(1 << 63)):
        assert convert.time_of(absurd).year == 9999


def test_numbers_of_newer_brokers_are_read_as_something():
    info = convert.info_of(wire.TaskInfo(id=1, state=99, error_code=999, delivery=9, durability=9))
    assert (info.state, info.error) == (TaskState.READY, ErrorCode.INTERNAL)
    assert convert.outcome_of(wire.Outcome(id=1, state=99)) is None


def test_histograms_that_do_not_fit_together_are_left_out():
    status = convert.status_of(wire.StatusReply(
        queues=[wire.QueueStatus(name="q", counts=[1, 2], bytes=3, oldest_ready_ms=4500)], gauges=[wire.Counter("g", 7)],
        histograms=[wire.Histogram("good", [1000, 2_000_000], [1, 2, 3], 4_500_000), wire.Histogram("short", [1, 2], [1, 2]),
                    wire.Histogram("none")]))
    assert set(status.histograms) == {"good"} and status.gauges == {"g": 7}
    good = status.histograms["good"]
    assert (good.bounds, good.counts, good.sum, good.count, good.mean) == ((0.001, 2.0), (1, 2, 3), 4.5, 6, 0.75)
    assert types.Histogram((), (0,), 0.0).mean == 0
    summary = status.queues["q"]
    assert (summary.bytes, summary.oldest_ready) == (3, 4.5) and list(summary.counts.values()) == [1, 2, 0, 0, 0, 0, 0, 0]
    assert convert.queue_of(wire.QueueInfo(name="q", oldest_ready_ms=2000)).oldest_ready == 2.0


@pytest.mark.parametrize("newest_first, cursor, next_cursor, right", [
    (False, 0, 5, True), (False, 5, 6, True), (False, 5, 5, False), (False, 5, 4, False), (False, 5, 0, True),
    (True, 0, 5, True), (True, 5, 4, True), (True, 5, 5, False), (True, 5, 6, False), (True, 5, 0, True)])
def test_a_list_gets_on_in_its_order(newest_first, cursor, next_cursor, right):
    page = operations.list_page(operations.ListQuery(newest_first=newest_first), 10, cursor)
    asked = page.send(None).message
    assert (asked.descending, asked.cursor) == (newest_first, cursor)
    with pytest.raises(StopIteration if right else errors.MalformedFrame):
        page.send(wire.TaskInfos(next_cursor=next_cursor))


def test_results_are_read_by_their_content_type():
    assert Outcome(TaskId(1), result=b"[1]", content_type="application/json; charset=utf-8").value() == [1]
    assert Outcome(TaskId(1), result=b"\xff").value() == b"\xff" and Outcome(TaskId(1)).value() is None
    assert Outcome(TaskId(1), result=b"\xff", content_type="image/png").value() == b"\xff"
    for broken in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(errors.InvalidArgument, match="not application/json"):
            Outcome(TaskId(1), result=broken, content_type="application/json").value()


def test_a_serializer_can_be_added():
    class Reversed:
        content_type = "application/x-reversed"

        def dumps(self, value):
            return value[::-1].encode()

        def loads(self, data):
            return data.decode()[::-1]
    serialization.register(Reversed())
    assert serialization.decode("application/x-reversed", b"cba") == "abc"


def test_failures_say_which_task_and_why():
    dead = Outcome(TaskId.parse("4-17"), TaskState.DEAD, 3, error=ErrorCode.HANDLER_FAILED, error_message="boom")
    with pytest.raises(errors.TaskFailed, match="4-17: HANDLER_FAILED: boom") as caught:
        dead.value()
    assert caught.value.outcome is dead and caught.value.retryable
    with pytest.raises(errors.TaskCancelled):
        Outcome(TaskId(1), TaskState.CANCELLED, error=ErrorCode.CANCELLED).value()
    # A task whose handler reported NOT_FOUND is there, and dead.
    with pytest.raises(errors.TaskFailed):
        Outcome(TaskId(1), TaskState.DEAD, error=ErrorCode.NOT_FOUND).value()


def test_every_code_has_an_exception_and_survives_pickling():
    for code in ErrorCode:
        error = errors.error_of(code, "why", 250)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.code, str(again), again.retry_after) == (type(error), code, "why", 0.25)
    failed = pickle.loads(pickle.dumps(errors.TaskFailed(Outcome(TaskId(1), TaskState.DEAD, error=ErrorCode.INTERNAL))))
    assert failed.outcome.state is TaskState.DEAD
    assert issubclass(zsched.TimedOut, TimeoutError) and issubclass(zsched.InvalidArgument, ValueError)


def test_the_options_of_submit_are_the_fields_of_a_task():
    names = {field.name for field in fields(TaskSpec)} - {"type", "payload"} | {"json"}
    assert set(typing.get_type_hints(options.TaskOptions)) == names


def test_the_version_is_the_projects():
    assert f"project(zsched VERSION {VERSION} " in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert zsched.__version__ == VERSION


@pytest.mark.parametrize("module", [types, serialization])
def test_examples_in_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0
