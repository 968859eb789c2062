"""The client for asyncio against a real broker and a real worker. What a call means is tested with the blocking one, as both
run the same; here is that it is awaited, and what is of asyncio alone."""
import asyncio
import inspect
from datetime import datetime, timedelta, timezone

import pytest
from cluster import Cluster

import zsched
from zsched import TaskSpec, TaskState
from zsched.cron import AsyncSchedules, Schedules
from zsched.dlq import AsyncDeadLetters, DeadLetters
from zsched.handle import AsyncTaskHandle, TaskHandle

TIMEOUT = 60


@pytest.fixture(scope="module")
def cluster(programs):
    with Cluster(programs) as cluster:
        cluster.start_broker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def run(cluster):
    """Runs a coroutine function with a client, in a loop of its own."""
    def run(test):
        async def main():
            async with zsched.AsyncClient(cluster.brokers) as client:
                await client.wait_for_broker(TIMEOUT)
                await test(client)
        asyncio.run(main())
    return run


@pytest.mark.parametrize("blocking, awaited", [
    (zsched.Client, zsched.AsyncClient), (TaskHandle, AsyncTaskHandle), (DeadLetters, AsyncDeadLetters),
    (Schedules, AsyncSchedules)])
def test_both_have_the_same_calls(blocking, awaited):
    def calls(cls):
        return {name: inspect.signature(call).parameters.keys() for name, call in vars(cls).items()
                if inspect.isfunction(call) and not name.startswith("_")}
    ours, theirs = calls(blocking), calls(awaited)
    ours.pop("submit_nowait", None)  # asyncio.create_task does that
    assert ours == theirs
    # A follower is awaited, not the call that makes it.
    assert {name for name in theirs if not inspect.iscoroutinefunction(vars(awaited)[name])
            and not inspect.isasyncgenfunction(vars(awaited)[name])} <= {"follow_events"}


def test_tasks_are_submitted_and_give_their_results(run):
    async def test(client):
        handle = await client.submit("echo", json=[1])
        assert await handle.result(TIMEOUT) == [1] and await handle.done()
        assert (await handle.info()).state is TaskState.SUCCEEDED
        refused = client.submit("noop", key="k" * 200)
        with pytest.raises(zsched.InvalidArgument, match="key"):
            await refused
        failed = await client.submit("fail", json={"times": 1, "message": "boom"}, max_attempts=1)
        with pytest.raises(zsched.TaskFailed, match="boom"):
            await failed.result(TIMEOUT)
        assert await failed.retry() and await failed.result(TIMEOUT) is None
        assert len((await failed.history()).attempts) == 2 and not await failed.cancel()
        assert (await failed.explain()).state is TaskState.SUCCEEDED
    run(test)


def test_submits_of_many_coroutines_share_frames(run):
    async def test(client):
        handles = await asyncio.gather(*[client.submit("echo", str(index)) for index in range(5000)])
        assert await client.gather(handles, TIMEOUT) == [str(index) for index in range(5000)]
        assert client.stats["frames"] < 2500
    run(test)


def test_many_tasks(run):
    async def test(client):
        handles = await client.submit_many(TaskSpec("echo", str(index)) for index in range(10_000))
        assert await client.gather(handles, TIMEOUT) == [str(index) for index in range(10_000)]
        handles = await client.submit_each("echo", [b"a", b"b"])
        assert sorted([outcome.value() async for outcome in client.as_completed(handles, TIMEOUT)]) == [b"a", b"b"]
        with pytest.raises(zsched.SubmitManyError):
            await client.submit_many([TaskSpec("noop"), TaskSpec("noop", key="k" * 200)])
    run(test)


