#!/usr/bin/python3
"""HTML and scripts in everything that others name are shown as the text that they are, on every page, and nothing of them is run."""

import unittest
import urllib.error

from cluster_browser import Browser, Site

# Each would set window.pwned or open a dialog, if it were taken for markup in the place that it comes to.
IMAGE = "<img src=x onerror=pwned=1>"
SCRIPT = "</script><script>pwned=1;alert(1)</script>"
ATTRIBUTE = '"><svg onload=pwned=1>'
LINK = "javascript:pwned=1"
REVERSED = "invoice\u202etxt.exe"


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(
            Site(worker=["--name", IMAGE, "--label", f"zone={ATTRIBUTE}", "--enable", "shell"])
        )
        cls.browser = cls.enterClassContext(Browser(cls.site))
        site = cls.site
        cls.waiting = site.submit(type=IMAGE, queue=ATTRIBUTE, payload=SCRIPT, labels={IMAGE: SCRIPT, "link": LINK})
        cls.dead = site.submit(
            type="fail",
            queue=SCRIPT,
            max_attempts=1,
            labels={"a": ATTRIBUTE},
            payload={"times": 99, "message": f"{IMAGE}{SCRIPT}{REVERSED}"},
        )
        cls.done = site.submit(type="echo", payload=f"{SCRIPT}{IMAGE}", content_type=IMAGE, queue=LINK)
        cls.shell = site.submit(
            type="shell", queue=IMAGE, payload={"argv": ["printf", "%s\n", IMAGE, SCRIPT, "\033[31mred\033[0m\a"]}
        )
        site.until_state(cls.dead, "dead")
        site.until_state(cls.done, "succeeded")
        site.until_state(cls.shell, "succeeded")
        site.rest(
            "POST",
            "schedules",
            {"name": IMAGE, "cron": "@hourly", "tz": "UTC", "task": {"type": SCRIPT, "queue": ATTRIBUTE}},
        )
        site.rest("PATCH", "queues/%3Cb%3Ebold%3C%2Fb%3E", {"paused": True})

    def setUp(self):
        self.browser.begin()

    def check(self, *texts):
        """The page shows these texts, has no element of theirs, and ran nothing."""
        browser = self.browser
        for text in texts:
            browser.until(
                lambda text=text: text in browser.js("return document.body.textContent"), f"the text {text!r} is shown"
            )
        self.assertIsNone(browser.js("return window.pwned ?? null"), "a script of others ran")
        self.assertEqual(
            [],
            browser.js(
                """return [...document.querySelectorAll(
            'img, svg[onload], [onerror], iframe, object, embed, body script, b, a[href^="javascript:"]')].map((one) => one.outerHTML)"""
            ),
        )
        self.assertEqual([], browser.refused())
        self.assertEqual([], browser.console())

    def test_every_page(self):
        pages = {
            "#/": [ATTRIBUTE],
            "#/queues": [SCRIPT, ATTRIBUTE, LINK, "<b>bold</b>"],
            "#/tasks": [IMAGE, f"{IMAGE}={SCRIPT}", SCRIPT],
            "#/workers": [IMAGE, f"zone={ATTRIBUTE}"],
            "#/schedules": [IMAGE, SCRIPT],
            "#/dlq": [f"{IMAGE}{SCRIPT}", "invoice\\u202etxt.exe"],
            "#/cluster": ["primary"],
        }
        for number, (page, texts) in enumerate(pages.items()):
            with self.subTest(page=page):
                self.browser.go(page)
                self.check(*texts)
                self.browser.screenshot(f"hostile-{number}")

    def test_the_page_of_each_task(self):
        for task, texts in (
            (self.waiting, [IMAGE, ATTRIBUTE, f"{IMAGE}={SCRIPT}"]),
            (self.dead, [f"{IMAGE}{SCRIPT}", "\\u202e"]),
            (self.done, [f"{SCRIPT}{IMAGE}", f"of {IMAGE}"]),
            (self.shell, [f"{IMAGE}\n{SCRIPT}\nred\n"]),
        ):
            with self.subTest(task=task):
                self.browser.go(f"#/tasks/{task}")
                self.check(f"Task {task}", *texts)

    def test_dialogs_and_notes(self):
        browser = self.browser
        browser.go("#/dlq")
        browser.button("Retry all…")
        browser.until(lambda: IMAGE in browser.dialog(), "the dialog shows the message as text")
        self.check()
        browser.button("Cancel", "dialog")
        browser.go("#/queues")
        browser.button("Resume <b>bold</b>")
        browser.until(lambda: "<b>bold</b> hands out" in browser.text("#toasts"), "the note shows the name as text")
        browser.button("Rules of <b>bold</b>")
        browser.until(lambda: "Rules of <b>bold</b>" in browser.dialog(), "the dialog shows the name as text")
        self.check()
        browser.button("Cancel", "dialog")
        browser.go("#/workers")
        browser.button(f"Drain {IMAGE}")
        browser.until(lambda: IMAGE in browser.dialog(), "the dialog shows the worker's name as text")
        self.check()
        browser.button("Cancel", "dialog")

    def test_what_is_in_the_address(self):
        browser = self.browser
        for page in (
            f"#/tasks?queue={IMAGE}&label={SCRIPT}&state={IMAGE}",
            f"#/dlq?fingerprint={IMAGE}&error={SCRIPT}",
            f"#/{IMAGE}",
            f"#/tasks/{IMAGE}",
            "#/tasks/%E0%A4%A",
            "#//evil.example/",
        ):
            with self.subTest(page=page):
                browser.go(page)
                browser.until(lambda: browser.text("h1"), "there is a page")
                browser.until(lambda: browser.js("return document.readyState") == "complete", "it is loaded")
                self.assertIsNone(browser.js("return window.pwned ?? null"))
                self.assertEqual(
                    [],
                    browser.js(
                        "return [...document.querySelectorAll('img, iframe, body script')].map((one) => one.outerHTML)"
                    ),
                )
                self.assertEqual([], browser.refused())

    def test_no_script_of_a_page_of_elsewhere_gets_in(self):
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.site.rest("GET", "queues/none")
        self.assertEqual(404, refused.exception.code)
        self.assertIsNone(
            self.browser.js("""const script = document.createElement('script');
            script.textContent = 'window.pwned = 1'; document.body.append(script); return window.pwned ?? null"""),
            "the policy lets an inline script run",
        )
        self.assertTrue(self.browser.refused(), "the policy says nothing of it")
        self.browser.console()


if __name__ == "__main__":
    unittest.main()
