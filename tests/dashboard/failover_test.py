#!/usr/bin/python3
"""An open page lives through the death of brokers and of its gateway, and says what is so; it is never loaded again."""

import unittest

from cluster_browser import Browser, Site, until


class Case(unittest.TestCase):
    pair = False

    def setUp(self):
        self.site = self.enterContext(Site(pair=self.pair, worker=["--name", "worker-one"]))
        self.browser = self.enterContext(Browser(self.site))
        self.browser.js("window.loaded_once = true")

    def until_live(self, state):
        self.browser.until(lambda: self.browser.live() == state, f"the connection is shown as {state}", seconds=60)

    def check_same_page(self):
        self.assertTrue(self.browser.js("return window.loaded_once === true"), "the page was loaded again")
        self.assertEqual([], self.browser.refused())


class Pair(Case):
    pair = True

    def active(self):
        brokers = self.site.rest("GET", "cluster")["brokers"]
        return next(broker["node"] for broker in brokers if broker["role"].startswith("active"))

    def test_the_active_broker_is_killed(self):
        browser, site = self.browser, self.site
        before = [site.submit(type="sleep", payload={"ms": 1}) for _ in range(3)]
        for task in before:
            site.until_state(task, "succeeded")
        browser.go("#/cluster")
        killed = self.active()
        survivor = "backup" if killed == "primary" else "primary"
        browser.until(
            lambda: "active" in browser.text(f"section[aria-label='Broker {killed}']"), "the active one is shown"
        )
        browser.until(
            lambda: "standby" in browser.text(f"section[aria-label='Broker {survivor}']"), "the standby is shown"
        )
        browser.screenshot("cluster-before")
        site.kill(killed)
        browser.until(
            lambda: "active" in browser.text(f"section[aria-label='Broker {survivor}']"),
            "the standby is shown as active",
            seconds=60,
        )
        self.until_live("live")
        browser.until(lambda: len(browser.all(".plain-list li")) >= 2, "the list of those who were active has both")
        browser.screenshot("cluster-after")
        # The page goes on as if nothing had been: what is submitted in it runs.
        browser.button("Submit task")
        browser.fill("type", "echo")
        browser.fill("payload", "after the failover")
        browser.button("Submit task", "dialog")
        browser.until(
            lambda: browser.text(".status-line") == "succeeded", "a task that is submitted now succeeds", seconds=60
        )
        browser.until(lambda: "after the failover" in browser.text("section[aria-label=Result]"), "it has its result")
        browser.go("#/tasks")
        browser.until(
            lambda: set(before) <= set(browser.texts("tr[data-task] th")), "nothing that was acknowledged is lost"
        )
        site.start_broker(killed)
        browser.go("#/cluster")
        browser.until(
            lambda: "standby" in browser.text(f"section[aria-label='Broker {killed}']"),
            "the killed one is back, as standby",
            seconds=60,
        )
        self.check_same_page()

    def test_switching_over_asks(self):
        browser = self.browser
        was = self.active()
        other = "backup" if was == "primary" else "primary"
        browser.go("#/cluster")
        browser.button("Switch over…")
        browser.until(lambda: f"{was} hands over to {other}" in browser.dialog(), "it says who hands over to whom")

        def agreed():
            """Refused while the standby is behind, which a moment of waiting is enough for; then it is asked again."""
            for element in browser.all("dialog[open] button"):
                if element.text == "Switch over" and element.is_enabled():
                    element.click()
            return not browser.dialog()

        browser.until(agreed, "the switch begins")
        browser.until(
            lambda: "active" in browser.text(f"section[aria-label='Broker {other}']"),
            "they have changed places",
            seconds=60,
        )
        self.until_live("live")
        self.check_same_page()


class Alone(Case):
    def test_no_broker_for_a_while(self):
        browser, site = self.browser, self.site
        browser.go("#/queues")
        site.kill("primary")
        self.until_live("nobroker")
        self.assertEqual("no broker", browser.text("#live"))
        browser.until(lambda: browser.all(".page .problem"), "the page says that it cannot ask", seconds=60)
        browser.screenshot("no-broker")
        site.start_broker("primary")
        self.until_live("live")
        task = site.submit(type="noop", queue="again")
        site.until_state(task, "succeeded")
        browser.until(lambda: "again" in browser.texts("tr[data-queue] th"), "the page shows what is so now")
        browser.until(lambda: not browser.all(".page .problem"), "the error is gone")
        self.check_same_page()

    def test_no_gateway_for_a_while(self):
        browser, site = self.browser, self.site
        browser.go("#/queues")
        site.kill("gateway")
        self.until_live("reconnecting")
        browser.screenshot("reconnecting")
        site.start_gateway()
        self.until_live("live")
        site.submit(type="noop", queue="again")
        until(lambda: "again" in browser.texts("tr[data-queue] th"), "the page shows what is so now")
        self.check_same_page()


if __name__ == "__main__":
    unittest.main()
