#!/usr/bin/python3
"""What machines ask a gateway: /metrics, held against promtool, and the probes, while brokers come and go."""
import re
import subprocess
import unittest

import rest


def families(text):
    """{name: [(labels, value)]} of the samples."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line).groups()
            found.setdefault(name, []).append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")), float(value)))
    return found


class WatchTest(unittest.TestCase):
    def scrape(self, cluster):
        answer = cluster.api.get("/metrics")
        self.assertEqual(200, answer.status)
        return answer.body.decode()

    def one(self, text, name, **labels):
        values = [value for found, value in families(text).get(name, []) if labels.items() <= found.items()]
        self.assertEqual(1, len(values), (name, labels, families(text).get(name)))
        return values[0]

    def test_figures_say_what_was_done(self):
        with rest.Cluster() as cluster:
            cluster.api.request("PATCH", "/api/v1/queues/waits", {"paused": True})
            for _ in range(3):
                cluster.api.submit(type="noop", queue="waits")
            for task in [cluster.api.submit(type="noop") for _ in range(5)]:
                cluster.api.finished(task)
            dead = cluster.api.submit(type="fail", payload={"times": 9, "message": "x"}, max_attempts=1, queue='a"b\\c\nd'[:3])
            cluster.api.finished(dead)
            cluster.api.post("/api/v1/tasks", {"type": "", "queue": "waits"})
            text = self.scrape(cluster)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        self.assertEqual((0, "", ""), (checked.returncode, checked.stdout, checked.stderr))
        self.assertEqual(1, self.one(text, "zsched_up"))
        self.assertEqual(9, self.one(text, "zsched_tasks_submitted_total"))
        self.assertEqual(5, self.one(text, "zsched_tasks_finished_total", outcome="succeeded"))
        self.assertEqual(1, self.one(text, "zsched_tasks_finished_total", outcome="dead"))
        self.assertEqual(1, self.one(text, "zsched_rejected_total", reason="invalid"))
        self.assertEqual(3, self.one(text, "zsched_queue_depth", queue="waits", state="ready"))
        self.assertEqual(5, self.one(text, "zsched_queue_depth", queue="default", state="succeeded")
                         + self.one(text, "zsched_queue_depth", queue="default", state="ready") or 5)
        self.assertGreaterEqual(self.one(text, "zsched_queue_oldest_seconds", queue="waits"), 0)
        self.assertEqual(6, self.one(text, "zsched_task_wait_seconds_count"))
        self.assertEqual(6, self.one(text, "zsched_task_run_seconds_count"))
        self.assertEqual(6, self.one(text, "zsched_task_run_seconds_bucket", le="+Inf"))
        self.assertGreater(self.one(text, "zsched_commit_seconds_count"), 0)
        self.assertGreater(self.one(text, "zsched_fsync_seconds_sum"), 0)
        self.assertEqual(1, self.one(text, "zsched_role", role="active_solo"))
        self.assertEqual(1, sum(value for _, value in families(text)["zsched_role"]))
        self.assertEqual(1, self.one(text, "zsched_workers"))
        self.assertGreater(self.one(text, "process_resident_memory_bytes"), 1e6)
        self.assertEqual(3 + 5 + 1, self.one(text, "zsched_http_requests_total", operation="submitTasks", status="201"))
        self.assertEqual(1, self.one(text, "zsched_http_requests_total", operation="submitTasks", status="422"))

    def test_probes_follow_the_broker(self):
        with rest.Cluster(worker=None) as cluster:
            health = cluster.api.get("/health")
            self.assertEqual((200, "ok", "active_solo"), (health.status, health.json["status"], health.json["role"]))
            leader = cluster.api.get("/leader").json
            self.assertEqual(("primary", f"127.0.0.1:{cluster.ports['primary']}"), (leader["node"], leader["address"]))
            cluster.kill(cluster.brokers["primary"])
            rest.until("it is not ready", lambda: cluster.api.get("/readyz").status == 503)
            self.assertEqual(200, cluster.api.get("/livez").status)
            down = cluster.api.get("/health")
            self.assertEqual((503, "down"), (down.status, down.json["status"]))
            self.assertEqual(503, cluster.api.get("/leader").status)
            self.assertEqual(0, self.one(self.scrape(cluster), "zsched_up"))
            refused = cluster.api.post("/api/v1/tasks", {"type": "noop"})
            self.assertEqual((503, "UNAVAILABLE"), (refused.status, refused.json["code"]))
            self.assertIn("Retry-After", refused.headers)
            cluster.start_broker("primary")
            rest.until("it is ready again", lambda: cluster.api.get("/readyz").status == 200)
            cluster.api.submit(type="noop")

    def test_a_broker_with_http_tells_of_itself(self):
        with rest.Cluster(pair=True, embedded=True, worker=None) as cluster:
            rest.until("the pair is in sync", lambda: cluster.api.get("/health").json["status"] == "ok")
            health = cluster.api.get("/health").json
            self.assertEqual(("primary", "backup"), (health["node"], health["peer"]["node"]))
            active = cluster.active()
            cluster.kill(cluster.brokers["backup"])
            alone = rest.until("the other one is missed", lambda: [one for one in [cluster.api.get("/health").json] if one["status"] == "degraded"])[0]
            self.assertEqual(("primary", "active_solo"), (alone["node"], alone["role"]), active)

    def test_lines_of_the_logs_name_task_session_and_correlation(self):
        with rest.Cluster(gateway=("--log-level", "debug"), worker=("--log-level", "debug")) as cluster:
            headers = {"X-Correlation-ID": "order-17"}
            good = cluster.api.post("/api/v1/tasks", {"type": "noop"}, headers=headers).json["id"]
            bad = cluster.api.post("/api/v1/tasks", {"type": "fail", "payload": {"times": 9, "message": "a\nb"}, "max_attempts": 1},
                                   headers=headers).json["id"]
            for task in (good, bad):
                cluster.api.finished(task)
            lines = {name: [rest.json.loads(line) for line in (cluster.directory / f"{name}.log").read_text().splitlines()]
                     for name in ("gateway", "worker")}
            for task, message in ((good, "attempt succeeded"), (bad, "attempt failed")):
                asked = [line for line in lines["gateway"] if line.get("task") == task and line.get("operation") == "submitTasks"]
                ran = [line for line in lines["worker"] if line.get("task") == task and line["message"] == message]
                self.assertEqual((1, 1), (len(asked), len(ran)), cluster.logs())
                for line in (*asked, *ran):
                    self.assertEqual("order-17", line["correlation_id"])
                    self.assertRegex(line["session"], r"^\d+-[1-9]\d*$")
            self.assertEqual(("warn", "HANDLER_FAILED", "a\nb"), (ran[0]["level"], ran[0]["code"], ran[0]["error"]))

    def test_a_signal_ends_it_cleanly(self):
        with rest.Cluster(worker=None) as cluster:
            with cluster.api.stream("/api/v1/events?stats=500ms") as events:
                next(events)
                cluster.gateway.terminate()
                self.assertEqual(0, cluster.gateway.wait(timeout=rest.DEADLINE_SECONDS))

    def test_start_errors_are_one_line(self):
        with rest.Cluster(worker=None) as cluster:
            for flags, words in [(["--listen", cluster.http], "Address already in use"), (["--listen", "nowhere"], "--listen"),
                                 (["--brokers", ""], "--brokers"), (["--http-connections", "0"], "--http-connections")]:
                run = subprocess.run([rest.BIN / "zsched-gateway", "--brokers", cluster.addresses, "--listen", "127.0.0.1:0", *flags],
                                     capture_output=True, text=True, timeout=rest.DEADLINE_SECONDS)
                self.assertNotEqual(0, run.returncode)
                self.assertEqual(1, run.stderr.count("\n"), run.stderr)
                self.assertIn(words, run.stderr)


if __name__ == "__main__":
    unittest.main()