def test_waiting_is_bounded_and_can_be_cancelled(run):
    async def test(client):
        never, quick = await client.submit("noop", queue="never", delay=3600), await client.submit("noop")
        with pytest.raises(zsched.TimedOut):
            await never.result(0.05)
        assert set(await client.wait([never, quick], TIMEOUT, return_when=1)) == {quick.id}
        with pytest.raises(zsched.TimedOut):
            async for _ in client.as_completed([never], 0.05):
                pass
        waiting = asyncio.create_task(never.result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await client.status()
        assert not client._engine._outcomes._waits
        assert await never.cancel()
    run(test)


def test_what_the_broker_has(run):
    async def test(client):
        handles = await client.submit_each("noop", [b""] * 1500, queue="listed", delay=3600)
        assert [info.id async for info in client.list(queue="listed")] == [handle.id for handle in handles]
        assert len([info async for info in client.list(queue="listed", limit=7)]) == 7
        newest = [info.id async for info in client.list(queue="listed", newest_first=True)]
        assert newest == [handle.id for handle in reversed(handles)]
        assert len(await client.get(handles)) == 1500
        assert await client.purge("listed") == 1500
        assert (await client.pause("listed")).settings.paused and not (await client.resume("listed")).settings.paused
        assert (await client.set_queue("listed", weight=3)).settings.weight == 3
        assert (await client.queue("listed")).settings.weight == 3 and await client.queues()
        assert (await client.set_type("t", max_running=2)).max_running == 2
        assert (await client.task_type("t")).max_running == 2 and await client.types()
        assert (await client.status()).workers == len(await client.workers()) == 1
        assert [piece async for piece in client.logs(handles[0])] == [] and not (await client.output(handles[0])).running
        assert [result.ok for result in await client.retry(handles[:2])] == [False, False]
        with pytest.raises(zsched.NotFound):
            await client.drain_worker("nobody")
        with pytest.raises(zsched.Conflict):
            await client.switchover()
    run(test)


def test_dead_letters_and_schedules(run):
    async def test(client):
        handles = await client.submit_many([TaskSpec("fail", json={"times": 1, "message": "x"}, queue="dead",
                                                     max_attempts=1)] * 5)
        await client.wait(handles, TIMEOUT)
        assert len([info async for info in client.dlq.list(queue="dead")]) == 5
        assert {info.payload async for info in client.dlq.list(queue="dead", omit_bodies=True)} == {b""}
        assert {info.payload async for info in client.list(queue="dead", omit_bodies=True)} == {b""}
        assert (await client.dlq.groups(queue="dead"))[0].tasks == 5
        assert [result.ok for result in await client.dlq.delete(handles[:1])] == [True]
        assert (await client.dlq.retry(queue="dead", rate=1000)).done == 4
        assert (await client.dlq.purge(queue="dead")).done == 0
        await client.cron.set("s", "0 * * * *", TaskSpec("echo", "tick"))
        assert await client.wait_for(await client.cron.trigger("s"), TIMEOUT)
        assert (await client.cron.pause("s")).paused and not (await client.cron.resume("s")).paused
        assert (await client.cron.get("s")).name == "s" and len(await client.cron.list()) == 1
        start = datetime(2026, 1, 1, tzinfo=timezone.utc)
        assert len(await client.cron.backfill("s", start, start + timedelta(hours=2))) == 3
        await client.cron.remove("s")
    run(test)


def test_the_local_queue_is_awaited():
    async def main():
        client = zsched.AsyncClient("127.0.0.1:1", max_queued_tasks=10, submit_timeout=0.1)
        tasks = [asyncio.create_task(client.submit("noop")) for _ in range(20)]
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in errors} == {zsched.TimedOut}
        assert sum("no room in time" in str(error) for error in errors) == 10
        with pytest.raises(zsched.TimedOut):
            await client.close(0)
    asyncio.run(main())


def test_a_client_belongs_to_one_loop(cluster):
    client = zsched.AsyncClient(cluster.brokers)
    asyncio.run(client.wait_for_broker(TIMEOUT))
    with pytest.raises(zsched.Conflict, match="another event loop"):
        asyncio.run(client.status())
    asyncio.run(client.close())
