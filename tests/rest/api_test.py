#!/usr/bin/python3
"""The REST API on real processes: every route, each answer held against the OpenAPI document.

    ZSCHED_BIN=build/release/bin api_test.py            a gateway of its own
    ZSCHED_EMBEDDED=1 …                                 the gateway in the broker
"""
import base64
import itertools
import os
import unittest

import rest

EMBEDDED = bool(os.environ.get("ZSCHED_EMBEDDED"))
names = (f"name-{i}" for i in itertools.count())


class ApiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(rest.Cluster(embedded=EMBEDDED))
        cls.api = cls.cluster.api

    def problem(self, answer, status, code):
        self.assertEqual(status, answer.status, answer)
        self.assertEqual("application/problem+json", answer.headers["Content-Type"])
        problem = answer.json
        self.assertEqual((status, code), (problem["status"], problem["code"]), problem)
        self.assertTrue(problem["detail"])
        return problem

    def done(self, answer, status=200):
        self.assertEqual(status, answer.status, answer)
        return answer.json if answer.body else None

    def paused_queue(self):
        queue = next(names)
        self.done(self.api.request("PATCH", f"/api/v1/queues/{queue}", {"paused": True}))
        return queue

    # --- Submitting
    def test_a_task_is_submitted_and_found_where_location_says(self):
        answer = self.api.post("/api/v1/tasks", {"type": "echo", "payload": "hello", "labels": {"team": "blue"}, "priority": 7})
        submitted = self.done(answer, 201)
        self.assertFalse(submitted["repeated"])
        self.assertEqual("disk", submitted["durability"])
        task = self.done(self.api.get(answer.headers["Location"] + "?wait=20s"))
        self.assertEqual(("succeeded", "hello", {"team": "blue"}, 7),
                         (task["state"], task["result"], task["labels"], task["priority"]))

    def test_payloads_are_text_bytes_or_json(self):
        data = bytes(range(256))
        for payload, result in [("häh\n", "häh\n"),
                                ({"base64": base64.b64encode(data).decode()}, {"base64": base64.b64encode(data).decode()}),
                                ({"b": [1, None], "a": True}, '{"a":true,"b":[1,null]}')]:
            task = self.done(self.api.post("/api/v1/tasks?wait=20s", {"type": "echo", "payload": payload}), 201)
            self.assertEqual(("succeeded", result), (task["state"], task["result"]))

    def test_a_wait_that_is_too_short_says_what_is_known(self):
        queue = self.paused_queue()
        answer = self.api.post("/api/v1/tasks?wait=50ms", {"type": "noop", "queue": queue})
        task = self.done(answer, 202)["id"]
        self.assertEqual("ready", self.done(self.api.get(f"/api/v1/tasks/{task}?wait=50"))["state"])

    def test_many_tasks_are_judged_each_for_itself(self):
        answer = self.done(self.api.post("/api/v1/tasks", [
            {"type": "noop", "key": "many-1"}, {"type": "noop", "priority": 9}, {"type": "a\u0001b"}, {"type": "noop", "key": "many-1"}]))
        self.assertEqual(["INVALID_ARGUMENT"], [one["code"] for one in answer["rejected"]])
        self.assertEqual([2], [one["index"] for one in answer["rejected"]])
        self.assertIsNone(answer["ids"][2])
        self.assertEqual(answer["ids"][0], answer["ids"][3])
        self.assertEqual([3], answer["repeated"])

    def test_an_idempotency_key_makes_a_task_once(self):
        key = {"Idempotency-Key": "once-1"}
        first = self.done(self.api.post("/api/v1/tasks", {"type": "noop", "payload": "a"}, headers=key), 201)
        again = self.done(self.api.post("/api/v1/tasks", {"type": "noop", "payload": "a"}, headers=key), 200)
        self.assertEqual((first["id"], True), (again["id"], again["repeated"]))
        problem = self.problem(self.api.post("/api/v1/tasks", {"type": "noop", "payload": "b"}, headers=key), 422, "CONFLICT")
        self.assertIn(first["id"], problem["detail"])
        self.problem(self.api.post("/api/v1/tasks", {"type": "noop", "key": "other"}, headers=key), 422, "INVALID_ARGUMENT")

    def test_an_idempotency_key_of_many_counts_them(self):
        key = {"Idempotency-Key": "batch-1"}
        tasks = [{"type": "noop"}, {"type": "noop", "key": "its-own"}, {"type": "echo"}]
        first = self.done(self.api.post("/api/v1/tasks", tasks, headers=key))
        again = self.done(self.api.post("/api/v1/tasks", tasks, headers=key))
        self.assertEqual((first["ids"], [0, 1, 2]), (again["ids"], again["repeated"]))
        self.assertEqual("batch-1.2", self.done(self.api.get(f"/api/v1/tasks/{first['ids'][2]}"))["key"])

    def test_headers_give_correlation_and_trace(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = self.api.post("/api/v1/tasks", {"type": "noop"}, headers={"X-Correlation-ID": "order-17", "traceparent": trace})
        task = self.done(self.api.get(f"/api/v1/tasks/{self.done(answer, 201)['id']}"))
        self.assertEqual(("order-17", trace), (task["correlation_id"], task["traceparent"]))

    def test_chains_follow(self):
        task = self.api.submit(type="echo", payload="x", on_success={"type": "echo", "pass_result": True, "labels": {"chain": "yes"}})
        self.api.finished(task)
        follower = rest.until("the follower", lambda: self.done(self.api.get("/api/v1/tasks?label=chain=yes"))["tasks"])[0]
        self.assertEqual(task, follower["parent"])

    def test_what_is_no_task_is_refused_by_its_field(self):
        for body, field in [({"type": 7}, "type"), ({"type": "noop", "priority": 10}, "priority"), ({"type": "noop", "priority": "high"}, "priority"),
                            ({"type": "noop", "tpye": "x"}, "tpye"), ({"payload": "x"}, "type"), ({"type": "noop", "labels": ["a"]}, "labels"),
                            ({"type": "noop", "labels": {"a": 1}}, "labels.a"), ({"type": "noop", "delay": "5 parsecs"}, "delay"),
                            ({"type": "noop", "run_at": "tomorrow"}, "run_at"), ({"type": "noop", "payload": 5}, "payload"),
                            ({"type": "noop", "payload": {"base64": "!"}}, "payload"), ({"type": "noop", "pass_result": True}, "pass_result"),
                            ({"type": "noop", "on_success": {"type": "a", "on_success": {"type": "b", "key": "k"}}}, "on_success[0].on_success[0].key"),
                            ([{"type": "noop"}, {"type": "noop", "timeout": -1}], "[1].timeout"), ({"type": "noop", "delivery": "maybe"}, "delivery"),
                            ("text", ""), ([], "")]:
            problem = self.problem(self.api.post("/api/v1/tasks", rest.json.dumps(body), headers=rest.JSON), 422, "INVALID_ARGUMENT")
            self.assertTrue(problem["detail"].startswith(field), (field, problem))

    def test_what_is_not_json_is_a_bad_request(self):
        for body in [b"{", b"", b'{"type":"noop"} x', b'{"type":"\xff"}', b"[" * 33 + b"]" * 33, b"nan", b"{'type':'noop'}"]:
            self.problem(self.api.post("/api/v1/tasks", body, headers=rest.JSON), 400, "MALFORMED")
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]:
            self.problem(self.api.post("/api/v1/tasks", b'{"type":"noop"}', headers={"Content-Type": kind}), 415, "MALFORMED")
        self.done(self.api.post("/api/v1/tasks", b'{"type":"noop"}', headers={"Content-Type": "Application/JSON ; charset=utf-8"}), 201)

    def test_a_full_queue_is_too_many_requests(self):
        queue = self.paused_queue()
        self.done(self.api.request("PATCH", f"/api/v1/queues/{queue}", {"max_tasks": 1}))
        self.api.submit(type="noop", queue=queue)
        answer = self.api.post("/api/v1/tasks", {"type": "noop", "queue": queue})
        self.assertTrue(self.problem(answer, 429, "RESOURCE_EXHAUSTED")["retryable"])
        self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        self.problem(self.api.post("/api/v1/tasks", {"type": "noop", "payload": "x" * 1_048_577}), 413, "TOO_LARGE")

    # --- Looking
    def test_lists_are_filtered_and_paged(self):
        queue = self.paused_queue()
        tasks = [self.api.submit(type=f"type-{i % 2}", queue=queue, labels={"n": str(i)}) for i in range(5)]
        def listed(query):
            return [task["id"] for task in self.done(self.api.get(f"/api/v1/tasks?queue={queue}&{query}"))["tasks"]]
        self.assertEqual(tasks, listed(""))
        self.assertEqual(tasks[::-1], listed("order=desc"))
        self.assertEqual(tasks[1::2], listed("type=type-1"))
        self.assertEqual([tasks[3]], listed("label=n=3"))
        self.assertEqual([], listed("state=dead,leased"))
        self.assertEqual(tasks, listed("state=ready,dead"))
        pages, cursor = [], ""
        while cursor is not None:
            page = self.done(self.api.get(f"/api/v1/tasks?queue={queue}&order=desc&limit=2{cursor}"))
            pages += [task["id"] for task in page["tasks"]]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        self.assertEqual(tasks[::-1], pages)

    def test_a_list_without_bodies_has_more_tasks(self):
        queue = self.paused_queue()
        tasks = [self.api.submit(type="noop", queue=queue, payload="x" * 900_000, labels={"n": str(i)}) for i in range(12)]
        page = self.done(self.api.get(f"/api/v1/tasks?queue={queue}"))
        self.assertLess(len(page["tasks"]), len(tasks), "an answer is bounded")
        self.assertEqual("x" * 900_000, page["tasks"][0]["payload"])
        page = self.done(self.api.get(f"/api/v1/tasks?queue={queue}&omit_bodies=true"))
        self.assertEqual(tasks, [task["id"] for task in page["tasks"]])
        self.assertEqual([{"n": str(i)} for i in range(12)], [task["labels"] for task in page["tasks"]])
        self.assertFalse([task for task in page["tasks"] if "payload" in task or "result" in task])
        self.done(self.api.post("/api/v1/tasks/cancel", {"ids": tasks}))

    def test_a_query_that_means_nothing_is_refused(self):
        for query in ["colour=red", "limit=0", "limit=1001", "limit=x", "state=asleep", "cursor=x", "label=x", "label=%3Dx", "queue=a&queue=b", "order=sideways", "omit_bodies=some",
                      "queue=%ff"]:
            self.problem(self.api.get(f"/api/v1/tasks?{query}"), 400, "MALFORMED")
        self.problem(self.api.get("/api/v1/tasks/4-1?wait=soon"), 400, "MALFORMED")
        self.problem(self.api.get("/api/v1/tasks/4-1?wait=1h"), 400, "MALFORMED")

    def test_what_is_not_there_is_not_found(self):
        for method, path in [("GET", "/api/v1/tasks/4-999999"), ("POST", "/api/v1/tasks/4-999999/cancel"), ("DELETE", "/api/v1/tasks/4-999999"),
                             ("POST", "/api/v1/tasks/4-999999/retry"), ("GET", "/api/v1/tasks/4-999999/explain"),
                             ("GET", "/api/v1/tasks/4-999999/history"), ("GET", "/api/v1/tasks/4-999999/logs"),
                             ("GET", "/api/v1/queues/nobody"), ("POST", "/api/v1/queues/nobody/pause"), ("POST", "/api/v1/queues/nobody/purge"),
                             ("GET", "/api/v1/types/nobody"), ("POST", "/api/v1/dlq/4-999999/retry"), ("DELETE", "/api/v1/dlq/4-999999"),
                             ("GET", "/api/v1/schedules/nobody"), ("DELETE", "/api/v1/schedules/nobody"), ("POST", "/api/v1/schedules/nobody/trigger"),
                             ("GET", "/api/v1/workers/nobody"), ("POST", "/api/v1/workers/nobody/drain"), ("GET", "/api/v1/nothing"), ("GET", "/x/y")]:
            self.problem(self.api.request(method, path), 404, "NOT_FOUND")
        for path in ["/api/v1/tasks/none", "/api/v1/tasks/4-01", "/api/v1/tasks/-1", "/api/v1/tasks/%zz"]:
            self.problem(self.api.get(path), 400, "MALFORMED")

    def test_a_method_that_a_path_does_not_have_is_named(self):
        answer = self.api.request("PUT", "/api/v1/tasks", {})
        self.problem(answer, 405, "MALFORMED")
        self.assertEqual({"GET", "POST"}, set(answer.headers["Allow"].split(", ")))
        self.problem(self.api.request("OPTIONS", "/api/v1/tasks"), 405, "MALFORMED")

    def test_aliases_are_the_same_routes(self):
        task = self.done(self.api.post("/jobs", {"type": "noop"}), 201)["id"]
        for path in [f"/jobs/{task}", f"/tasks/{task}", f"/tasks/{task}/history", "/tasks?limit=1", "/stats"]:
            self.done(self.api.get(path))

    # --- Changing tasks
    def test_cancel_and_its_alias(self):
        queue = self.paused_queue()
        for method, ending in [("POST", "/cancel"), ("DELETE", "")]:
            task = self.api.submit(type="noop", queue=queue)
            self.assertEqual("cancelled", self.done(self.api.request(method, f"/api/v1/tasks/{task}{ending}"))["state"])
            self.assertEqual("cancelled", self.done(self.api.request(method, f"/api/v1/tasks/{task}{ending}"))["state"])
        done = self.api.submit(type="noop")
        self.api.finished(done)
        self.problem(self.api.post(f"/api/v1/tasks/{done}/cancel"), 409, "CONFLICT")
        items = self.done(self.api.post("/api/v1/tasks/cancel", {"ids": [task, done, "4-999999"]}))["items"]
        self.assertEqual(["OK", "CONFLICT", "NOT_FOUND"], [item["code"] for item in items])
        for body in [{}, {"ids": []}, {"ids": ["x"]}, {"ids": [7]}, {"ids": [task], "more": 1}, []]:
            self.problem(self.api.post("/api/v1/tasks/cancel", body), 422, "INVALID_ARGUMENT")

    def test_explain_history_and_logs(self):
        queue = self.paused_queue()
        waiting = self.api.submit(type="noop", queue=queue)
        explained = self.done(self.api.get(f"/api/v1/tasks/{waiting}/explain"))
        self.assertEqual(["queue_paused"], [reason["reason"] for reason in explained["reasons"]])
        ran = self.api.submit(argv=["sh", "-c", "echo out; echo err >&2"])
        self.assertEqual("succeeded", self.api.finished(ran)["state"])
        history = self.done(self.api.get(f"/api/v1/tasks/{ran}/history"))
        self.assertEqual(["succeeded"], [attempt["end"] for attempt in history["attempts"]])
        logs = self.done(self.api.get(f"/api/v1/tasks/{ran}/logs"))
        self.assertEqual({("stdout", "out\n"), ("stderr", "err\n")}, {(piece["stream"], piece["text"]) for piece in logs["output"]})
        self.assertTrue(logs["finished"])
        rest_of_it = self.done(self.api.get(f"/api/v1/tasks/{ran}/logs?attempt=1&from={logs['end_offset']}"))
        self.assertEqual([], rest_of_it["output"])

    def test_logs_are_followed_to_the_end(self):
        gate = self.cluster.directory / next(names)
        task = self.api.submit(argv=["sh", "-c", f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo second"])
        with self.api.stream(f"/api/v1/tasks/{task}/logs") as events:
            kind, _, first = next(events)
            self.assertEqual(("output", "first\n"), (kind, first["text"]))
            gate.touch()
            self.assertEqual([("output", "second\n"), ("end", None)], [(kind, data.get("text")) for kind, _, data in events])

    # --- Queues and types
    def test_rules_of_a_queue_are_set_and_taken_away(self):
        name = "with/slash " + next(names)
        path = f"/api/v1/queues/{rest.urllib.parse.quote(name, safe='')}"
        queue = self.done(self.api.request("PATCH", path, {"max_tasks": 10, "rate_per_second": 2.5, "weight": 3, "timeout_ms": 5000}))
        self.assertEqual((name, 10, 2.5, 3, 5000, None),
                         (queue["name"], queue["max_tasks"], queue["rate_per_second"], queue["weight"], queue["timeout_ms"], queue["burst"]))
        queue = self.done(self.api.request("PATCH", path, {"rate_per_second": None, "draining": True}))
        self.assertEqual((10, None, True), (queue["max_tasks"], queue["rate_per_second"], queue["draining"]))
        self.assertEqual(queue, self.done(self.api.get(path)))
        self.assertIn(name, [one["name"] for one in self.done(self.api.get("/api/v1/queues"))["queues"]])
        for rules in [{}, {"speed": 1}, {"weight": "heavy"}, {"weight": 101}, {"max_tasks": -1}, {"max_tasks": 1.5}, {"rate_per_second": 1e9},
                      {"paused": None}, []]:
            self.problem(self.api.request("PATCH", path, rules), 422, "INVALID_ARGUMENT")

    def test_a_paused_queue_hands_nothing_out(self):
        queue = self.paused_queue()
        task = self.api.submit(type="noop", queue=queue)
        self.assertEqual("paused", self.done(self.api.get(f"/api/v1/queues/{queue}"))["gate"])
        self.assertFalse(self.done(self.api.post(f"/api/v1/queues/{queue}/resume"))["paused"])
        self.assertEqual("succeeded", self.api.finished(task)["state"])
        self.assertTrue(self.done(self.api.post(f"/api/v1/queues/{queue}/pause", {}))["paused"])
        more = [self.api.submit(type="noop", queue=queue) for _ in range(3)]
        self.assertEqual({"cancelled": 3}, self.done(self.api.post(f"/api/v1/queues/{queue}/purge")))
        self.assertEqual("cancelled", self.api.finished(more[0])["state"])
        self.problem(self.api.post(f"/api/v1/queues/{queue}/pause", {"for": "ever"}), 422, "INVALID_ARGUMENT")

    def test_types_have_rules_too(self):
        kind = next(names)
        rules = self.done(self.api.request("PATCH", f"/api/v1/types/{kind}", {"max_running": 2, "no_retry": ["WORKER_LOST"]}))
        self.assertEqual((2, ["WORKER_LOST"]), (rules["max_running"], rules["no_retry"]))
        self.assertEqual([], self.done(self.api.request("PATCH", f"/api/v1/types/{kind}", {"no_retry": None}))["no_retry"])
        self.done(self.api.get(f"/api/v1/types/{kind}"))
        self.assertIn(kind, [one["name"] for one in self.done(self.api.get("/api/v1/types"))["types"]])
        self.problem(self.api.request("PATCH", f"/api/v1/types/{kind}", {"no_retry": ["SORRY"]}), 422, "INVALID_ARGUMENT")

    # --- Dead letters
    def dead(self, queue, message, times=1):
        task = self.api.submit(type="fail", queue=queue, payload={"times": times, "message": message}, max_attempts=1)
        self.assertEqual("dead", self.api.finished(task)["state"])
        return task

    def test_dead_letters_are_grouped_and_retried(self):
        queue = next(names)
        tasks = [self.dead(queue, "the first kind") for _ in range(3)] + [self.dead(queue, "another kind of error")]
        self.assertEqual(tasks, [task["id"] for task in self.done(self.api.get(f"/api/v1/dlq?queue={queue}"))["tasks"]])
        page = self.done(self.api.get(f"/api/v1/dlq?queue={queue}&limit=2"))
        self.assertEqual(tasks[2:], [task["id"] for task in self.done(self.api.get(f"/api/v1/dlq?queue={queue}&cursor={page['next_cursor']}"))["tasks"]])
        brief = self.done(self.api.get(f"/api/v1/dlq?queue={queue}&omit_bodies=true"))["tasks"]
        self.assertEqual([(task, False) for task in tasks], [(task["id"], "payload" in task) for task in brief])
        self.assertEqual("the first kind", brief[0]["error"]["message"])
        groups = self.done(self.api.get(f"/api/v1/dlq/groups?queue={queue}"))["groups"]
        self.assertEqual([3, 1], [group["tasks"] for group in groups])
        job = {"all": True, "queue": queue, "fingerprint": groups[0]["fingerprint"]}
        preview = self.done(self.api.post("/api/v1/dlq/retry", {**job, "dry_run": True}))
        self.assertEqual((3, True), (preview["matched"], preview["dry_run"]))
        self.assertEqual({"retried": 3, "passed": 0, "complete": True}, self.done(self.api.post("/api/v1/dlq/retry", {**job, "rate": 1000})))
        for task in tasks[:3]:
            self.assertEqual("succeeded", self.api.finished(task)["state"])
        self.assertEqual("OK", self.done(self.api.request("DELETE", f"/api/v1/dlq/{tasks[3]}"))["code"])
        self.problem(self.api.get(f"/api/v1/tasks/{tasks[3]}"), 404, "NOT_FOUND")

    def test_dead_letters_by_id_and_all(self):
        queue = next(names)
        tasks = [self.dead(queue, "x") for _ in range(4)]
        self.assertEqual("OK", self.done(self.api.post(f"/api/v1/dlq/{tasks[0]}/retry"))["code"])
        self.problem(self.api.post(f"/api/v1/dlq/{self.api.finished(tasks[0])['id']}/retry"), 409, "CONFLICT")
        items = self.done(self.api.post("/api/v1/dlq/retry", {"ids": [tasks[1], "4-999999"]}))["items"]
        self.assertEqual(["OK", "NOT_FOUND"], [item["code"] for item in items])
        self.assertEqual(["OK"], [item["code"] for item in self.done(self.api.post("/api/v1/dlq/delete", {"ids": [tasks[2]]}))["items"]])
        deleted = self.done(self.api.post("/api/v1/dlq/delete", {"all": True, "queue": queue, "error": "HANDLER"}))
        self.assertEqual({"deleted": 1, "passed": 0, "complete": True}, deleted)
        once_more = self.dead(queue, "y")
        self.assertNotEqual("dead", self.done(self.api.post(f"/api/v1/tasks/{once_more}/retry"))["state"])
        self.assertEqual("succeeded", self.api.finished(once_more)["state"])
        again = self.dead(queue, "z")
        self.assertEqual(["OK"], [item["code"] for item in self.done(self.api.post("/api/v1/tasks/retry", {"ids": [again]}))["items"]])
        for body in [{}, {"all": False}, {"all": True, "ids": [tasks[0]]}, {"ids": [tasks[0]], "queue": "a"}, {"all": True, "rate": 0},
                     {"all": True, "fingerprint": "xyz"}, {"all": True, "fingerprint": "0" * 16}, {"all": True, "queue": ""}, {"all": "yes"}, {"all": True, "tpye": "x"}]:
            self.problem(self.api.post("/api/v1/dlq/delete", body), 422, "INVALID_ARGUMENT")

    # --- Time schedules
    def test_a_schedule_lives_and_goes(self):
        name = next(names)
        body = {"cron": "30 2 * * MON-FRI", "tz": "Europe/Berlin", "task": {"type": "echo", "payload": "x", "labels": {"a": "b"}}, "jitter": "5s"}
        made = self.done(self.api.post("/api/v1/schedules", {"name": name, **body}), 201)
        self.assertEqual((name, 5000, "skip", False), (made["name"], made["jitter_ms"], made["overlap"], made["paused"]))
        self.problem(self.api.post("/api/v1/schedules", {"name": name, **body}), 409, "CONFLICT")
        changed = self.done(self.api.request("PUT", f"/api/v1/schedules/{name}", {**body, "overlap": "queue_one", "paused": True}))
        self.assertEqual(("queue_one", True), (changed["overlap"], changed["paused"]))
        self.assertFalse(self.done(self.api.post(f"/api/v1/schedules/{name}/resume"))["paused"])
        self.assertTrue(self.done(self.api.post(f"/api/v1/schedules/{name}/pause"))["paused"])
        triggered = self.api.post(f"/api/v1/schedules/{name}/trigger")
        self.assertEqual("succeeded", self.api.finished(self.done(triggered, 201)["id"])["state"])
        items = self.done(self.api.post(f"/api/v1/schedules/{name}/backfill",
                                        {"from": "2026-11-02T00:00:00Z", "to": "2026-11-03T23:59:59Z"}))["items"]
        self.assertEqual(["OK", "OK"], [item["code"] for item in items])
        self.assertEqual(3, len(self.done(self.api.get(f"/api/v1/schedules/{name}/next?count=3"))["next"]))
        self.assertIn(name, [one["name"] for one in self.done(self.api.get("/api/v1/schedules"))["schedules"]])
        self.assertEqual(name, self.done(self.api.get(f"/api/v1/schedules/{name}"))["name"])
        self.assertIsNone(self.done(self.api.request("DELETE", f"/api/v1/schedules/{name}"), 204))
        self.problem(self.api.get(f"/api/v1/schedules/{name}"), 404, "NOT_FOUND")

    def test_what_a_schedule_has_can_be_sent_again(self):
        name = next(names)
        task = {"type": "echo", "queue": "night", "payload": {"base64": "AP8="}, "priority": 7, "max_attempts": 3, "timeout": "90s",
                "start_within": "1h", "retry_base": "2s", "retry_cap": "1m", "labels": {"a": "b"}, "delivery": "at_most_once", "durability": "disk",
                "concurrency_key": "c", "fairness_key": "f", "correlation_id": "i", "on_success": [{"type": "noop", "timeout": "5s"}]}
        made = self.done(self.api.post("/api/v1/schedules", {"name": name, "cron": "@daily", "task": task, "jitter": "5s"}), 201)
        again = {field: made[field] for field in ["cron", "tz", "task", "overlap", "catch_up_ms", "jitter_ms", "paused"]}
        put = self.done(self.api.request("PUT", f"/api/v1/schedules/{name}", again))
        self.assertEqual((made["task"], made["jitter_ms"]), (put["task"], put["jitter_ms"]))
        self.assertEqual(("c", "at_most_once", 2000, 90_000), tuple(put["task"][field] for field in
                                                                   ["concurrency_key", "delivery", "retry_base_ms", "timeout_ms"]))
        plain = self.done(self.api.post("/api/v1/schedules", {"name": next(names), "cron": "@daily", "task": {"type": "noop"}}), 201)
        self.done(self.api.request("PUT", f"/api/v1/schedules/{plain['name']}", {"cron": "@daily", "task": plain["task"]}))

    def test_a_schedule_that_cannot_be_is_refused_by_its_field(self):
        good = {"name": next(names), "cron": "@daily", "task": {"type": "noop"}}
        for change, field in [({"cron": "61 * * * *"}, "cron"), ({"tz": "Mars/Olympus"}, "tz"), ({"task": {"type": ""}}, "task"),
                              ({"task": {"type": "noop", "tpye": 1}}, "task.tpye"), ({"overlap": "maybe"}, "overlap"), ({"every": "1s"}, "every"),
                              ({"jitter": "2h"}, "jitter"), ({"paused": 1}, "paused"), ({"name": ""}, "name")]:
            problem = self.problem(self.api.post("/api/v1/schedules", {**good, **change}), 422, "INVALID_ARGUMENT")
            self.assertIn(field.split(".")[0], problem["detail"])
        self.problem(self.api.post("/api/v1/schedules", {"name": "x", "cron": "@daily"}), 422, "INVALID_ARGUMENT")
        self.problem(self.api.request("PUT", "/api/v1/schedules/x", good), 422, "INVALID_ARGUMENT")

    def test_firings_are_previewed(self):
        query = "cron=30+2+*+*+*&tz=Europe%2FBerlin&count=2&from=2027-03-26T00%3A00%3A00Z"
        preview = self.done(self.api.get(f"/api/v1/cron/next?{query}"))
        self.assertEqual(["2027-03-26T01:30:00Z", "2027-03-27T01:30:00Z"], preview["next"])
        self.assertIn("gap", [warning["kind"] for warning in preview["warnings"]])
        self.problem(self.api.get("/api/v1/cron/next?cron=nonsense"), 422, "INVALID_ARGUMENT")
        self.problem(self.api.get("/api/v1/cron/next"), 400, "MALFORMED")

    # --- Workers, cluster, figures
    def test_workers_are_seen_and_drained(self):
        other = self.cluster.start("worker", "--brokers", self.cluster.addresses, "--name", "the one to go")
        found = rest.until("the worker is there", lambda: [worker for worker in self.done(self.api.get("/api/v1/workers"))["workers"]
                                                           if worker["name"] == "the one to go"])
        self.assertEqual(found[0]["id"], self.done(self.api.get("/api/v1/workers/the%20one%20to%20go"))["id"])
        self.done(self.api.post(f"/api/v1/workers/{found[0]['id']}/drain"), 202)
        self.assertEqual(0, other.wait(timeout=rest.DEADLINE_SECONDS))

    def test_the_cluster_and_its_figures(self):
        cluster = self.done(self.api.get("/api/v1/cluster"))
        self.assertEqual(["active_solo"], [broker["role"] for broker in cluster["brokers"]])
        self.problem(self.api.post("/api/v1/cluster/switchover"), 409, "CONFLICT")
        self.api.finished(self.api.submit(type="noop"))
        stats = self.done(self.api.get("/api/v1/stats"))
        self.assertGreater(stats["counters"]["tasks_submitted_total"], 0)
        self.assertGreater(sum(stats["histograms"]["task_run"]["counts"]), 0)

    # --- Events
    def test_events_of_a_task_are_a_page_and_a_stream(self):
        task = self.api.submit(type="fail", payload={"times": 1, "message": "once"}, retry_base=10)
        self.api.finished(task)
        found, after = [], ""
        while after is not None:  # one page looks at a part of the log
            page = self.done(self.api.get(f"/api/v1/events?task={task}&limit=1000{after}"))
            found += page["events"]
            after = None if page["complete"] else f"&after={page['next']}"
        kinds = [event["kind"] for event in found]
        self.assertEqual(("submitted", "succeeded"), (kinds[0], kinds[-1]))
        self.assertEqual(2, kinds.count("started"))
        self.assertIn("failed", kinds)
        # A stream that goes on behind the first event has all the others, and each once.
        with self.api.stream(f"/api/v1/events?task={task}", {"Last-Event-ID": found[0]["position"]}) as events:
            streamed = list(itertools.islice(events, len(kinds) - 1))
        self.assertEqual([(event["kind"], event["position"]) for event in found[1:]], [(kind, place) for kind, place, _ in streamed])

    def test_a_stream_begins_now_and_has_figures(self):
        with self.api.stream("/api/v1/events?stats=500ms&kind=succeeded") as events:
            kind, place, stats = next(events)
            self.assertEqual(("stats", None), (kind, place))
            self.assertIn("queues", stats)
            task = self.api.submit(type="noop")
            while True:
                kind, _, data = next(events)
                if kind == "succeeded" and data["task"] == task:
                    break

    def test_a_stream_that_wants_few_events_is_told_that_there_were_more(self):
        with self.api.stream("/api/v1/events?rate=5&stats=500ms&kind=submitted") as events:
            next(events)  # the figures: it has begun
            self.done(self.api.post("/api/v1/tasks", [{"type": "noop"}] * 200))
            kinds = list(itertools.takewhile(lambda kind: kind != "skipped", (kind for kind, _, _ in events)))
            self.assertLessEqual(kinds.count("submitted"), 10)

    def test_an_event_stream_that_cannot_be_is_refused(self):
        for query in ["kind=everything", "after=yesterday", "task=x", "stats=fast", "rate=0"]:
            answer = self.api.get(f"/api/v1/events?{query}", headers={"Accept": "text/event-stream"})
            self.problem(answer, 400, "MALFORMED")

    # --- The dashboard's files, and pages of others
    def test_files_of_the_dashboard_are_cached_by_their_tag(self):
        answer = self.api.get("/", check=False)
        self.assertEqual(200, answer.status)
        self.assertIn("default-src 'self'", answer.headers["Content-Security-Policy"])
        self.assertEqual("nosniff", answer.headers["X-Content-Type-Options"])
        again = self.api.get("/", headers={"If-None-Match": answer.headers["ETag"]}, check=False)
        self.assertEqual((304, b""), (again.status, again.body))
        self.problem(self.api.get("/ui/none.js", check=False), 404, "NOT_FOUND")

    def test_a_page_of_another_origin_changes_nothing(self):
        queue = self.paused_queue()
        for origin in ["http://evil.example", "null", f"http://{self.cluster.http}.evil.example"]:
            answer = self.api.post(f"/api/v1/queues/{queue}/resume", headers={"Origin": origin})
            self.problem(answer, 403, "PERMISSION_DENIED")
        self.assertTrue(self.done(self.api.get(f"/api/v1/queues/{queue}", headers={"Origin": "http://evil.example"}))["paused"])
        own = {"Origin": f"http://{self.cluster.http}"}
        self.assertFalse(self.done(self.api.post(f"/api/v1/queues/{queue}/resume", headers=own))["paused"])


class ZCoverage(unittest.TestCase):
    """Runs last: every operation of the document was called by a test above."""

    def test_every_operation_was_called(self):
        with rest.Cluster(worker=None) as cluster:
            document = cluster.api.get("/openapi.json").json
            for path in ["/metrics", "/health", "/livez", "/readyz", "/leader"]:
                cluster.api.get(path)
        operations = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
        self.assertEqual(set(), operations - rest.Contract.called)
        for schema in document["components"]["schemas"].values():
            rest.jsonschema.Draft202012Validator.check_schema(schema)
        ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
        self.assertEqual(len(ids), len(set(ids)))


if __name__ == "__main__":
    unittest.main()
