#!/usr/bin/python3
"""What people do with the dashboard, against a broker and a worker: submit, watch, retry, pause, filter, select, schedule.

use_test.py [TEST…]      ZSCHED_BIN, ZSCHED_ARTEFACTS: see cluster_browser.py
"""

import unittest
import urllib.parse

from cluster_browser import WAIT_SECONDS, Browser, Site


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(
            Site(worker=["--concurrency", "4", "--name", "worker-one", "--enable", "shell"])
        )
        cls.browser = cls.enterClassContext(Browser(cls.site))

    def setUp(self):
        self.browser.begin()

    def tearDown(self):
        if self._outcome.success:
            self.assertEqual([], self.browser.console(), "errors on the console")
            self.assertEqual([], self.browser.refused(), "the content security policy had to refuse something")
            elsewhere = [
                url for url in self.browser.requests() if not url.startswith((self.site.url + "/", "data:", "blob:"))
            ]
            self.assertEqual([], elsewhere, "requests to other hosts")
        else:
            self.browser.screenshot(f"failed-{self._testMethodName}")

    def until(self, condition, what):
        return self.browser.until(condition, what)


class Submit(Case):
    def test_a_task_is_submitted_and_watched_until_it_has_its_result(self):
        browser = self.browser
        browser.button("Submit task")
        browser.fill("type", "shell")
        browser.fill("queue", "films")
        browser.fill("payload", '{"argv":["sh","-c","echo first; read line; echo last: $line"],"stdin":"the end\\n"}')
        browser.fill("labels", "team=blue, tier=2")
        browser.screenshot("submit")
        browser.button("Submit task", "dialog")
        self.until(lambda: browser.text("h1").startswith("Task "), "the page of the task is shown")
        task = browser.text("h1").split()[1]
        self.until(lambda: browser.text(".status-line") == "succeeded", "it succeeds")
        self.until(lambda: browser.text(".logs") == "first\nlast: the end", "its output is there")
        self.until(
            lambda: '"exit_code": 0' in browser.text("section[aria-label=Result] pre"),
            "its result is there, as readable JSON",
        )
        self.assertEqual(["team=blue", "tier=2"], browser.texts(".facts-list .label"))
        self.until(lambda: "#1\nsucceeded" in browser.text(".attempts"), "its attempt has ended")
        self.assertIn("worker-one", browser.text(".attempts"))
        self.assertEqual("films", self.site.rest("GET", f"tasks/{task}")["queue"])
        browser.screenshot("task")

    def test_output_is_followed_while_the_task_runs(self):
        marker = self.site.directory / "go"
        script = f"echo begun; until [ -e {marker} ]; do sleep 0.05; done; echo over"
        task = self.site.submit(type="shell", payload={"argv": ["sh", "-c", script]})
        browser = self.browser
        browser.go(f"#/tasks/{task}")
        self.until(lambda: browser.text(".logs") == "begun", "what it wrote so far is there")
        self.assertEqual("running", browser.text(".status-line"))
        self.assertIn("It runs at worker-one", browser.text(".reasons"))
        marker.touch()
        self.until(lambda: browser.text(".logs") == "begun\nover", "what it wrote since is there")
        self.until(lambda: browser.text(".status-line") == "succeeded", "its end is there")

    def test_progress_is_shown_while_the_task_runs(self):
        task = self.site.submit(type="count", payload={"to": 20_000, "ms": 30})
        browser = self.browser
        browser.go(f"#/tasks/{task}")
        self.until(lambda: "counted to" in browser.text(".status-line"), "what the attempt said of itself is shown")
        first = browser.text(".status-line")
        self.until(lambda: browser.text(".status-line") not in ("", first), "it goes on")
        browser.button("Cancel…")
        self.until(lambda: f"Cancel task {task}?" in browser.dialog() and "told to stop" in browser.dialog(), "it asks")
        browser.button(f"Cancel task {task}", "dialog")
        self.until(lambda: browser.text(".status-line") == "cancelled", "it is cancelled")

    def test_a_task_is_submitted_again_as_it_was(self):
        browser, site = self.browser, self.site
        old = site.submit(
            type="echo", queue="again", payload={"base64": "AP/+emg="}, labels={"where": "a, b=c"}, concurrency_key="k", max_attempts=3
        )
        site.until_state(old, "succeeded")
        browser.go(f"#/tasks/{old}")
        browser.button("Submit again…")
        browser.fill("priority", "7")
        browser.button("Submit task", "dialog")
        self.until(lambda: browser.text("h1") not in ("", f"Task {old}"), "the page of the new one is shown")
        new = browser.text("h1").split()[1]
        site.until_state(new, "succeeded")
        fields = ("type", "queue", "payload", "labels", "concurrency_key", "max_attempts", "timeout_ms")
        before, after = [site.rest("GET", f"tasks/{task}") for task in (old, new)]
        self.assertEqual([before[field] for field in fields], [after[field] for field in fields])
        self.assertEqual((5, 7), (before["priority"], after["priority"]))

    def test_what_is_wrong_is_said_and_what_was_typed_stays(self):
        browser = self.browser
        browser.button("Submit task")
        browser.fill("type", "echo")
        browser.fill("delay", "soon")
        browser.button("Submit task", "dialog")
        self.until(lambda: "delay" in browser.text("dialog .problem"), "the field that is wrong is named")
        self.assertEqual("echo", browser.one("dialog [name=type]").get_attribute("value"))
        browser.fill("delay", "")
        browser.fill("labels", "nonsense")
        browser.button("Submit task", "dialog")
        self.until(
            lambda: "“nonsense” is no label" in browser.text("dialog .problem"), "the label that is none is named"
        )
        self.browser.console()  # the browser itself writes there that the answer was 422

    def test_a_task_that_is_not_there(self):
        self.browser.go("#/tasks/77-77")
        self.until(lambda: "NOT_FOUND" in self.browser.text(".problem"), "it is said that there is none")
        self.browser.console()  # the browser itself writes there that the answer was 404

    def test_payload_of_bytes_is_shown_as_hex(self):
        task = self.site.submit(type="echo", payload={"base64": "AP/+emg="})
        self.site.until_state(task, "succeeded")
        self.browser.go(f"#/tasks/{task}")
        self.until(
            lambda: "00 ff fe 7a 68" in self.browser.text("section[aria-label=Payload] pre"), "the bytes are there"
        )
        self.browser.button("Base64", "section[aria-label=Payload]")
        self.assertEqual("AP/+emg=", self.browser.text("section[aria-label=Payload] pre"))


