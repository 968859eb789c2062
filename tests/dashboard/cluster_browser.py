"""A cluster with its gateway, and a Chromium that looks at it: real processes on free ports, gone when the context ends.

    with cluster_browser.Site() as cluster, cluster_browser.Browser(cluster) as browser:
        browser.go("#/queues")
        browser.until(lambda: browser.texts("tbody th") == ["mail"], "the queue is listed")

`ZSCHED_BIN` names the directory of the programs, `ZSCHED_ARTEFACTS` the one that screenshots are kept in.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))
import processes  # noqa: E402

BIN = pathlib.Path(os.environ.get("ZSCHED_BIN", ROOT / "build/release/bin")).resolve()
ARTEFACTS = pathlib.Path(os.environ.get("ZSCHED_ARTEFACTS", ROOT / "build/artefacts/dashboard")).resolve()
WAIT_SECONDS = 90
LOOK_SECONDS = 0.05

# Chromium without what it does by itself on a desktop: no request of its own leaves this machine.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
]
# Remembers what the content security policy refused, which pages may not even try.
WATCH_POLICY = """addEventListener('securitypolicyviolation', (event) => {
  (window.refused ??= []).push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});"""


# Ways in which the page may change between a look and a touch.
CHANGED = (StaleElementReferenceException, ElementClickInterceptedException, IndexError, OSError)


def steady(read):
    """Reads again when the page changed under it."""

    @functools.wraps(read)
    def again(*arguments):
        while True:
            try:
                return read(*arguments)
            except StaleElementReferenceException:
                pass

    return again


def until(condition, what, seconds=WAIT_SECONDS):
    """What `condition` gives once that is true; it may fail meanwhile because the page changed under it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except CHANGED:
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds} s it did not happen that {what}")
        time.sleep(LOOK_SECONDS)


