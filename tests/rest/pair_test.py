#!/usr/bin/python3
"""A gateway over a pair of brokers, the active one of which is killed: what was acknowledged is there, once; streams go on."""
import math
import threading
import time
import unittest

import rest

SUBMITTERS = 4
ROUNDS = 3


class Submitter(threading.Thread):
    """Submits under keys of its own, each until it is acknowledged, as a careful client does."""

    def __init__(self, http, name):
        super().__init__()
        self.api, self.prefix = rest.Api(http), name
        self.acknowledged = {}  # key: id
        self.refusals = 0
        self.stop = threading.Event()
        self.failure = None

    def run(self):
        try:
            self._submit()
        except BaseException as error:  # told by the test, which would not hear of it here
            self.failure = error

    def _submit(self):
        number = 0
        while not self.stop.is_set():
            key = f"{self.prefix}-{number}"
            number += 1
            while key not in self.acknowledged:
                answer = self.api.post("/api/v1/tasks", {"type": "echo", "payload": key}, headers={"Idempotency-Key": key}, check=False)
                if answer.status in (200, 201):
                    self.acknowledged[key] = answer.json["id"]
                else:
                    assert answer.status in (429, 503, 504), answer
                    assert answer.json["retryable"], answer
                    self.refusals += 1
                    time.sleep(0.01)
        self.api.close()


class Follower(threading.Thread):
    """Follows the end of tasks, and goes on from its last event when the stream ends."""

    def __init__(self, http):
        super().__init__(daemon=True)
        self.http, self.seen, self.places, self.repeated, self.kinds = http, set(), set(), [], set()
        self.begun, self.stop = threading.Event(), threading.Event()

    def run(self):
        api, last = rest.Api(self.http), {}
        while not self.stop.is_set():
            with api.stream("/api/v1/events?kind=succeeded&stats=500ms", last, seconds=math.inf) as events:
                for kind, place, data in events:
                    self.begun.set()
                    self.kinds.add(kind)
                    if self.stop.is_set():
                        return
                    if kind != "succeeded":
                        continue
                    if place in self.places:
                        self.repeated.append(place)
                    self.places.add(place)
                    self.seen.add(data["task"])
                    last = {"Last-Event-ID": place}


class PairTest(unittest.TestCase):
    def test_a_failover_loses_nothing(self):
        with rest.Cluster(pair=True) as cluster:
            follower = Follower(cluster.http)
            follower.start()
            self.assertTrue(follower.begun.wait(rest.DEADLINE_SECONDS))
            submitters = [Submitter(cluster.http, f"s{i}") for i in range(SUBMITTERS)]
            for submitter in submitters:
                submitter.start()
            try:
                for _ in range(ROUNDS):
                    before = sum(len(one.acknowledged) for one in submitters)
                    rest.until("some are acknowledged", lambda: sum(len(one.acknowledged) for one in submitters) > before + 100)
                    # Last: a moment of waiting may drop the standby, which must not follow then.
                    rest.until("the pair is in sync", lambda: cluster.api.get("/health", check=False).json["status"] == "ok")
                    active = cluster.active()
                    cluster.kill(cluster.brokers[active])
                    rest.until("the other one serves", lambda: cluster.active() not in (None, active))
                    cluster.start_broker(active)
            finally:
                for submitter in submitters:
                    submitter.stop.set()
            for submitter in submitters:
                submitter.join(rest.DEADLINE_SECONDS)
                self.assertFalse(submitter.is_alive())
                self.assertIsNone(submitter.failure)
            acknowledged = {}
            for submitter in submitters:
                acknowledged |= submitter.acknowledged
            self.assertEqual(len(acknowledged), len(set(acknowledged.values())), "two keys have one task")
            for key, task in acknowledged.items():
                done = cluster.api.finished(task)
                self.assertEqual(("succeeded", key, key), (done["state"], done["result"], done["key"]))
            rest.until("the stream has told of all", lambda: set(acknowledged.values()) <= follower.seen)
            follower.stop.set()
            self.assertEqual([], follower.repeated)
            self.assertIn("stats", follower.kinds)
            counted = 0
            cursor = ""
            while cursor is not None:
                page = cluster.api.get(f"/api/v1/tasks?type=echo&limit=1000{cursor}").json
                counted += len(page["tasks"])
                cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
            self.assertEqual(len(acknowledged), counted, "a task was made twice")

    def test_a_switchover_by_hand(self):
        with rest.Cluster(pair=True) as cluster:
            rest.until("the pair is in sync", lambda: cluster.api.get("/health").json["status"] == "ok")
            before = cluster.active()
            # 409 while the standby is behind, which a moment of waiting is enough for.
            rest.until("a switchover begins", lambda: cluster.api.post("/api/v1/cluster/switchover").status == 202)
            rest.until("they have changed places", lambda: cluster.active() not in (None, before))
            cluster.api.submit(type="noop")


if __name__ == "__main__":
    unittest.main()