class DeadLetters(Case):
    def fail(self, count, message, queue="mail", times=1):
        ids = [
            self.site.submit(type="fail", queue=queue, max_attempts=1, payload={"times": times, "message": message})
            for _ in range(count)
        ]
        for task in ids:
            self.site.until_state(task, "dead")
        return ids

    def row(self, message):
        rows = [row for row in self.browser.all("tr[data-group]") if message in row.text]
        return rows[0] if rows else None

    def test_a_group_is_looked_into_and_retried_after_a_preview(self):
        browser = self.browser
        ids = self.fail(3, "greylisted, come again")
        self.fail(1, "no such customer", times=9)
        browser.go("#/dlq")
        self.until(
            lambda: self.row("greylisted") and self.row("greylisted").text.startswith("3 "), "the three are one group"
        )
        self.until(lambda: browser.text("#dead-count") == "4", "the navigation counts the dead")
        browser.screenshot("dead-letters")
        self.until(
            lambda: self.row("greylisted").find_element("css selector", "td.number a").click() or True,
            "its number is a link",
        )
        self.until(lambda: sorted(browser.texts("tr[data-task] th")) == sorted(ids), "the group's tasks are listed")
        self.assertIn("fingerprint=", browser.driver.current_url)
        browser.button("Retry all…")
        self.until(lambda: "Retry 3 dead tasks?" in browser.dialog(), "the preview says how many")
        self.assertIn("greylisted, come again", browser.dialog())
        browser.screenshot("dead-letters-retry")
        self.assertEqual(["dead"] * 3, [self.site.state(task) for task in ids], "a preview retries nothing")
        browser.fill("rate", "100")
        browser.button("Retry 3 tasks", "dialog")
        self.until(lambda: "3 tasks retried" in browser.text("#toasts"), "it is said that they were retried")
        for task in ids:
            self.site.until_state(task, "succeeded")
        self.until(lambda: "No dead task matches" in browser.text(".empty"), "the group is gone")

    def test_deleting_asks_and_escape_leaves_all_as_it_was(self):
        browser = self.browser
        [task] = self.fail(1, "to be deleted", queue="trash", times=9)
        browser.go("#/dlq?queue=trash")
        self.until(lambda: self.row("to be deleted"), "the group is listed")
        browser.button("Delete the group HANDLER_FAILED of fail")
        self.until(
            lambda: "Delete 1 dead task?" in browser.dialog() and "cannot be undone" in browser.dialog(), "it asks"
        )
        self.assertEqual("Cancel", browser.focused(), "the safe button has the keyboard")
        browser.keys("\ue00c")  # Escape
        self.until(lambda: not browser.all("dialog"), "the dialog is closed")
        self.assertEqual("dead", self.site.state(task))
        browser.button("Delete the group HANDLER_FAILED of fail")
        browser.button("Delete 1 task for good", "dialog")
        self.until(lambda: "No dead task matches" in browser.text(".empty"), "the group is gone")


