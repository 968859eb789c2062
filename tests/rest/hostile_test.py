#!/usr/bin/python3
"""What no client sends on purpose: the gateway answers with an error or closes, and serves the next one."""
import gzip
import random
import socket
import threading
import time
import unittest

import rest

MAX_BODY = 64 << 10
REQUEST_MS = 1000
IDLE_MS = 2000
FLAGS = ("--http-max-body", "64KiB", "--http-request-time", f"{REQUEST_MS}ms", "--http-idle", f"{IDLE_MS}ms",
         "--http-connections", "40")


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(rest.Cluster(gateway=FLAGS))
        cls.api = cls.cluster.api
        host, port = cls.cluster.http.rsplit(":", 1)
        cls.address = host, int(port)

    def tearDown(self):
        self.assertIsNone(self.cluster.gateway.poll(), self.cluster.logs())
        self.assertEqual(200, self.api.get("/livez").status)

    def connect(self):
        return socket.create_connection(self.address, timeout=rest.DEADLINE_SECONDS)

    def talk(self, data):
        """All that comes back until the gateway closes; it does, after the idle time at the latest."""
        with self.connect() as connection:
            answer = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:  # closed, at whatever moment
                pass
            return answer

    def status(self, data):
        answer = self.talk(data)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None

    @staticmethod
    def post(body, *headers, path="/api/v1/tasks"):
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    # --- Sizes
    def test_bodies_are_bounded(self):
        big = b'{"type":"noop","payload":"' + b"x" * MAX_BODY + b'"}'
        self.assertEqual(413, self.status(self.post(big, f"Content-Length: {len(big)}")))
        self.assertEqual(413, self.status(self.post(b"", "Content-Length: 99999999999999999")))
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        self.assertEqual(413, self.status(self.post(chunk * 10 + b"0\r\n\r\n", "Transfer-Encoding: chunked")))
        bomb = gzip.compress(b" " * (64 << 20))
        self.assertLess(len(bomb), MAX_BODY * 2)
        self.assertEqual(413, self.status(self.post(bomb[:MAX_BODY], f"Content-Length: {min(len(bomb), MAX_BODY)}", "Content-Encoding: gzip")))

    def test_heads_are_bounded(self):
        self.assertEqual(414, self.status(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"))
        for endless in [b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 100_000, b"GET /livez HTTP/1.1\r\nX: " + b"y" * 1_000_000, b"A" * 1_000_000]:
            began = time.monotonic()
            self.assertIn(self.status(endless), (None, 400, 414))
            self.assertLess(time.monotonic() - began, rest.DEADLINE_SECONDS)

    def test_json_may_not_be_deep(self):
        for body in [b"[" * 30_000, b'{"a":' * 10_000, b"[" * 33 + b"]" * 33, b'{"type":"noop","payload":' + b"[" * 40 + b"]" * 40 + b"}"]:
            self.assertEqual(400, self.status(self.post(body, f"Content-Length: {len(body)}")))

    def test_lengths_that_lie(self):
        body = b'{"type":"noop"}'
        for headers in [["Content-Length: -1"], ["Content-Length: x"], ["Content-Length: 15", "Content-Length: 16"],
                        ["Content-Length: 15", "Transfer-Encoding: chunked"], ["Content-Length: 15x"], ["Content-Length: +15"]]:
            self.assertEqual(400, self.status(self.post(body, *headers)), headers)
        # Less than was announced: no task, and an answer or the end.
        before = self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"]
        self.assertIn(self.status(self.post(body[:-1], "Content-Length: 15")), (None, 400))
        self.assertIn(self.status(self.post(b"zz\r\n" + body, "Transfer-Encoding: chunked")), (None, 400))
        self.assertEqual(before, self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"])

    def test_what_follows_a_refused_body_is_not_a_request(self):
        inner = self.post(b'{"type":"noop"}', "Content-Length: 15")
        answer = self.talk(self.post(inner, "Content-Length: 99999999"))
        self.assertEqual(1, answer.count(b"HTTP/1.1 "), answer)

    # --- Time
    def test_slow_requests_are_cut_off(self):
        slow = [b"GET /livez HTTP/1.1\r\nHost: x\r\n", self.post(b"", "Content-Length: 1000")]
        began = time.monotonic()
        connections = [(self.connect(), data) for data in slow for _ in range(10)]
        try:
            for connection, data in connections:
                connection.sendall(data)
            open_ones = [connection for connection, _ in connections]
            while open_ones and time.monotonic() - began < rest.DEADLINE_SECONDS:
                # A byte now and then: the library by itself would wait anew after each.
                for connection in list(open_ones):
                    connection.settimeout(0.001)
                    try:
                        connection.send(b"X")
                        while connection.recv(4096):
                            pass
                        open_ones.remove(connection)
                    except TimeoutError:
                        pass
                    except OSError:
                        open_ones.remove(connection)
                time.sleep(0.05)
            self.assertEqual([], open_ones)
        finally:
            for connection, _ in connections:
                connection.close()

    def test_idle_connections_are_closed(self):
        with self.connect() as connection:
            self.assertEqual(b"", connection.recv(1))

    def test_one_connection_too_many_is_told_so(self):
        held = [self.connect() for _ in range(60)]
        try:
            for connection in held:
                connection.setblocking(False)

            def refusals():
                found = []
                for connection in held:
                    try:
                        found.append(connection.recv(65536))
                    except OSError:
                        pass
                return [answer for answer in found if b" 503 " in answer]
            self.assertIn(b"Retry-After", rest.until("one is refused", refusals)[0])
        finally:
            for connection in held:
                connection.close()
        self.api.close()
        rest.until("there is room again", lambda: self.api.get("/livez", check=False).status == 200)

    def test_those_who_wait_leave_room_for_the_others(self):
        self.api.request("PATCH", "/api/v1/queues/stands", {"paused": True})
        task = self.api.submit(type="noop", queue="stands")
        statuses, threads = [], []
        def wait():
            api = rest.Api(self.cluster.http)
            statuses.append(api.get(f"/api/v1/tasks/{task}?wait=10s", check=False).status)
            api.close()
        for _ in range(25):
            threads.append(threading.Thread(target=wait))
            threads[-1].start()
        rest.until("some found no place", lambda: statuses.count(429) >= 5)
        self.assertEqual(200, self.api.get(f"/api/v1/tasks/{task}").status)
        self.api.post(f"/api/v1/tasks/{task}/cancel")
        for thread in threads:
            thread.join()
        self.assertEqual({200, 429}, set(statuses))

    # --- Paths and texts
    def test_paths_lead_nowhere_else(self):
        for path in ["/ui/../../../../etc/passwd", "/ui/%2e%2e/%2e%2e/etc/passwd", "/ui/..%2f..%2fetc%2fpasswd", "/../etc/passwd", "//etc/passwd",
                     "/ui//etc/passwd", "/ui/%00", "/ui/a%00.js", "/ui/pages/..%5c..%5cx", "/%", "/%2", "/api/v1/tasks/%ff", "/api/v1/tasks/4-1/../x",
                     "/api//v1/tasks", "/api/v1/tasks/", "*", "http://elsewhere/livez"]:
            status = self.status(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertIn(status, (400, 404), path)

    def test_html_in_names_and_payloads_stays_text(self):
        script = "<script>alert(1)</script><img src=x onerror=alert(1)>"
        task = self.api.submit(type=script, queue=script, payload=script, labels={"x": script}, key=script)
        for path in [f"/api/v1/tasks/{task}", "/api/v1/queues", f"/api/v1/{rest.urllib.parse.quote(script)}", "/metrics",
                     f"/api/v1/queues/{rest.urllib.parse.quote(script, safe='')}"]:
            answer = self.api.get(path, check=False)
            self.assertNotIn("html", answer.headers["Content-Type"])
            self.assertEqual("nosniff", answer.headers["X-Content-Type-Options"])
        self.assertEqual(script, self.api.get(f"/api/v1/tasks/{task}").json["payload"])

    def test_ranges_are_not_served(self):
        ranges = ",".join(["0-"] * 1300)
        answer = self.talk(f"GET /openapi.json HTTP/1.1\r\nHost: x\r\nRange: bytes={ranges}\r\n\r\n".encode())
        self.assertLess(len(answer), 1 << 20)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:100])

    def test_a_header_cannot_be_split(self):
        answer = self.api.post("/api/v1/tasks", {"type": "noop"}, headers={"Idempotency-Key": "a\tb"}, check=False)
        self.assertEqual(422, answer.status)
        self.assertNotIn(b"\r\nInjected:", self.talk(b"GET /%0d%0aInjected:%20x HTTP/1.1\r\nHost: x\r\n\r\n"))

    # --- Noise
    def test_noise_of_all_kinds(self):
        rng = random.Random(20261122)
        valid = self.post(b'{"type":"noop","payload":{"a":[1,2.5,null,"x"]}}', "Content-Length: 49")
        for seed in range(300):
            data = bytearray(valid)
            for _ in range(rng.randrange(1, 8)):
                place = rng.randrange(len(data))
                kind = rng.randrange(3)
                if kind == 0:
                    data[place] = rng.randrange(256)
                elif kind == 1:
                    del data[place:place + rng.randrange(1, 9)]
                else:
                    data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            status = self.status(bytes(data))
            self.assertNotIn(status, (500, 502), (seed, bytes(data)))


if __name__ == "__main__":
    unittest.main()
