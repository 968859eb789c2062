"""docs/python.md: its examples run, and every call that it names is there."""
import ast
import contextlib
import io
import re

import pytest
from cluster import Cluster
from conftest import ROOT

import zsched
from zsched.cron import Schedules
from zsched.dlq import DeadLetters

PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", PAGE, re.MULTILINE))


@pytest.fixture(scope="module")
def cluster(programs):
    with Cluster(programs) as cluster:
        cluster.start_broker()
        # What the examples name; the worker's own types are what runs them.
        cluster.start_worker()
        yield cluster


def run(block, cluster, **names):
    """A block as it stands, but for the address; what it prints."""
    code = compile(block.replace('"127.0.0.1:5570"', repr(cluster.brokers)), "docs/python.md", "exec",
                   flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = eval(code, {"zsched": zsched, **names})
        if found is not None:
            import asyncio
            asyncio.run(found)
    return out.getvalue()


def test_the_examples_run(cluster):
    first, options, many, aio, events = BLOCKS
    assert re.fullmatch(r"\d+-\d+ hello\n", run(first, cluster))
    with zsched.Client(cluster.brokers) as client:
        run(options, cluster, client=client)
        assert [task.key for task in client.list(queue="outbox")] == ["order-42"]
        # Nobody resizes here; what is asked is that the calls are right.
        out = run(many.replace('"resize"', '"echo"'), cluster, client=client, paths=["a", "b"])
        assert re.fullmatch(r"(\d+-\d+ True\n){2}", out)
        out = run(events, cluster, client=client).split()
        assert out[1::3] == ["SUBMITTED", "STARTED", "SUCCEEDED"] and len(set(out[2::3])) == 1
    assert run(aio, cluster) == "hello\n"


@pytest.mark.parametrize("row, cls", [
    ("a handle", zsched.TaskHandle), ("submitting", zsched.Client), ("waiting", zsched.Client), ("tasks", zsched.Client),
    ("events", zsched.Client), ("queues and types", zsched.Client), ("dead letters", DeadLetters), ("time schedules", Schedules),
    ("the cluster", zsched.Client), ("the client", zsched.Client)])
def test_every_call_that_is_named_is_there(row, cls):
    names = [re.match(r"\w+", re.sub(r"^(dlq|cron)\.", "", name))[0] for name in re.findall(r"`([^`]+)`", ROWS[row])]
    assert names and all(hasattr(cls, name) for name in names), names


def test_every_exception_that_is_named_is_there():
    section = PAGE.partition("## Errors")[2].partition("##")[0]
    names = set(re.findall(r"`([A-Z]\w+)`", section)) - {"ValueError", "LookupError", "TimeoutError"}
    assert names >= {"TaskFailed", "NotFound"} and all(hasattr(zsched, name) for name in names)