class Queues(Case):
    def test_a_paused_queue_keeps_its_tasks_and_says_so(self):
        browser = self.browser
        self.site.until_state(self.site.submit(type="noop", queue="post"), "succeeded")
        browser.go("#/queues")
        browser.button("Pause post")
        self.until(lambda: "paused" in browser.text("tr[data-queue=post]"), "it is paused")
        task = self.site.submit(type="noop", queue="post")
        self.until(lambda: browser.text("tr[data-queue=post] td:nth-child(3)") == "1", "its task is counted as ready")
        browser.screenshot("queues")
        browser.go(f"#/tasks/{task}")
        self.until(lambda: "is paused" in browser.text(".reasons"), "the task's page says why it does not run")
        self.assertEqual("ready", browser.text(".status-line"))
        browser.go("#/queues")
        browser.button("Resume post")
        self.site.until_state(task, "succeeded")
        self.until(lambda: browser.text("tr[data-queue=post] td:nth-child(3)") == "0", "the page shows that it ran")

    def test_rules_are_read_and_set(self):
        browser = self.browser
        self.site.until_state(self.site.submit(type="noop", queue="rules"), "succeeded")
        browser.go("#/queues")
        browser.button("Rules of rules")
        browser.fill("rate_per_second", "120/m")
        browser.fill("max_running", "3")
        browser.fill("timeout_ms", "1m30s")
        browser.button("Set rules", "dialog")
        self.until(lambda: "rate 2/s" in browser.text("tr[data-queue=rules]"), "the rules are shown")
        queue = self.site.rest("GET", "queues/rules")
        self.assertEqual((2, 3, 90_000), (queue["rate_per_second"], queue["max_running"], queue["timeout_ms"]))
        browser.button("Rules of rules")
        browser.fill("max_running", "")
        browser.button("Set rules", "dialog")
        self.until(lambda: "most running" not in browser.text("tr[data-queue=rules]"), "an emptied rule is gone")
        self.assertEqual(
            (2, None), tuple(self.site.rest("GET", "queues/rules")[rule] for rule in ("rate_per_second", "max_running"))
        )

    def test_purging_says_how_many_and_cancels_them(self):
        browser = self.browser
        self.site.until_state(self.site.submit(type="noop", queue="full"), "succeeded")
        self.site.rest("POST", "queues/full/pause")
        ids = [self.site.submit(type="noop", queue="full") for _ in range(3)]
        browser.go("#/queues")
        self.until(lambda: browser.text("tr[data-queue=full] td:nth-child(3)") == "3", "the three wait")
        browser.button("Purge full")
        self.until(lambda: "3 tasks" in browser.dialog(), "it says how many")
        browser.button("Cancel 3 tasks", "dialog")
        for task in ids:
            self.site.until_state(task, "cancelled")


