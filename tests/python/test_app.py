"""App and its functions without a broker: what a call becomes, what is refused, and tasks that run in place."""
import asyncio
import os
import subprocess
import sys

import pytest

import zsched
from zsched._call import CallReader, dump_call
from zsched.pickling import PickleSerializer
from zsched.serialization import JsonSerializer


@pytest.fixture
def app():
    return zsched.App(queue="main")


# --- Calls as payloads ---

@pytest.mark.parametrize("args, kwargs, payload, content_type", [
    ((), {}, b"", None), ((1, "a"), {}, b'[1,"a"]', "application/json"), ((), {"a": 1}, b'{"a":1}', "application/json"),
    ((1,), {"b": 2}, b'{"args":[1],"kwargs":{"b":2}}', "application/json; call=mixed"),
    (({"args": [], "kwargs": {}},), {}, b'[{"args":[],"kwargs":{}}]', "application/json")])
def test_calls_as_json_and_back(args, kwargs, payload, content_type):
    assert dump_call(JsonSerializer(), args, kwargs) == (payload, content_type)
    found_args, found_kwargs = CallReader("t", JsonSerializer(), False)(payload, content_type)
    assert (tuple(found_args), dict(found_kwargs)) == (args, kwargs)


@pytest.mark.parametrize("payload, content_type, args, kwargs", [
    (b"7", None, (7,), {}), (b"hello", "text/plain; charset=utf-8", ("hello",), {}),
    (b'{"a":1}', "Application/JSON ; charset=utf-8", (), {"a": 1}), (b"null", "application/json", (None,), {})])
def test_calls_of_others(payload, content_type, args, kwargs):
    found_args, found_kwargs = CallReader("t", JsonSerializer(), False)(payload, content_type)
    assert (tuple(found_args), dict(found_kwargs)) == (args, kwargs)


def test_a_pickle_is_read_only_by_who_asked_for_pickles():
    payload, content_type = dump_call(PickleSerializer(), ({1, 2},), {})
    args, _ = CallReader("t", PickleSerializer(), False)(payload, content_type)
    assert args == [{1, 2}]
    with pytest.raises(zsched.InvalidArgument, match="reads application/json"):
        CallReader("t", JsonSerializer(), False)(payload, content_type)


def test_what_json_has_not_is_refused_at_the_submit(app):
    @app.task
    def take(value):
        return value

    with app.testing(), pytest.raises(zsched.InvalidArgument, match="set is not JSON serializable"):
        take.submit({1, 2})


# --- Functions ---

def test_a_task_is_still_its_function(app):
    @app.task(queue="other", priority=9)
    def add(a, b=1):
        """Adds."""
        return a + b

    assert add(1) == 2 and add.__doc__ == "Adds." and add.name == "add" and app.tasks == {"add": add}
    spec = add.spec(1, b=2)
    assert (spec.type, spec.queue, spec.priority) == ("add", "other", 9)
    assert add.using(queue="third", key="k").spec(1).queue == "third" and add.spec(1).queue == "other"


def test_options_of_the_app_and_of_the_function(app):
    assert app.task(lambda: None) and app.tasks["<lambda>"].spec().queue == "main"


def test_two_of_one_name_are_refused(app):
    app.task(name="twice")(lambda: None)
    with pytest.raises(zsched.Conflict, match="'twice' already"):
        app.task(name="twice")(lambda: None)


def test_a_wrong_option_is_refused_at_the_decorator(app):
    with pytest.raises(TypeError, match="retries"):
        app.task(retries=3)(lambda: None)


def test_wrong_arguments_are_refused_at_the_submit(app):
    @app.task
    def add(a, b):
        return a + b

    with app.testing():
        for call in (lambda: add.submit(1), lambda: add.submit(), lambda: add.delay(1, 2, 3), lambda: add.submit(1, c=2),
                     lambda: add.starmap([(1,)])):
            with pytest.raises(TypeError):
                call()


def test_the_context_is_found_by_name_or_annotation(app):
    @app.task
    def first(ctx, a):
        return ctx.type, a

    @app.task
    def last(a, *, ctx):
        return ctx.type, a

    @app.task
    def annotated(a, task: zsched.TaskContext):
        return task.type, a

    with app.testing():
        for task in (first, last, annotated):
            assert task.submit(1).result() == [task.name, 1]
            assert task(1) == (task.name, 1), "as a plain function it has a context of its own"
    with pytest.raises(zsched.InvalidArgument, match="cannot take the context"):
        app.task(name="wrong")(lambda *ctx: None)


