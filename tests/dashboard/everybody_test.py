#!/usr/bin/python3
"""The dashboard is for everybody: by keyboard alone, on a phone, in the dark, with a screen reader, with the system's colours."""

import unittest

from cluster_browser import Browser, Site
from selenium.webdriver.common.keys import Keys

PAGES = ["#/", "#/queues", "#/tasks", "#/workers", "#/schedules", "#/dlq", "#/cluster"]
LONG = "a-name-without-any-place-to-break-it-" * 3
# What browsers compute of a colour, and the contrast of two of them (WCAG 2.2).
CONTRAST = """
const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
const backdrop = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (walker.currentNode.textContent.trim() === '' || !element.checkVisibility({visibilityProperty: true}) || element.closest('.unseen, :disabled, .skip')) continue;
  const [a, b] = [luminance(numbers(getComputedStyle(element).color)), luminance(backdrop(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) poor.push(`${walker.currentNode.textContent.trim().slice(0, 30)} (${element.className || element.tagName}): ${contrast.toFixed(2)}`);
}
return [...new Set(poor)];"""
NAMELESS = """
const named = (e) => e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim() || e.title || e.querySelector('title');
return [...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea, [tabindex="0"]')]
    .filter((e) => e.checkVisibility() && !named(e)).map((e) => e.outerHTML.slice(0, 120));"""

# What reaches out of the screen and is not inside something that scrolls by itself.
TOO_WIDE = """return [...document.querySelectorAll('main *')]
    .filter((one) => !one.closest('.frame, pre') && one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.className || one.tagName);"""


def file_name(page):
    return page.strip("#/").replace("/", "-") or "overview"


def fill(site):
    """Some of everything, with long names."""
    site.until_state(site.submit(type="echo", payload="x" * 2000, queue=LONG, labels={"team": LONG}), "succeeded")
    site.until_state(
        site.submit(type="fail", max_attempts=1, queue="mail", payload={"times": 9, "message": LONG * 4}), "dead"
    )
    site.submit(type="noop", delay="1h", queue="later")
    site.submit(type=LONG, queue="nobody-takes-it")
    site.rest(
        "POST", "schedules", {"name": "nightly", "cron": "30 2 * * *", "tz": "Europe/Berlin", "task": {"type": LONG}}
    )


class Case(unittest.TestCase):
    width, height = 1360, 900

    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(Site())
        cls.browser = cls.enterClassContext(Browser(cls.site, cls.width, cls.height))
        fill(cls.site)

    def setUp(self):
        self.browser.prefer("light")
        self.browser.js("localStorage.clear()")
        self.browser.begin()

    def tasks(self):
        return [task["id"] for task in self.site.rest("GET", "tasks")["tasks"]]

    def pages(self):
        return PAGES + [f"#/tasks/{task}" for task in self.tasks()[:2]]

    def visit(self, page):
        """Goes there and waits until the page has what it shows."""
        self.browser.go(page)
        self.browser.until(lambda: self.browser.all("tbody tr, .tile, .facts-list dd"), f"{page} shows something")
        return self.subTest(page=page)


class Keyboard(Case):
    def test_submitting_pausing_and_cancelling_by_keys_alone(self):
        browser, site = self.browser, self.site
        browser.js("document.body.focus()")
        browser.keys(Keys.TAB)
        self.assertEqual("Skip to content", browser.focused(), "the first stop leads past the navigation")
        browser.keys(Keys.ENTER)
        self.assertEqual("main", browser.js("return document.activeElement.id"))
        browser.keys("n")
        browser.until(lambda: browser.focused() == "type", "the form is open, and its first field has the keyboard")
        browser.keys("noop", Keys.TAB, "keys")
        browser.tab_to("delay")
        browser.keys("1h", Keys.ENTER)
        browser.until(lambda: browser.text(".status-line") == "scheduled", "the task is submitted")
        task = browser.text("h1").split()[1]
        self.assertEqual(f"Task {task}", browser.focused(), "the new page's title has the keyboard")
        # Again when there was too long between the two keys.
        browser.until(lambda: browser.all("tr[data-queue=keys]") or browser.keys("g", "q"), "g q goes to the queues")
        browser.tab_to("Pause keys")
        self.assertTrue(browser.js("return document.activeElement.matches(':focus-visible')"))
        self.assertNotEqual(
            "none",
            browser.js("return getComputedStyle(document.activeElement).outlineStyle"),
            "the focus is to be seen",
        )
        browser.keys(Keys.SPACE)
        browser.until(lambda: site.rest("GET", "queues/keys")["paused"], "it is paused")
        browser.until(lambda: browser.focused() == "Resume keys", "the button that took its place has the keyboard")
        browser.until(lambda: browser.all(f"tr[data-task='{task}']") or browser.keys("g", "t"), "g t goes to the tasks")
        browser.tab_to(f"Select task {task}")
        browser.keys(Keys.SPACE)
        browser.until(lambda: "1 task selected" in browser.text(".selection"), "it is selected")
        browser.driver.switch_to.active_element.send_keys(Keys.NULL)
        browser.js("document.querySelector('main').focus()")
        browser.tab_to("Cancel…")
        browser.keys(Keys.ENTER)
        browser.until(lambda: f"Cancel task {task}?" in browser.dialog(), "it asks")
        browser.tab_to(f"Cancel task {task}")
        browser.keys(Keys.ENTER)
        site.until_state(task, "cancelled")

    def test_a_dialog_keeps_the_keyboard_and_gives_it_back(self):
        browser = self.browser
        browser.go("#/queues")
        browser.until(lambda: browser.all("tr[data-queue=mail]"), "the queues are listed")
        browser.tab_to("Rules of mail")
        browser.keys(Keys.ENTER)
        browser.until(lambda: "Rules of mail" in browser.dialog(), "the dialog is open")
        for _ in range(30):
            browser.keys(Keys.TAB)
            self.assertTrue(
                browser.js(
                    "return document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
                ),
                "Tab left the dialog",
            )
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: not browser.dialog(), "Escape closes it")
        browser.until(lambda: browser.focused() == "Rules of mail", "the button that opened it has the keyboard again")

    def test_shortcuts_are_listed_and_leave_fields_alone(self):
        browser = self.browser
        browser.js("document.getElementById('main').focus()")
        browser.keys("?")
        browser.until(lambda: "Submit a task" in browser.dialog(), "? lists them")
        browser.keys(Keys.ESCAPE)
        browser.go("#/tasks")
        browser.until(lambda: browser.all(".filters"), "the filter is there")
        browser.js("document.getElementById('main').focus()")
        browser.keys("/")
        browser.until(lambda: browser.focused() == "queue", "/ leads to the filter")
        browser.keys("n?gq")
        self.assertEqual("n?gq", browser.one(".filters [name=queue]").get_attribute("value"))
        self.assertFalse(browser.all("dialog"))