class Tasks(Case):
    def test_filters_are_in_the_address_and_survive_a_reload(self):
        browser = self.browser
        site = self.site
        [red, blue] = [
            site.submit(type="echo", queue="paint", payload="x", labels={"colour": colour})
            for colour in ("red", "blue")
        ]
        other = site.submit(type="noop", queue="other")
        for task in (red, blue, other):
            site.until_state(task, "succeeded")
        browser.go("#/tasks")
        self.until(lambda: len(browser.all("tr[data-task]")) >= 3, "all tasks are listed")
        ids = browser.texts("tr[data-task] th")
        self.assertLess(ids.index(other), ids.index(red), "the newest is first")
        browser.one(".chip[data-state=succeeded]").click()
        browser.fill("queue", "paint", ".filters")
        suggested = """document.querySelector('.filters [name=type]').focus();
            const field = document.querySelector('.filters [name=queue]');
            field.focus();
            return [...field.list.options].map((option) => option.value)"""
        self.until(lambda: "paint" in browser.js(suggested), "the queues that are there are suggested")
        browser.fill("label", "colour=blue", ".filters")
        browser.button("Filter")
        self.until(lambda: browser.texts("tr[data-task] th") == [blue], "only what matches is listed")
        address = browser.driver.current_url
        query = dict(urllib.parse.parse_qsl(address.split("?")[1]))
        self.assertEqual({"queue": "paint", "label": "colour=blue", "state": "succeeded"}, query)
        browser.reload()
        self.until(lambda: browser.texts("tr[data-task] th") == [blue], "the same is listed after a reload")
        self.assertEqual(address, browser.driver.current_url)
        self.assertEqual("paint", browser.one(".filters [name=queue]").get_attribute("value"))
        self.assertEqual(["succeeded"], browser.texts(".chip[aria-pressed=true]"))
        browser.one(".filters [href='#/tasks']").click()
        self.until(lambda: len(browser.all("tr[data-task]")) >= 3, "without a filter all are listed again")
        browser.driver.back()
        self.until(lambda: browser.texts("tr[data-task] th") == [blue], "Back brings the filter again")
        self.assertEqual("paint", browser.one(".filters [name=queue]").get_attribute("value"))

    def test_many_are_selected_and_cancelled_while_the_list_stands_still(self):
        browser, site = self.browser, self.site
        ids = [site.submit(type="noop", queue="many", delay="1h") for _ in range(5)]
        browser.go("#/tasks?queue=many")
        self.until(lambda: len(browser.all("tr[data-task]")) == 5, "the five are listed")
        browser.one("thead input").click()
        self.until(lambda: "5 tasks selected" in browser.text(".selection"), "all are selected")
        late = site.submit(type="noop", queue="many", delay="1h")
        self.until(lambda: "1 other task" in browser.text(".fresh"), "it is said that there is another")
        self.assertNotIn(late, browser.texts("tr[data-task] th"))
        browser.one(f"[aria-label='Select task {ids[0]}']").click()
        browser.screenshot("tasks-selected")
        browser.button("Cancel…", ".selection")
        self.until(lambda: "Cancel 4 tasks?" in browser.dialog(), "it asks, and says how many")
        browser.button("Cancel 4 tasks", "dialog")
        for task in ids[1:]:
            site.until_state(task, "cancelled")
        self.assertEqual(["scheduled"] * 2, [site.state(task) for task in (ids[0], late)])
        self.until(lambda: len(browser.all("tr[data-task]")) == 6, "the list moves again")

    def test_pages_by_cursor(self):
        browser, site = self.browser, self.site
        ids = site.rest("POST", "tasks", [{"type": "noop", "queue": "pages", "delay": "1h"} for _ in range(70)])["ids"]
        browser.go("#/tasks?queue=pages")
        self.until(lambda: len(browser.all("tr[data-task]")) == 50, "a page is full")
        self.assertEqual(ids[::-1][:50], browser.texts("tr[data-task] th"))
        browser.button("Older")
        self.until(lambda: browser.texts("tr[data-task] th") == ids[::-1][50:], "the next page has the rest")
        browser.driver.back()
        self.until(lambda: browser.texts("tr[data-task] th") == ids[::-1][:50], "Back is the page before")


