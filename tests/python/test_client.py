"""The blocking client against a real broker and a real worker."""
import dataclasses
import gc
import multiprocessing
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from cluster import Cluster, await_

import zsched
from zsched import ErrorCode, TaskSpec, TaskState
from zsched.types import AttemptEnd, DeadProgress, Overlap, Role, WaitReason

TIMEOUT = 60


@pytest.fixture(scope="module")
def cluster(programs):
    with Cluster(programs) as cluster:
        cluster.start_broker()
        cluster.start_worker("w", "--enable", "shell", "--label", "zone=a")
        yield cluster


@pytest.fixture
def client(cluster):
    with zsched.Client(cluster.brokers, name="tests") as client:
        client.wait_for_broker(TIMEOUT)
        yield client


@pytest.fixture
def queue(request):
    """A queue that no other test uses."""
    return request.node.name[:100]


def failing(times=10_000, **options):
    return TaskSpec("fail", json={"times": times, "message": "boom 17"}, **options)


# --- Submitting ---

@pytest.mark.parametrize("spec, result", [
    (TaskSpec("noop"), None), (TaskSpec("echo", b"\0\xff"), b"\0\xff"), (TaskSpec("echo", "grüß"), "grüß"),
    (TaskSpec("echo", json={"a": [1, None]}), {"a": [1, None]}),
])
def test_a_task_is_submitted_and_gives_its_result(client, spec, result):
    handle = client.submit(spec)
    assert handle.result(TIMEOUT) == result
    assert handle.done() and handle.status() is TaskState.SUCCEEDED and handle.outcome().attempt <= 1