class Site:
    """A broker, or a pair of them with a witness, a worker and a gateway."""

    def __init__(self, pair=False, worker=("--concurrency", "4", "--name", "worker-one")):
        self.pair = pair
        self.worker_flags = list(worker)
        self.children = {}

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        try:
            self.directory = self.stack.enter_context(processes.scratch_directory())
            self.ports = {
                name: processes.free_ports(3) for name in (("primary", "backup", "witness") if self.pair else ("primary",))
            }
            self.brokers = ",".join(f"127.0.0.1:{port}" for name, port in self.ports.items() if name != "witness")
            for name in ("witness", "primary", "backup") if self.pair else ("primary",):
                self.start_broker(name)
            processes.wait_for_broker(BIN / "zsched-ctl", self.brokers)
            if self.pair:
                until(lambda: "standby" in self.ctl("cluster", "status"), "there is a standby")
            if self.worker_flags:
                self.start("worker", "zsched-worker", "--brokers", self.brokers, *self.worker_flags)
            self.port = processes.free_ports(1)
            self.url = f"http://127.0.0.1:{self.port}"
            self.start_gateway()
            return self
        except BaseException:
            self.stack.close()
            raise

    def __exit__(self, *_):
        self.stack.close()

    def start(self, name, program, *flags):
        log = self.stack.enter_context((self.directory / f"{name}.log").open("a"))
        group = processes.ProcessGroup(
            [BIN / program, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
        )
        self.children[name] = self.stack.enter_context(group)

    def start_broker(self, name):
        flags = ["--node", name, "--data", name, "--listen", f"127.0.0.1:{self.ports[name]}", "--disk-reserve", "1MiB"]
        if self.pair and name != "witness":
            other = "backup" if name == "primary" else "primary"
            flags += [
                "--peer",
                f"127.0.0.1:{self.ports[other]}",
                "--arbiter",
                f"witness=127.0.0.1:{self.ports['witness']}",
            ]
        self.start(name, "zsched-broker", *flags)

    def start_gateway(self):
        self.start("gateway", "zsched-gateway", "--brokers", self.brokers, "--listen", f"127.0.0.1:{self.port}")
        until(lambda: urllib.request.urlopen(f"{self.url}/livez", timeout=5).status == 200, "the gateway answers")

    def kill(self, name):
        """As a crash does it: nothing is said goodbye to."""
        self.children[name].send_signal(signal.SIGKILL)
        self.children[name].wait()

    def ctl(self, *words):
        return subprocess.run(
            [BIN / "zsched-ctl", "--brokers", self.brokers, *words],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=WAIT_SECONDS,
        ).stdout

    def rest(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            text = response.read()
            return json.loads(text) if text else None

    def submit(self, **task):
        return self.rest("POST", "tasks", task)["id"]

    def state(self, task):
        return self.rest("GET", f"tasks/{task}")["state"]

    def until_state(self, task, state):
        until(lambda: self.state(task) == state, f"task {task} is {state}")


class Browser:
    """Chromium at a site. What it says on its console and which requests it makes is remembered."""

    def __init__(self, cluster, width=1360, height=900, dark=False):
        self.cluster = cluster
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        try:
            self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_POLICY})
            self.prefer("dark" if dark else "light")
            if width < 600:
                self.driver.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True},
                )
            self.driver.set_script_timeout(WAIT_SECONDS)
            self.driver.get(cluster.url + "/")
            self.until(lambda: self.live() == "live", "the page is live")
        except BaseException:
            self.driver.quit()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def prefer(self, colours):
        self.emulate("prefers-color-scheme", colours)

    def emulate(self, feature, value):
        """As if the system were set so."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": feature, "value": value}]})

    def until(self, condition, what, seconds=WAIT_SECONDS):
        try:
            return until(condition, what, seconds)
        except AssertionError as error:
            self.screenshot(f"failed-{re.sub(r'[^a-z0-9]+', '-', what.lower())[:60]}")
            raise AssertionError(f"{error}\nThe page says:\n{self.text('body')}\nConsole: {self.console()}") from None

    def go(self, hash_):
        """To another page, as a link does it: without a reload."""
        self.js("location.hash = arguments[0]", hash_)

    def begin(self):
        """A fresh page, with nothing remembered of what was before."""
        self.driver.get("about:blank")
        self.driver.get(self.cluster.url + "/")
        self.until(lambda: self.live() == "live", "the page is live")
        self.console()
        self.requests()

    def reload(self):
        self.driver.refresh()
        self.until(lambda: self.live() == "live", "the page is live again")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.until(lambda: self.all(css), f"there is {css}")[0]

    @steady
    def text(self, css):
        found = self.all(css)
        return found[0].text if found else ""

    @steady
    def texts(self, css):
        return [element.text for element in self.all(css)]

    def button(self, text, inside="body"):
        """Clicks the button of this text, or of this accessible name, once it is there and on."""

        def press():
            for element in self.all(f"{inside} button, {inside} a.button"):
                if text in (element.text, element.get_attribute("aria-label")) and element.is_displayed() and element.is_enabled():
                    element.click()
                    return True
            return False

        self.until(press, f"there is a button “{text}”")

    def fill(self, name, text, inside="dialog"):
        field = self.one(f"{inside} [name={name}]")
        field.clear()
        field.send_keys(text)

    def keys(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    @steady
    def focused(self):
        """What has the keyboard: its accessible name, or its text."""
        element = self.driver.switch_to.active_element
        return element.get_attribute("aria-label") or element.get_attribute("name") or element.text

    def tab_to(self, name, most=80):
        """Presses Tab until this has the keyboard."""
        for _ in range(most):
            if self.focused() == name:
                return
            self.keys(Keys.TAB)
        raise AssertionError(f"no way by Tab to “{name}”; the keyboard is at “{self.focused()}”")

    def live(self):
        return self.one("#live").get_attribute("data-state")

    def dialog(self):
        return self.text("dialog[open]")

    def console(self):
        """What the console was told since this was last asked, but for what is only informing."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def refused(self):
        """What the content security policy refused on the page as it is."""
        return self.js("return window.refused ?? []")

    def requests(self):
        """Addresses that were asked for since this was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, name):
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(ARTEFACTS / f"{name}.png"))
