"""The program behind `python -m zsched` and `zsched-py`.

Threads: the main one; the worker has its own.
"""
from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from zsched._version import VERSION
from zsched._wire.constants import DEFAULT_HOST, DEFAULT_PORT, ErrorCode
from zsched._worker import logs
from zsched.app import App
from zsched.errors import InvalidArgument, Unavailable, ZschedError
from zsched.worker import POOLS, PoolKind, Worker, default_concurrency

log = logging.getLogger("zsched.worker")

USAGE_EXIT, UNAVAILABLE_EXIT, FAILURE_EXIT = 2, 5, 1
# A program ended by signal N exits with 128 + N, as shells say it.
SIGNAL_EXIT = 128
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE)

_EXAMPLES = """examples:
  python -m zsched worker shop:app
  python -m zsched worker shop:app --brokers a:5570,b:5570 --queues mail,default --concurrency 16
  python -m zsched worker shop.tasks:app --pool process --recycle-after-tasks 1000 --log-format json

Every flag is also an environment variable (--log-format: ZSCHED_LOG_FORMAT); a flag beats it.

SIGTERM and SIGINT drain: no new tasks, those that have not begun are given back, those that run are finished, then exit 0. A
second signal ends at once."""


def size(text: str) -> int:
    """ "300M" as bytes, in powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write 300M or 2G")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def names(text: str) -> list[str]:
    """ "a,b" as a list."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def count(text: str) -> int:
    """A number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zsched-py", description="Runs workers for tasks that are Python functions.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"zsched-py {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    worker = commands.add_parser("worker", help="take tasks from a broker and run them", epilog=_EXAMPLES,
                                 description="Takes tasks from the active broker and runs the functions of an App.",
                                 formatter_class=argparse.RawDescriptionHelpFormatter)

    def flag(name: str, help: str, default: Any = None, **more: Any) -> None:
        variable = "ZSCHED_" + name.upper().replace("-", "_")
        value: Any = environment.get(variable) or default
        if more.get("action") == "append":
            value = names(environment.get(variable) or "")
        worker.add_argument(f"--{name}", default=value, help=f"{help} [env: {variable}]", **more)

    worker.add_argument("app", nargs="?", default=environment.get("ZSCHED_APP"), metavar="MODULE:APP",
                        help="where the App is; :app unless said otherwise [env: ZSCHED_APP]")
    flag("brokers", f"brokers to take tasks from; the active one is found (default: the app's, or "
         f"{DEFAULT_HOST}:{DEFAULT_PORT})", metavar="HOST:PORT[,…]")
    flag("queues", "queues to serve; all when absent", type=names, metavar="A,B")
    flag("concurrency", "tasks to run at once (default: "
         + ", ".join(f"{default_concurrency(pool)} in pool {pool}" for pool in POOLS) + ")", type=count, metavar="N")
    flag("pool", "what runs the functions (default: thread)", "thread", choices=POOLS)
    flag("name", "name that people see (default: host and process id)")
    flag("label", "label of this worker; may be given several times", action="append", metavar="KEY=VALUE")
    flag("log-format", "form of the log on stderr (default: text)", "text", choices=("text", "json"))
    flag("log-level", "least important lines that are logged (default: info)", "info", choices=tuple(logs.LEVELS))
    flag("recycle-after-tasks", "replace a process after so many attempts, and up to 10 %% more", type=count, metavar="N")
    flag("recycle-after-memory", "the same once it has more than this in RAM", type=size, metavar="SIZE")
    return parser


def load_app(where: str) -> App:
    """The App at "module:name". InvalidArgument says why it is not there; what its module raises comes through."""
    module_name, _, name = where.partition(":")
    # As Python does for a script: modules beside the one who calls are found.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise InvalidArgument(f"there is no module '{module_name}' in {os.getcwd()} or on the path") from None
    app: Any = module
    for part in (name or "app").split("."):
        app = getattr(app, part, None)
    if not isinstance(app, App):
        raise InvalidArgument(f"'{name or 'app'}' of module {module_name} is no zsched.App")
    return app


class Signals:
    """The first SIGTERM or SIGINT drains, the second ends the process at once."""

    def __init__(self) -> None:
        self.seen = 0
        self._worker: Worker | None = None

    def arm(self, worker: Worker) -> None:
        """From now on."""
        self._worker = worker
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.seen += 1
        if self.seen > 1:
            os._exit(SIGNAL_EXIT + number)
        # Its lock may be held by what this thread was doing just now.
        if self._worker is not None:
            threading.Thread(target=self._worker.drain, name="zsched-drain").start()


def _make_worker(options: argparse.Namespace) -> Worker:
    labels: dict[str, str] = {}
    for label in options.label:
        key, equals, value = label.partition("=")
        if not equals:
            raise InvalidArgument(f"label: '{label}' is not KEY=VALUE")
        labels[key] = value
    pool: PoolKind = options.pool
    return Worker(load_app(options.app), options.brokers, queues=options.queues or (), concurrency=options.concurrency,
                  pool=pool, name=options.name, labels=labels, recycle_after_tasks=options.recycle_after_tasks or 0,
                  recycle_after_memory=options.recycle_after_memory or 0)


def _leave(worker: Worker, failed: ZschedError | None, signals: Signals) -> NoReturn:
    """To the end of this process, or of this program in it. Not by return: a function that was abandoned may still run in a
    thread, and must not be waited for."""
    ended = worker.stats["ended"]
    if failed is not None:
        log.error("worker ended", extra={"zsched_fields": {"reason": failed}})
    elif worker.recycled and not signals.seen:
        log.info("beginning anew in the same process", extra={"zsched_fields": {"attempts": ended}})
    else:
        log.info("worker drained", extra={"zsched_fields": {"attempts": ended}})
    try:
        worker.app.close(0 if failed else 10)
    except ZschedError as error:
        log.error("what functions have submitted last may be lost: %s", error)
    sys.stdout.flush()
    logging.shutdown()
    if failed is None and worker.recycled and not signals.seen:
        _begin_anew()
    os._exit(0 if failed is None else UNAVAILABLE_EXIT if isinstance(failed, Unavailable) else FAILURE_EXIT)


def _begin_anew() -> NoReturn:
    """The same program with the same arguments, in the same process: whoever watches it sees no end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; ends the process."""
    parser = _parser(os.environ)
    options = parser.parse_args(arguments)
    if not options.app:
        parser.error("worker: say where the App is: MODULE:APP, or ZSCHED_APP")
    for name, choices in (("pool", POOLS), ("log_format", ("text", "json")), ("log_level", tuple(logs.LEVELS))):
        if getattr(options, name) not in choices:  # argparse does not look at those of the environment
            parser.error(f"ZSCHED_{name.upper()}: '{getattr(options, name)}' is none of {', '.join(choices)}")
    logs.set_up(sys.stderr, options.log_format, options.log_level)
    try:
        worker = _make_worker(options)
    except InvalidArgument as error:
        parser.error(str(error))
    except Exception as error:
        if options.log_level == "debug":
            raise
        print(f"zsched-py: {options.app} cannot be imported: {type(error).__name__}: {error} (--log-level debug has more)",
              file=sys.stderr)
        sys.exit(USAGE_EXIT)
    signals = Signals()
    signals.arm(worker)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    log.info("worker started", extra={"zsched_fields": {
        "version": VERSION, "name": worker.name, "id": worker.id, "pool": worker.pool, "concurrency": worker.concurrency}})
    failed: ZschedError | None = None
    try:
        worker.run()
    except ZschedError as error:
        failed = error
    except Exception as error:
        log.critical("an error in the worker itself has ended it", exc_info=True)
        failed = ZschedError(str(error), ErrorCode.INTERNAL)
    _leave(worker, failed, signals)
