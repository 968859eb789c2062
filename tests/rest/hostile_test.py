#!/usr/bin/python3
"""What no client sends on purpose: the gateway answers with an error or closes, and serves the next one."""
import contextlib
import gzip
import random
import socket
import threading
import time
import unittest

import rest

MAX_BODY = 64 << 10
REQUEST_MS = 3000
IDLE_MS = 6000
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
            # Closed, at whatever moment; what was answered before is there all the same.
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while piece := connection.recv(65536):
                    answer += piece
            return answer

    def status(self, data):
        answer = self.talk(data)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None

    @staticmethod
    def post(body, *headers, path="/api/v1/tasks"):
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    # --- Sizes
    def test_bodies_are_bounded(self):
        big = b'{"type":"noop","payload":"' + b"x" * MAX_BODY + b'"}'
        self.assertEqual(413, self.status(self.post(big, f"Content-Length: {len(big)}")))
        self.assertEqual(413, self.status(self.post(b"", "Content-Length: 99999999999999999")))
        self.assertEqual(411, self.status(self.post(b"f\r\n" + b'{"type":"noop"}' + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked")))
        packed = gzip.compress(b'{"type":"noop"}')
        self.assertEqual(415, self.status(self.post(packed, f"Content-Length: {len(packed)}", "Content-Encoding: gzip")))

    def test_heads_are_bounded(self):
        self.assertEqual(414, self.status(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        for endless in [b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 100_000, b"GET /livez HTTP/1.1\r\nX: " + b"y" * 1_000_000, b"A" * 1_000_000]:
            began = time.monotonic()
            self.assertIn(self.status(endless), (None, 400, 414, 431))
            self.assertLess(time.monotonic() - began, rest.DEADLINE_SECONDS)

    def test_json_may_not_be_deep(self):
        for body in [b"[" * 30_000, b'{"a":' * 10_000, b"[" * 33 + b"]" * 33, b'{"type":"noop","payload":' + b"[" * 40 + b"]" * 40 + b"}"]:
            self.assertEqual(400, self.status(self.post(body, f"Content-Length: {len(body)}")))

    def test_lengths_that_lie(self):
        body = b'{"type":"noop"}'
        for headers in [["Content-Length: -1"], ["Content-Length: x"], ["Content-Length: 15", "Content-Length: 16"],
                        ["Content-Length: 15", "Transfer-Encoding: chunked"], ["Content-Length: 15x"], ["Content-Length: +15"]]:
            self.assertIn(self.status(self.post(body, *headers)), (400, 411), headers)
        # Less than was announced: no task, and an answer or the end.
        before = self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"]
        self.assertIn(self.status(self.post(body[:-1], "Content-Length: 15")), (None, 400))
        self.assertEqual(before, self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"])

    def test_what_follows_a_refused_body_is_not_a_request(self):
        inner = self.post(b'{"type":"noop"}', "Content-Length: 15")
        answer = self.talk(self.post(inner, "Content-Length: 99999999"))
        self.assertEqual(1, answer.count(b"HTTP/1.1 "), answer)

    # --- Time
    def test_slow_requests_are_cut_off(self):
        slow = [b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", self.post(b"", "Content-Length: 1000")]
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
        held = []
        try:
            def refusals():
                # Those that say nothing give way after a while: there are always 60.
                while len(held) < 60:
                    held.append(self.connect())
                    held[-1].setblocking(False)
                found = []
                for connection in list(held):
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        found.append(connection.recv(65536))
                        connection.close()
                        held.remove(connection)
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
                     "/api//v1/tasks", "/api/v1/tasks/", "*", "http://elsewhere/x"]:
            status = self.status(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
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
        answer = self.talk(f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nRange: bytes={ranges}\r\n\r\n".encode())
        self.assertLess(len(answer), 1 << 20)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:100])

    def test_an_answer_cannot_be_split(self):
        # Location and Allow are the headers with something in them; neither takes what the request said.
        for path in ["/api/v1/tasks/4-1%0d%0aInjected:%20x", "/%0d%0aInjected:%20x"]:
            answer = self.talk(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.assertNotIn(b"\r\nInjected:", answer)
        split = self.talk(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Correlation-ID: a\rInjected: x\r\n\r\n")
        self.assertTrue(split.startswith(b"HTTP/1.1 400 "), split)

    # --- Two requests in the bytes of one
    def test_no_body_is_taken_for_a_request(self):
        inner = b'POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"type":"noop"}'
        before = self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"]
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PRI", "POST"]:
            path = "/api/v1/tasks/4-999999" if method == "DELETE" else "/livez"
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            for framing in [f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked", f"Content-Length : {len(inner)}",
                            f"Content-Length: {len(inner)}\r\nContent-Length: 0", f"Content-Length: 0\r\nTransfer-Encoding: chunked",
                            f"X: y\n Content-Length: {len(inner)}", f"Content-Length: 0x{len(inner):x}", f"Content-Length: {len(inner)}, 0"]:
                answer = self.talk(f"{head}{framing}\r\n\r\n".encode() + inner)
                self.assertLessEqual(answer.count(b"HTTP/1.1 "), 1, (method, framing, answer))
        self.assertEqual(before, self.api.get("/api/v1/stats").json["counters"]["tasks_submitted_total"])

    def test_requests_in_one_piece_are_answered_in_turn(self):
        requests = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: Close\r\n\r\n"
        answer = self.talk(requests + requests)
        self.assertEqual([b"200", b"200", b"200", b"404"], [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]])

    def test_many_values_cost_little(self):
        body = b'{"type":"e","on_success":[' + b"1," * 30_000 + b"1]}"
        self.assertEqual(422, self.status(self.post(body, f"Content-Length: {len(body)}")))

    # --- Names
    def test_it_is_asked_under_its_own_name_only(self):
        for host, status in [("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:8080", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403),
                             ("localhost.evil.example:80", 403)]:
            self.assertEqual(status, self.status(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()), host)
        self.assertEqual(400, self.status(b"GET /livez HTTP/1.1\r\n\r\n"))

    def test_places_of_those_who_have_gone_are_free_again(self):
        self.api.request("PATCH", "/api/v1/queues/stands-still", {"paused": True})
        task = self.api.submit(type="noop", queue="stands-still")
        for _ in range(30):
            with self.connect() as connection:
                connection.sendall(f"GET /api/v1/tasks/{task}?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        rest.until("there is a place", lambda: self.api.get(f"/api/v1/tasks/{task}?wait=10ms").status == 200)
        self.api.post(f"/api/v1/tasks/{task}/cancel")

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


class CrowdedTest(unittest.TestCase):
    MOST = 16

    def test_connections_that_ask_nothing_give_way(self):
        """Long before they are idle for too long: some have asked once, others never."""
        with rest.Cluster(worker=None, gateway=("--http-connections", str(self.MOST))) as cluster:
            host, port = cluster.http.rsplit(":", 1)
            # One place is the cluster's own client's; some of these are refused at once.
            held = [socket.create_connection((host, int(port)), timeout=rest.DEADLINE_SECONDS) for _ in range(2 * self.MOST)]
            try:
                for connection in held[::2]:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")

                def probed():
                    with contextlib.closing(rest.Api(cluster.http)) as api:
                        return api.get("/livez", check=False).status == 200
                rest.until("a probe gets through", probed)
                # No more than had to: a connection that stays open says nothing.
                time.sleep(2)
                self.assertGreaterEqual(sum(self.is_open(connection) for connection in held), self.MOST // 2)
            finally:
                for connection in held:
                    connection.close()

    @staticmethod
    def is_open(connection):
        connection.setblocking(False)
        try:
            while connection.recv(4096):
                pass
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main()