# --- In place ---

def test_tasks_in_place(app):
    @app.task(max_attempts=5)
    def flaky(ctx):
        if ctx.attempt < 3:
            raise zsched.Retry("later", after=3600)
        return ctx.attempt

    @app.task
    async def double(n):
        await asyncio.sleep(0)
        return 2 * n

    assert not app.eager
    with app.testing() as eager:
        assert app.eager and flaky.submit().result() == 3
        assert double.submit(4).result() == 8
        handle = double.apply_async((5,), countdown=3600)
        assert handle.done() and handle.status() is zsched.TaskState.SUCCEEDED and not handle.cancel()
        assert [spec.type for spec in eager.submitted] == ["flaky", "double", "double"]
        with pytest.raises(zsched.InvalidArgument, match="broker"):
            handle.explain()
    assert not app.eager


def test_failures_in_place(app):
    @app.task(max_attempts=2)
    def fails():
        calls.append(1)
        raise KeyError("missing")

    @app.task
    def discards():
        calls.append(1)
        raise zsched.Discard("no")

    calls = []
    with app.testing():
        with pytest.raises(zsched.TaskFailed) as failed:
            fails.submit().result()
        assert failed.value.error_type == "KeyError" and "in fails" in failed.value.remote_traceback and len(calls) == 2
        with pytest.raises(zsched.TaskFailed, match="no"):
            discards.submit().result()
        assert len(calls) == 3


def test_chains_checkpoints_and_progress_in_place(app):
    @app.task(max_attempts=3)
    def count(ctx):
        done = ctx.load_checkpoint(default=0)
        ctx.checkpoint(done + 1)
        ctx.progress(10 * done)
        assert done == 2
        return done

    @app.task
    def after(ctx):
        seen.append((ctx.parent.state.name, ctx.parent.result))

    seen = []
    with app.testing() as eager:
        handle = count.using(on_success=[after.using(pass_result=True).spec()], on_failure=[after.spec()]).submit()
        assert handle.result() == 2 and seen == [("SUCCEEDED", 2)]
        assert eager.runs[handle.id].report.percent == 20


def test_coroutines_in_place(app):
    @app.task
    async def add(a, b):
        return a + b

    async def run():
        with app.testing():
            handle = await add.asubmit(1, 2)
            assert add.submit(3, 4).outcome().value() == 7, "also without await, in a thread of its own"
            return await handle.result()

    assert asyncio.run(run()) == 3


def test_other_serializers():
    class Reversed:
        content_type = "application/x-reversed"

        def dumps(self, value):
            return JsonSerializer().dumps(value)[::-1]

        def loads(self, data):
            return JsonSerializer().loads(data[::-1])

    app = zsched.App(serializer=Reversed())

    @app.task
    def add(a, b):
        return [a, b]

    @app.task(serializer=JsonSerializer())
    def as_json(a):
        return a

    with app.testing() as eager:
        assert add.submit(12, b=34).result() == [12, 34] and as_json.submit(5).result() == 5
        assert eager.submitted[0].content_type == "application/x-reversed; call=mixed"
        assert eager.submitted[1].content_type == "application/json"


USER = '''
import zsched
app = zsched.App()

@app.task
def bare(ctx: zsched.TaskContext, number: int) -> int: return number

@app.task(queue="q", timeout=3)
def options(ctx: zsched.TaskContext, number: int) -> int: return number

@app.task(priority=9)
async def coroutine(number: int, text: str = "") -> int: return number

bare.submit(1)
options.submit(1)
coroutine.submit(1, text="a")
reveal_type(bare(1))
bare.submit("wrong 1")
options.submit("wrong 2")
coroutine.submit(1, text=3)
'''


def test_type_checkers_know_the_arguments_of_a_submit(root, tmp_path):
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    checked = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--enable-incomplete-feature=Unpack", "--cache-dir",
                              tmp_path / "cache", "user.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
                             env={**os.environ, "MYPYPATH": str(root / "client/python/src")})
    assert checked.stdout.count("error:") == 3 and checked.stdout.count('of "TaskFunction" has incompatible type') == 3
    assert 'Revealed type is "builtins.int"' in checked.stdout, checked.stdout