def test_what_is_said_of_a_task_reaches_the_broker(client, queue):
    soon = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
    handle = client.submit("mail", json={"to": "a"}, queue=queue, priority=9, max_attempts=3, timeout=timedelta(minutes=2),
                           run_at=soon, key="order-42", labels={"customer": "42"}, concurrency_key="c", fairness_key="f",
                           correlation_id="corr", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
                           delivery=zsched.Delivery.AT_MOST_ONCE, start_by=soon + timedelta(hours=1))
    info = handle.info()
    assert (info.type, info.queue, info.priority, info.max_attempts, info.timeout) == ("mail", queue, 9, 3, 120.0)
    assert (info.state, info.run_at, info.start_by) == (TaskState.SCHEDULED, soon, soon + timedelta(hours=1))
    assert (info.key, info.labels, info.concurrency_key, info.fairness_key) == ("order-42", {"customer": "42"}, "c", "f")
    assert (info.correlation_id, info.delivery) == ("corr", zsched.Delivery.AT_MOST_ONCE)
    assert info.payload == b'{"to":"a"}' and info.content_type == "application/json"
    assert abs(info.submitted_at - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert client.task(str(handle.id)) == info == client.get([handle])[handle.id]


@pytest.mark.parametrize("options, error, field", [
    ({"key": "k" * 200}, zsched.InvalidArgument, "key"),
    ({"queue": "a\nb"}, zsched.InvalidArgument, "queue"),
    ({"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=timezone.utc)}, zsched.InvalidArgument, "run_at"),
    ({"labels": {"k" * 100: "v"}}, zsched.InvalidArgument, "label"),
    ({"pass_result": True}, zsched.InvalidArgument, "pass_result"),
])
def test_what_the_broker_refuses_names_the_field(client, options, error, field):
    with pytest.raises(error, match=field):
        client.submit("noop", **options)


def test_a_payload_that_the_broker_finds_too_large_is_refused(client):
    with pytest.raises(zsched.TooLarge):
        client.submit("noop", bytes((1 << 20) + 1))
    assert client.submit("noop", bytes(1 << 20)).id


def test_a_key_makes_a_task_once(client, queue):
    first = client.submit("noop", b"1", queue=queue, key="k")
    again = client.submit("noop", b"1", queue=queue, key="k")
    assert again.id == first.id and again.repeated and not first.repeated
    assert again.result(TIMEOUT) is None
    with pytest.raises(zsched.Conflict):
        client.submit("noop", b"2", queue=queue, key="k")


def test_many_tasks_keep_their_order(client, queue):
    handles = client.submit_many(TaskSpec("echo", str(index), queue=queue) for index in range(10_000))
    assert client.gather(handles, TIMEOUT) == [str(index) for index in range(10_000)]
    assert client.stats["frames"] < 200


def test_tasks_that_differ_in_their_payload_only(client, queue):
    handles = client.submit_each("echo", [b"a", "b", b""], queue=queue, priority=1)
    assert client.gather(handles, TIMEOUT) == [b"a", b"b", None]
    assert {handle.info().priority for handle in handles} == {1}


def test_of_many_some_may_be_refused(client, queue):
    specs = [TaskSpec("echo", str(index), queue=queue, key="k" * 200 if index % 10 == 3 else None) for index in range(100)]
    with pytest.raises(zsched.SubmitManyError, match="10 of 100 tasks were not accepted; number 3") as caught:
        client.submit_many(specs)
    assert [index for index, _ in caught.value.rejected] == list(range(3, 100, 10))
    assert [index for index, handle in enumerate(caught.value.handles) if handle is None] == list(range(3, 100, 10))
    assert client.gather([handle for handle in caught.value.handles if handle], TIMEOUT) == [
        str(index) for index in range(100) if index % 10 != 3]


def test_a_task_that_cannot_be_written_says_which_it_was(client):
    with pytest.raises(zsched.InvalidArgument) as caught:
        client.submit_many([TaskSpec("noop"), TaskSpec("noop", priority=10)])
    assert "task number 1" in caught.value.__notes__[0]


def test_an_empty_batch_is_nothing(client):
    assert client.submit_many([]) == [] and client.gather([], TIMEOUT) == [] and client.wait([], TIMEOUT) == {}


def test_a_herd_of_threads_shares_frames(client, queue):
    with ThreadPoolExecutor(32) as pool:
        handles = list(pool.map(lambda index: client.submit("echo", str(index), queue=queue), range(2000)))
    assert len({handle.id for handle in handles}) == 2000
    assert client.gather(handles, TIMEOUT) == [str(index) for index in range(2000)]
    assert client.stats["frames"] < 2000


def test_a_future_of_a_submit(client):
    futures = [client.submit_nowait("echo", str(index)) for index in range(100)]
    refused = client.submit_nowait("noop", key="k" * 200)
    assert [future.result(TIMEOUT).result(TIMEOUT) for future in futures] == [str(index) for index in range(100)]
    assert isinstance(refused.exception(TIMEOUT), zsched.InvalidArgument)


def test_a_callback_must_not_call_the_client(client):
    caught, heard = [], threading.Event()

    def callback(_):
        try:
            client.status()
        except zsched.Conflict as error:
            caught.append(error)
        heard.set()
    future = client.submit_nowait("noop", delay=0)
    future.add_done_callback(callback)
    future.result(TIMEOUT)
    assert heard.wait(TIMEOUT)
    # It may have run here, when the future was done already: then it may call.
    assert all("callback" in str(error) for error in caught)


def test_a_full_queue_is_waited_for(client, cluster, queue):
    client.set_queue(queue, max_tasks=5, paused=True)
    first = client.submit_each("noop", [b""] * 5, queue=queue)
    with zsched.Client(cluster.brokers, retry_exhausted=False) as impatient:
        with pytest.raises(zsched.ResourceExhausted) as caught:
            impatient.submit("noop", queue=queue)
    assert caught.value.retry_after and caught.value.retryable
    waiting = client.submit_nowait("noop", queue=queue)
    await_(lambda: client.stats["retried"], "a second try")
    assert not waiting.done()
    client.resume(queue)
    assert client.gather([*first, waiting.result(TIMEOUT)], TIMEOUT) == [None] * 6


def test_the_local_queue_is_bounded():
    """Nothing leaves it without a broker."""
    client = zsched.Client("127.0.0.1:1", max_queued_tasks=10, submit_timeout=0.1)
    futures = [client.submit_nowait("noop") for _ in range(10)]
    with pytest.raises(zsched.TimedOut, match="no room in time"):
        client.submit_nowait("noop")
    with pytest.raises(zsched.TimedOut):
        client.close(0)
    assert all(isinstance(future.exception(TIMEOUT), zsched.Unavailable) for future in futures)


def test_the_local_queue_is_bounded_in_bytes_and_takes_any_single_batch():
    client = zsched.Client("127.0.0.1:1", max_queued_bytes=1000, submit_timeout=0.1)
    large = client.submit_nowait("noop", bytes(10_000))
    with pytest.raises(zsched.TimedOut, match="no room in time"):
        client.submit_nowait("noop")
    with pytest.raises(zsched.TimedOut):
        client.close(0)
    assert isinstance(large.exception(TIMEOUT), zsched.Unavailable)


def test_a_submit_may_be_bounded_in_time(cluster, client, queue):
    client.set_queue(queue, max_tasks=1, paused=True)
    first = client.submit("noop", queue=queue)
    with zsched.Client(cluster.brokers, submit_timeout=0.2) as hasty:
        hasty.wait_for_broker(TIMEOUT)
        with pytest.raises(zsched.TimedOut, match="may still be accepted"):
            hasty.submit("noop", queue=queue)
        client.resume(queue)
        first.result(TIMEOUT)
        hasty.flush(TIMEOUT)
    assert sum(client.queue(queue).counts.values()) == 2


# --- Waiting ---

def test_a_task_that_fails_raises_with_its_outcome(client, queue):
    handle = client.submit(failing(queue=queue, max_attempts=1))
    with pytest.raises(zsched.TaskFailed, match="boom 17") as caught:
        handle.result(TIMEOUT)
    assert caught.value.outcome.state is TaskState.DEAD and caught.value.outcome.attempt == 1
    ok = client.submit("noop")
    with pytest.raises(zsched.TaskFailed):
        client.gather([ok, handle], TIMEOUT)
    values = client.gather([ok, handle, ok], TIMEOUT, return_exceptions=True)
    assert values[0] is None and isinstance(values[1], zsched.TaskFailed) and values[2] is None


def test_a_wait_has_what_came_in_time(client, queue):
    quick, never = client.submit("noop"), client.submit("noop", queue=queue, delay=3600)
    assert set(client.wait([quick, never], TIMEOUT, return_when=1)) == {quick.id}
    await_(lambda: set(client.wait([quick, never], 0.05)) == {quick.id}, "what came in time")
    with pytest.raises(zsched.TimedOut, match="1 of 1"):
        never.result(0.01)
    with pytest.raises(TimeoutError):
        client.gather([quick, never], 0.05)


def test_outcomes_as_they_come(client, queue):
    late = client.submit("noop", queue=queue, delay=3600)
    handles = [client.submit("echo", "1"), late, client.submit("echo", "2")]
    seen = []
    for outcome in client.as_completed(handles, TIMEOUT):
        seen.append(outcome.id)
        if len(seen) == 2:
            assert late.cancel()
    assert seen[2] == late.id and set(seen) == {handle.id for handle in handles}
    other = client.submit("noop", queue=queue, delay=3600)
    with pytest.raises(zsched.TimedOut):
        list(client.as_completed([other], 0.05))


def test_a_task_that_does_not_exist(client):
    nothing = zsched.TaskId.parse("4-999999999")
    with pytest.raises(zsched.NotFound, match="4-999999999"):
        client.wait_for(nothing, TIMEOUT).value()
    for call in (client.task, client.history, client.explain, client.output):
        with pytest.raises(zsched.NotFound):
            call(nothing)
    assert client.get([nothing]) == {}
    assert [result.code for result in client.cancel([nothing])] == [ErrorCode.NOT_FOUND]


# --- Tasks ---

def test_cancel(client, queue):
    handle = client.submit("noop", queue=queue, delay=3600)
    assert handle.cancel() and handle.cancel() and client.cancel(handle)[0].ok and client.cancel(str(handle.id))[0].ok
    with pytest.raises(zsched.TaskCancelled):
        handle.result(TIMEOUT)
    over = client.submit("noop")
    over.result(TIMEOUT)
    assert not over.cancel()


def test_lists_go_over_all_pages(client, queue):
    handles = client.submit_each("noop", [b""] * 2500, queue=queue, labels={"a": queue}, delay=3600)
    assert [info.id for info in client.list(queue=queue)] == [handle.id for handle in handles]
    assert len(list(client.list(queue=queue, limit=1200))) == 1200 and list(client.list(queue=queue, limit=0)) == []
    client.cancel(handles[:1100])
    assert len(list(client.list(queue=queue, states=[TaskState.SCHEDULED]))) == 1400
    assert len(list(client.list(label=("a", queue), states=[TaskState.CANCELLED]))) == 1100
    assert list(client.list(queue=queue, type="other")) == []
    assert len(client.get(handles)) == 2500


def test_a_list_without_bodies(client, queue):
    handle = client.submit("echo", b"\x00bytes", queue=queue)
    handle.result(TIMEOUT)
    [whole] = client.list(queue=queue)
    [listed] = client.list(queue=queue, omit_bodies=True)
    assert (whole.payload, whole.result) == (b"\x00bytes", b"\x00bytes")
    assert listed == dataclasses.replace(whole, payload=b"", result=b"")


def test_explain(client, queue):
    client.pause(queue)
    handle = client.submit("noop", queue=queue)
    explanation = handle.explain()
    assert explanation.state is TaskState.READY
    assert [cause.reason for cause in explanation.causes] == [WaitReason.QUEUE_PAUSED]
    client.resume(queue)
    handle.result(TIMEOUT)
    assert handle.explain().state is TaskState.SUCCEEDED and handle.explain().causes == ()


def test_history(client, queue):
    handle = client.submit(failing(1, queue=queue, retry_base=0.001))
    handle.result(TIMEOUT)
    attempts = handle.history().attempts
    assert [(attempt.end, attempt.worker) for attempt in attempts] == [(AttemptEnd.RETRIED, "w"), (AttemptEnd.SUCCEEDED, "w")]
    assert attempts[0].error is ErrorCode.HANDLER_FAILED and "boom" in attempts[0].error_message
    assert attempts[0].lease < attempts[1].lease


def test_logs_are_followed_to_the_end(client, queue, tmp_path):
    gate = tmp_path / "gate"
    script = f'echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two; echo three >&2'
    handle = client.submit("shell", json={"argv": ["/bin/sh", "-c", script]}, queue=queue)
    data = b""
    for piece in client.logs(handle, follow=True):
        data += piece.data
        if data == b"one\n":
            gate.touch()
    assert data == b"one\ntwo\nthree\n" or sorted(data.split()) == sorted([b"one", b"two", b"three"])
    assert b"".join(piece.data for piece in client.logs(handle)) == data
    output = client.output(handle, start=4)
    assert output.finished and not output.running and output.pieces[0].offset == 4


def test_chains(client, queue):
    handle = client.submit("echo", "x", queue=queue, on_success=[TaskSpec("echo", queue=queue, labels={"next": queue})])
    handle.result(TIMEOUT)
    [follower] = await_(lambda: list(client.list(label=("next", queue))), "the follower")
    assert follower.parent == handle.id


# --- Queues, types, dead letters, schedules ---

def test_queues(client, queue):
    with pytest.raises(zsched.NotFound):
        client.queue(queue)
    info = client.set_queue(queue, max_running=3, rate=2.5, timeout=60, weight=7, key_rate=0.5, ageing=timedelta(seconds=2))
    assert (info.settings.max_running, info.settings.rate, info.settings.timeout, info.settings.weight) == (3, 2.5, 60.0, 7)
    assert (info.settings.key_rate, info.settings.ageing) == (0.5, 2.0)
    assert client.pause(queue).settings.paused and client.queue(queue).settings.max_running == 3
    client.submit_each("noop", [b""] * 1500, queue=queue)
    assert client.queue(queue).counts[TaskState.READY] == 1500
    heard = []
    assert client.purge(queue, progress=heard.append) == 1500 and heard[-1] == 1500
    assert client.queue(queue).counts[TaskState.CANCELLED] == 1500
    assert not client.resume(queue).settings.paused
    assert queue in [info.name for info in client.queues()]
    for bad, field in (({"weight": 101}, "weight"), ({"rat": 1}, "rat"), ({"rate": -1}, "rate"), ({"burst": "x"}, "burst")):
        with pytest.raises(zsched.InvalidArgument, match=field):
            client.set_queue(queue, **bad)
    with pytest.raises(zsched.InvalidArgument, match="empty"):
        client.queue("")


def test_types(client, queue):
    info = client.set_type(queue, max_running=2, rate=1, no_retry=[ErrorCode.INVALID_ARGUMENT])
    assert (info.max_running, info.rate, info.no_retry) == (2, 1.0, {ErrorCode.INVALID_ARGUMENT})
    assert client.task_type(queue) == info and queue in [one.name for one in client.types()]
    assert client.set_type(queue, no_retry=[]).no_retry == frozenset()
    with pytest.raises(zsched.InvalidArgument):
        client.set_type(queue, no_retry=[ErrorCode.CANCELLED])
    with pytest.raises(zsched.NotFound):
        client.task_type("no-such-type")


def test_dead_letters(client, queue):
    handles = client.submit_many([failing(1, queue=queue, max_attempts=1)] * 30)
    client.wait(handles, TIMEOUT)
    assert {info.id for info in client.dlq.list(queue=queue)} == {handle.id for handle in handles}
    assert len(list(client.dlq.list(queue=queue, limit=7))) == 7 and list(client.dlq.list(queue=queue, error="other")) == []
    assert all(info.payload for info in client.dlq.list(queue=queue))
    assert [info.payload for info in client.dlq.list(queue=queue, omit_bodies=True)] == [b""] * 30
    [group] = client.dlq.groups(queue=queue)
    assert (group.tasks, group.error) == (30, ErrorCode.HANDLER_FAILED) and "boom" in group.error_message
    assert client.dlq.retry(queue=queue, fingerprint=group.fingerprint, dry_run=True) == DeadProgress(30, 0)
    assert client.dlq.groups(queue=queue)[0].tasks == 30
    assert [result.ok for result in client.dlq.delete(handles[:2])] == [True, True]
    with pytest.raises(zsched.NotFound):
        handles[0].info()

    assert client.dlq.retry(queue=queue, rate=50, progress=lambda progress: progress.done < 5).done == 5
    assert client.dlq.retry(queue=queue).done == 23
    # They fail the first attempt only, and this is the second.
    assert client.gather(handles[2:], TIMEOUT) == [None] * 28
    dead = client.submit_many([failing(queue=queue, max_attempts=1)] * 3)
    client.wait(dead, TIMEOUT)
    assert not dead[0].cancel()
    assert client.dlq.purge(queue=queue) == DeadProgress(3, 0) and client.dlq.groups(queue=queue) == []
    for bad in ({"rate": 0}, {"older_than": -1}, {"fingerprint": -1}):
        with pytest.raises(zsched.InvalidArgument):
            client.dlq.retry(queue=queue, **bad)


def test_a_dead_task_is_retried_by_its_handle(client, queue):
    handle = client.submit(failing(1, queue=queue, max_attempts=1))
    with pytest.raises(zsched.TaskFailed):
        handle.result(TIMEOUT)
    assert handle.retry() and handle.result(TIMEOUT) is None and not handle.retry()


def test_schedules(client, queue):
    task = TaskSpec("echo", "tick", queue=queue, labels={"a": "b"})
    info = client.cron.set(queue, "0 3 * * *", task, zone="Europe/Berlin", overlap=Overlap.ALLOW, jitter=30, catch_up=60)
    assert (info.expression, info.zone, info.overlap, info.jitter, info.catch_up) == ("0 3 * * *", "Europe/Berlin",
                                                                                       Overlap.ALLOW, 30.0, 60.0)
    assert info.task.payload == b"tick" and info.task.labels == {"a": "b"} and info.next_at > datetime.now(timezone.utc)
    with pytest.raises(zsched.Conflict):
        client.cron.set(queue, "@daily", task)
    assert client.cron.set(queue, "@every 1h", task, replace=True).expression == "@every 1h"
    with pytest.raises(zsched.InvalidArgument, match="expression"):
        client.cron.set("other", "61 * * * *", task)
    assert client.cron.pause(queue).paused and client.cron.get(queue).paused and not client.cron.resume(queue).paused
    assert queue in [one.name for one in client.cron.list()]
    assert client.wait_for(client.cron.trigger(queue), TIMEOUT).value() == "tick"
    client.cron.set(queue, "0 * * * *", task, replace=True)
    end = datetime(2026, 1, 1, 5, 30, tzinfo=timezone.utc)
    results = client.cron.backfill(queue, end - timedelta(hours=4), end)
    assert len(results) == 4 and client.gather([result.id for result in results], TIMEOUT) == ["tick"] * 4
    with pytest.raises(zsched.InvalidArgument, match="start"):
        client.cron.backfill(queue, end, end - timedelta(hours=4))
    client.cron.remove(queue)
    for call in (client.cron.get, client.cron.remove, client.cron.trigger, client.cron.pause):
        with pytest.raises(zsched.NotFound):
            call(queue)


# --- The cluster ---

def test_status_and_workers(client, cluster):
    status = client.status()
    assert status.role is Role.ACTIVE_SOLO and status.epoch and status.clients >= 1 and status.workers >= 1
    assert status.durable_lsn <= status.lsn and status.counters and len(status.cluster) == 32
    [worker] = [worker for worker in client.workers() if worker.name == "w"]
    assert worker.labels == {"zone": "a"} and worker.pid == cluster.processes["w"].pid and len(worker.id) == 32


def test_status_has_gauges_histograms_and_the_age_of_queues(client, queue):
    client.submit("sleep", json={"ms": 20}, queue=queue).result(TIMEOUT)
    status = client.status()
    assert set(status.histograms) == {"task_wait", "task_run", "commit", "fsync"}
    run = status.histograms["task_run"]
    assert len(run.counts) == len(run.bounds) + 1 and list(run.bounds) == sorted(run.bounds) and run.bounds[0] < 0.1
    assert run.count == sum(run.counts) >= 1 and run.sum >= 0.02 and run.mean == run.sum / run.count
    assert status.gauges["workers"] >= 1 and "replication_lag_records" not in status.gauges
    gauges = await_(lambda: (now := client.status().gauges).get("process_threads") and now, "what comes after a second")
    assert gauges["process_resident_memory_bytes"] > 1 << 20 and gauges["disk_free_bytes"] > 0
    client.pause(queue)
    client.submit("noop", b"12345", queue=queue)
    waits = client.status().queues[queue]
    assert (waits.counts[TaskState.READY], waits.bytes) == (1, 5)
    aged = await_(lambda: client.queue(queue).oldest_ready, "a second")
    assert 1 <= aged <= client.status().queues[queue].oldest_ready < 3600
    client.resume(queue)


def test_a_worker_is_drained(client, cluster):
    leaving = cluster.start_worker("leaving", "--queues", "nothing")
    client.drain_worker("leaving")
    assert leaving.wait(TIMEOUT) == 0
    with pytest.raises(zsched.NotFound):
        client.drain_worker("nobody")


def test_an_observer_only_asks(cluster):
    with zsched.Client(cluster.brokers, observe=True) as observer:
        assert observer.status().role is Role.ACTIVE_SOLO
        for call in (lambda: observer.submit("noop"), lambda: observer.pause("q"), lambda: observer.wait_for(5, 1)):
            with pytest.raises(zsched.PermissionDenied):
                call()


# --- Beginning and ending ---

def test_without_a_broker_calls_end_in_time():
    with zsched.Client("127.0.0.1:1", request_timeout=0.1, submit_timeout=0.1) as client:
        with pytest.raises(zsched.Unavailable, match="no active broker"):
            client.status()
        with pytest.raises(zsched.TimedOut):
            client.submit("noop")
        with pytest.raises(zsched.TimedOut, match="no active broker"):
            client.wait_for_broker(0.1)
        with pytest.raises(zsched.TimedOut):
            client.close(0)
        client.close()


@pytest.mark.parametrize("options", [{"brokers": "x"}, {"brokers": []}, {"name": ""}, {"name": "a\nb"}, {"request_timeout": 0},
                                     {"max_queued_tasks": 0}, {"resend_after": -1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(zsched.InvalidArgument):
        zsched.Client(**options)


def test_close_sends_what_waits_and_is_the_end(cluster, client, queue):
    other = zsched.Client(cluster.brokers)
    futures = [other.submit_nowait("noop", queue=queue) for _ in range(1000)]
    other.close(TIMEOUT)
    other.close()
    assert all(future.result(0).id for future in futures)
    for call in (lambda: other.submit("noop"), other.status, lambda: other.wait_for(5), lambda: other.wait_for_broker(1)):
        with pytest.raises(zsched.Unavailable, match="closed"):
            call()
    assert sum(client.queue(queue).counts.values()) == 1000


def test_close_ends_calls_that_wait(cluster, queue):
    other = zsched.Client(cluster.brokers)
    never = other.submit("noop", queue=queue, delay=3600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(never.result)
        await_(lambda: other._engine._outcomes._waits, "the wait")
        other.close(TIMEOUT)
        assert isinstance(waiting.exception(TIMEOUT), zsched.Unavailable)


def test_a_client_that_is_forgotten_leaves_no_thread(cluster):
    client = zsched.Client(cluster.brokers)
    thread = client._engine._thread
    del client
    gc.collect()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def in_child(client, answers):
    try:
        client.status()
    except zsched.ZschedError as error:
        answers.put((error.code.name, str(error)))
    client.close()
    answers.close()
    answers.join_thread()
    os._exit(0)


def test_a_fork_is_noticed(client):
    client.status()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=in_child, args=(client, answers))
    child.start()
    code, message = answers.get(timeout=TIMEOUT)
    child.join(TIMEOUT)
    assert code == "CONFLICT" and "forked" in message
    assert client.submit("noop").result(TIMEOUT) is None


def test_counters(client):
    client.submit_each("noop", [b""] * 10)
    stats = client.stats
    assert Counter(stats) >= Counter({"submitted": 10, "acknowledged": 10, "connects": 1, "frames": 1})
    assert stats["malformed"] == 0 and client.connected and len(client.id) == 32
