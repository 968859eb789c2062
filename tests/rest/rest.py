"""Clusters with an HTTP gateway, and a client that holds every answer against the OpenAPI document."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))
import processes  # noqa: E402

BIN = pathlib.Path(os.environ["ZSCHED_BIN"]).resolve()
DEADLINE_SECONDS = 90
JSON = {"Content-Type": "application/json"}


def until(what, check):
    """The first true value of `check`; fails after a time that says that it will not come."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not in {DEADLINE_SECONDS} s: {what}")


class Cluster:
    """Brokers, a worker and a gateway in a directory of their own; all of it ends with the context.

        with Cluster() as cluster:
            answer = cluster.api.get("/api/v1/queues")
    """

    def __init__(self, pair=False, embedded=False, worker=("--enable", "shell"), gateway=(), broker=()):
        self.pair, self.embedded = pair, embedded
        self.worker_flags, self.gateway_flags, self.broker_flags = worker, gateway, broker
        self.brokers = {}
        self._processes = contextlib.ExitStack()

    def __enter__(self):
        self.directory = self._processes.enter_context(processes.scratch_directory())
        nodes = ["primary", "backup"] if self.pair else ["primary"]
        # Each needs three: clients, workers, the other broker.
        base = processes.free_ports(3 * len(nodes))
        self.ports = {node: base + 3 * i for i, node in enumerate(nodes)}
        self.addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        try:
            for node in nodes:
                self.start_broker(node)
            if self.worker_flags is not None:
                self.worker = self.start("worker", "--brokers", self.addresses, "--concurrency", "4", *self.worker_flags)
            self.start_gateway()
        except BaseException:
            self._processes.close()
            raise
        return self

    def __exit__(self, *_):
        self.api.close()
        self._processes.close()

    def start(self, program, *arguments):
        log = (self.directory / f"{program}.log").open("a")
        process = self._processes.enter_context(processes.ProcessGroup(
            [BIN / f"zsched-{program}", "--log-format", "json", *map(str, arguments)], cwd=self.directory, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT))
        log.close()
        return process

    def start_broker(self, node):
        arguments = ["--data", self.directory / node, "--listen", f"127.0.0.1:{self.ports[node]}", "--node", node, *self.broker_flags]
        if self.pair:
            other = "backup" if node == "primary" else "primary"
            arguments += ["--peer", f"127.0.0.1:{self.ports[other]}"]
        if self.embedded and node == "primary":
            arguments += ["--http", "127.0.0.1:0", *self.gateway_flags]
        self.brokers[node] = self.start("broker", *arguments)

    def start_gateway(self):
        if not self.embedded:
            self.gateway = self.start("gateway", "--brokers", self.addresses, "--listen", "127.0.0.1:0", *self.gateway_flags)
        log = self.directory / ("broker.log" if self.embedded else "gateway.log")
        said = until("the gateway serves", lambda: re.findall(r'"http":"([^"]+)"', log.read_text()))
        self.http = said[-1]
        self.api = Api(self.http)
        until("a broker is active", lambda: self.api.get("/readyz", check=False).status == 200)

    def logs(self):
        return "\n".join(f"== {path.name}\n{path.read_text()[-4000:]}" for path in sorted(self.directory.glob("*.log")))

    def active(self):
        """The node that is active, as the gateway sees it; None while there is none."""
        answer = self.api.get("/leader", check=False)
        return answer.json["node"] if answer.status == 200 else None

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"


class Contract:
    """The OpenAPI document of a gateway: which operation a request is, and what its answers look like."""

    called = set()  # operations that any test of this process has called
    _lock = threading.Lock()

    def __init__(self, document):
        self.document = document
        self.operations = []
        for pattern, methods in document["paths"].items():
            expression = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", pattern) + "$")
            for method, operation in methods.items():
                self.operations.append((method.upper(), pattern.count("{"), expression, operation))
        self.operations.sort(key=lambda one: one[1])

    def check(self, method, path, answer):
        path = re.sub(r"^/(tasks|jobs)(?=/|$)", "/api/v1/tasks", urllib.parse.urlsplit(path).path)
        path = re.sub(r"^/stats$", "/api/v1/stats", path)
        for verb, _, expression, operation in self.operations:
            if verb != method or not expression.match(path):
                continue
            with self._lock:
                self.called.add(operation["operationId"])
            response = operation["responses"].get(str(answer.status))
            if response is None:
                if answer.status < 400:
                    raise AssertionError(f"{method} {path} answers {answer.status}, which its description does not have")
                response = operation["responses"]["default"]
            self._check_body(response, answer)
            return

    def _check_body(self, response, answer):
        kind = answer.headers.get("Content-Type", "").split(";")[0]
        content = response.get("content", {})
        if not content:
            assert not answer.body, answer
            return
        assert kind in content, f"{kind} is none of {list(content)}: {answer}"
        if not kind.endswith("json"):
            return
        schema = {**content[kind]["schema"], "components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json)


class Api:
    """An HTTP client for one thread. Every answer is held against the contract, unless it is told not to."""

    def __init__(self, address):
        self.address = address
        self._connection = None
        self._contract = None

    def request(self, method, path, body=None, headers=None, check=True):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers = {**JSON, **headers}
        answer = self._send(method, path, body, headers)
        if check:
            if self._contract is None:
                self._contract = Contract(self._send("GET", "/openapi.json", None, {}).json)
            self._contract.check(method, path, answer)
        return answer

    def _send(self, method, path, body, headers):
        fresh = self._connection is None
        if fresh:
            self._connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_SECONDS)
        try:
            self._connection.request(method, path, body=body, headers=headers)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except http.client.RemoteDisconnected:
            # An idle connection is closed at some time; what changes nothing is asked again.
            self.close()
            if fresh or method != "GET":
                raise
            return self._send(method, path, body, headers)
        except BaseException:
            self.close()
            raise
        if response.will_close:
            self.close()
        return answer

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body, **options)

    def submit(self, **task):
        answer = self.post("/api/v1/tasks", task)
        assert answer.status == 201, answer
        return answer.json["id"]

    def finished(self, task):
        return until(f"task {task} is over", lambda: self._if_over(task))

    def _if_over(self, task):
        answer = self.get(f"/api/v1/tasks/{task}?wait=5s")
        assert answer.status == 200, answer
        return answer.json if answer.json["state"] in ("succeeded", "dead", "cancelled") else None

    @contextlib.contextmanager
    def stream(self, path, headers=None, seconds=DEADLINE_SECONDS):
        """A stream of server-sent events, for so long at most: an iterator of (event, id, data)."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {})})
            response = connection.getresponse()
            assert response.status == 200, (response.status, response.read())
            assert response.headers["Content-Type"] == "text/event-stream"
            yield read_events(response, seconds)
        finally:
            connection.close()


def read_events(response, seconds):
    """Ends with the stream; fails when it goes on for longer than that."""
    fields, deadline = {}, time.monotonic() + seconds
    for line in iter(response.readline, b""):
        assert time.monotonic() < deadline, "the stream does not say what it should"
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            continue
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:  # otherwise it is a place without an event
                yield fields.get("event"), fields.get("id"), json.loads(fields["data"])
            fields = {}