class Schedules(Case):
    def test_a_schedule_is_added_with_a_preview_triggered_paused_and_deleted(self):
        browser, site = self.browser, self.site
        browser.go("#/schedules")
        browser.button("Add schedule…")
        browser.fill("name", "nightly")
        browser.fill("cron", "30 2 31 2 *")
        self.until(lambda: browser.text(".preview .problem"), "what can never fire is refused while one types")
        browser.fill("cron", "30 2 29 * *")
        browser.fill("tz", "Europe/Berlin")
        self.until(
            lambda: len(browser.all(".preview .firings li")) == 5 and "02:30:00" in browser.text(".preview"),
            "the firings are shown",
        )
        self.until(lambda: "missing day" in browser.text(".preview .warnings"), "what may surprise is shown")
        browser.fill("type", "echo")
        browser.fill("queue", "night")
        browser.screenshot("schedule-form")
        browser.button("Add schedule", "dialog")
        self.until(lambda: "echo in night" in browser.text("tr[data-schedule=nightly]"), "it is listed")
        browser.button("Trigger nightly")
        self.until(lambda: site.rest("GET", "tasks?label=schedule%3Dnightly")["tasks"], "a task was made")
        browser.button("Pause nightly")
        self.until(lambda: "paused" in browser.text("tr[data-schedule=nightly]"), "it is paused")
        browser.screenshot("schedules")
        browser.button("Edit nightly")
        browser.fill("cron", "0 3 * * *")
        browser.button("Save schedule", "dialog")
        self.until(lambda: "0 3 * * *" in browser.text("tr[data-schedule=nightly]"), "it is changed")
        self.assertTrue(site.rest("GET", "schedules/nightly")["paused"])
        browser.button("Delete nightly")
        browser.button("Delete schedule", "dialog")
        self.until(lambda: not browser.all("tr[data-schedule=nightly]"), "it is gone")
        self.browser.console()  # the browser itself writes there that an expression was refused

    def test_what_the_form_has_no_field_for_stays(self):
        browser, site = self.browser, self.site
        task = {
            "type": "echo",
            "payload": {"base64": "AP/+emg="},
            "labels": {"where": "a, b=c"},
            "on_success": [{"type": "noop", "queue": "after"}],
        }
        site.rest("POST", "schedules", {"name": "kept", "cron": "@daily", "tz": "UTC", "task": task, "overlap": "queue_one"})
        before = site.rest("GET", "schedules/kept")
        browser.go("#/schedules")
        browser.button("Edit kept")
        browser.fill("cron", "@weekly")
        browser.button("Save schedule", "dialog")
        self.until(lambda: "@weekly" in browser.text("tr[data-schedule=kept]"), "it is changed")
        after = site.rest("GET", "schedules/kept")
        self.assertEqual(before["task"], after["task"])
        self.assertEqual(("@weekly", "queue_one"), (after["cron"], after["overlap"]))
        self.browser.console()  # half an expression may have been asked for, and was refused


class Watching(Case):
    def test_the_overview_moves_by_itself(self):
        browser, site = self.browser, self.site

        def tile(name):
            return dict(text.split("\n")[:2] for text in browser.texts(".tile"))[name]

        self.until(lambda: len(browser.all(".chart canvas")) == 3, "the charts are there")
        self.until(lambda: tile("Workers") == "1", "the worker is counted")
        before = int(tile("Waiting").replace(",", ""))
        site.rest("POST", "tasks", [{"type": "noop", "queue": "later", "delay": "1h"} for _ in range(7)])
        self.until(
            lambda: int(tile("Waiting").replace(",", "")) == before + 7, "the seven are counted without a reload"
        )
        self.until(lambda: "later" in browser.text(".bars"), "the busiest queues are shown")
        drawn = """const canvas = document.querySelector('.chart canvas');
                   return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte !== 0);"""
        self.until(lambda: browser.js(drawn), "something is drawn")
        browser.screenshot("overview")

    def test_a_worker_is_drained(self):
        browser, site = self.browser, self.site
        site.start("second", "zsched-worker", "--brokers", site.brokers, "--name", "worker-two")
        browser.go("#/workers")
        self.until(lambda: len(browser.all("tr[data-worker]")) == 2, "the second worker appears")
        browser.screenshot("workers")
        browser.button("Drain worker-two")
        self.until(lambda: "Drain worker-two?" in browser.dialog(), "it asks")
        browser.button("Drain worker", "dialog")
        self.assertEqual(0, site.children["second"].wait(WAIT_SECONDS))
        self.until(lambda: len(browser.all("tr[data-worker]")) == 1, "it is gone from the list")


if __name__ == "__main__":
    unittest.main()