class Everywhere(Case):
    def test_everything_that_can_be_operated_has_a_name(self):
        for page in self.pages():
            with self.visit(page):
                self.assertEqual([], self.browser.js(NAMELESS))

    def test_texts_can_be_read_in_light_and_dark(self):
        for colours in ("light", "dark"):
            self.browser.prefer(colours)
            self.browser.until(
                lambda colours=colours: self.browser.js("return document.documentElement.dataset.theme") == colours,
                "the colours are the system's",
            )
            for page in self.pages():
                with self.visit(page):
                    # What is changing colour is looked at when it has.
                    self.browser.until(
                        lambda: self.browser.js("return document.getAnimations().length") == 0, "nothing moves"
                    )
                    self.assertEqual([], self.browser.js(CONTRAST), f"poor contrast, {colours}")
                    self.browser.screenshot(f"{colours}-{file_name(page)}")

    def test_the_choice_of_colours_is_kept(self):
        browser = self.browser
        theme = "return [document.documentElement.dataset.theme, getComputedStyle(document.body).colorScheme]"
        self.assertEqual("light", browser.js(theme)[0])
        browser.button("Change to dark colours")
        self.assertEqual("dark", browser.js(theme)[0])
        browser.reload()
        self.assertEqual("dark", browser.js(theme)[0])
        browser.button("Change to light colours")
        self.assertEqual("light", browser.js(theme)[0])

    def test_colours_without_storage(self):
        browser = self.browser
        script = browser.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument",
            {
                "source": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('forbidden', 'SecurityError'); }})"
            },
        )
        try:
            browser.reload()
            browser.button("Change to dark colours")
            self.assertEqual("dark", browser.js("return document.documentElement.dataset.theme"))
            self.assertEqual([], browser.console())
        finally:
            browser.driver.execute_cdp_cmd(
                "Page.removeScriptToEvaluateOnNewDocument", {"identifier": script["identifier"]}
            )
            browser.reload()

    def test_nothing_moves_for_those_who_do_not_want_it(self):
        self.browser.emulate("prefers-reduced-motion", "reduce")
        moving = """return [...document.querySelectorAll('*')].filter((one) => { const style = getComputedStyle(one);
            return style.animationName !== 'none' || style.transitionDuration.split(',').some((time) => parseFloat(time) > 0); }).length"""
        for page in self.pages():
            with self.visit(page):
                self.assertEqual(0, self.browser.js(moving))


class Phone(Case):
    width, height = 360, 740

    def test_no_page_scrolls_sideways(self):
        for page in self.pages():
            with self.visit(page):
                self.assertLessEqual(self.browser.js("return document.documentElement.scrollWidth"), self.width)
                self.assertEqual([], self.browser.js(TOO_WIDE))
                self.browser.screenshot(f"phone-{file_name(page)}")

    def test_the_form_fits_and_its_buttons_are_in_reach(self):
        browser = self.browser
        browser.button("Submit task")
        browser.until(lambda: browser.all("dialog"), "the form is open")
        inside = """const box = document.querySelector('dialog').getBoundingClientRect();
            const button = document.querySelector('dialog button[type=submit]').getBoundingClientRect();
            return box.left >= 0 && box.right <= innerWidth && button.bottom <= innerHeight && button.top >= 0"""
        self.assertTrue(browser.js(inside))
        browser.screenshot("phone-submit")

    def test_the_navigation_leads_everywhere(self):
        browser = self.browser
        for page in PAGES[1:]:
            browser.js("document.querySelector(`nav a[href='${arguments[0]}']`).click()", page)
            browser.until(
                lambda page=page: browser.js(
                    """const link = document.querySelector('nav [aria-current]').getBoundingClientRect();
                return location.hash === arguments[0] && link.left >= 0 && link.right <= innerWidth""",
                    page,
                ),
                "the current page is in sight in the navigation",
            )


if __name__ == "__main__":
    unittest.main()
