"""The tasks that tests of the worker run, in this process or in programs of their own (`worker_app:app`). Calls leave lines in
$WORKER_APP_TRACE: what began and ended where, in one append each."""
import asyncio
import os
import signal
import time

import zsched

app = zsched.App()


def trace(*words):
    """One line; atomic, as it is short and appended."""
    path = os.environ.get("WORKER_APP_TRACE")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)


@app.task
def noop():
    pass


@app.task
def add(a, b=0):
    return a + b


@app.task
async def add_async(a, b=0):
    await asyncio.sleep(0.001)
    return a + b


@app.task(raw=True)
def size_of(payload: bytes):
    return len(payload)


@app.task
def reverse(data):
    return bytes(reversed(data.encode()))


@app.task
def much(characters):
    return "x" * characters


@app.task
def no_json():
    return object()


@app.task(max_attempts=1)
def fail(text):
    def inner():
        raise ValueError(text)
    inner()


@app.task(retry_base=0.01, retry_cap=0.01)
def fail_until(ctx: zsched.TaskContext, attempt):
    if ctx.attempt < attempt:
        raise RuntimeError(f"attempt {ctx.attempt}")
    return ctx.attempt


@app.task
def retry_soon(ctx: zsched.TaskContext, attempts):
    if ctx.attempt < attempts:
        raise zsched.Retry("not yet", after=0.01)
    return ctx.attempt


@app.task
def give_up(reason):
    raise zsched.Discard(reason, code=zsched.ErrorCode.INVALID_ARGUMENT)


@app.task
def describe(ctx: zsched.TaskContext):
    here = zsched.current_task()
    return {"id": str(ctx.id), "type": ctx.type, "queue": ctx.queue, "attempt": ctx.attempt, "max_attempts": ctx.max_attempts,
            "lease": ctx.lease, "labels": ctx.labels, "correlation_id": ctx.correlation_id, "traceparent": ctx.traceparent,
            "remaining": ctx.remaining, "cancelled": ctx.cancelled, "same": here is ctx, "pid": os.getpid()}


@app.task
async def describe_async(ctx: zsched.TaskContext):
    await asyncio.sleep(0)
    return {"attempt": ctx.attempt, "same": zsched.current_task() is ctx}


@app.task(retry_base=0.01)
def count_on(ctx: zsched.TaskContext, until):
    done = ctx.load_checkpoint(default=0)
    ctx.checkpoint(done + 1)
    ctx.progress(100 * (done + 1) / until, f"{done + 1} of {until}")
    if done + 1 < until:
        raise RuntimeError("again")
    return done + 1


@app.task
def says(ctx: zsched.TaskContext, text):
    ctx.logger.info("log %s", text)
    ctx.write(f"out {text}\n")
    return text


@app.task
def parent_of(ctx: zsched.TaskContext):
    return {"id": str(ctx.parent.id), "state": ctx.parent.state.name, "result": ctx.parent.result}


@app.task
def submits(ctx: zsched.TaskContext):
    return str(add.submit(1, 2).id)


@app.task
def nap(seconds, name=""):
    """Sleeps, and does not listen."""
    trace("begin", name, os.getpid())
    time.sleep(seconds)
    trace("end", name, os.getpid())
    return os.getpid()


@app.task
def burn(seconds, name=""):
    """Computes without a pause."""
    trace("begin", name, os.getpid())
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
    trace("end", name, os.getpid())
    return number > 0


@app.task
def until_cancelled(ctx: zsched.TaskContext, name=""):
    trace("begin", name, os.getpid())
    assert ctx.wait_cancelled(60)
    trace("cancelled", name, ctx.cancel_reason.name)
    ctx.check_cancelled()


@app.task
async def until_cancelled_async(ctx: zsched.TaskContext, name=""):
    trace("begin", name, os.getpid())
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        trace("cancelled", name, ctx.cancel_reason.name)
        raise


@app.task
def deaf(name=""):
    """Never listens; only the end of its process ends it."""
    trace("begin", name, os.getpid())
    while True:
        time.sleep(0.01)


@app.task(max_attempts=1)
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def meet(parties, _met=[], _event={}):
    """Returns when so many of it run at once."""
    loop = asyncio.get_running_loop()
    event = _event.setdefault(loop, asyncio.Event())
    _met.append(1)
    if len(_met) >= parties:
        event.set()
    await asyncio.wait_for(event.wait(), 30)
    return len(_met)


@app.task
def pid():
    return os.getpid()


@app.task
def grows(megabytes, _held=[]):
    _held.append(bytearray(megabytes << 20))
    return os.getpid()
