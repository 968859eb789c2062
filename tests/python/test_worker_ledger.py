"""The worker's pure parts, event by event with a clock that is a number: the ledger, the credit it asks for, reports, output, and
the bodies of frames."""
import json
import subprocess

import pytest
from conftest import ROOT

from zsched._wire import schema as wire
from zsched._wire.constants import (DEFAULT_TIMEOUT_MS, MAX_CREDIT_BYTES, MAX_CREDIT_TASKS, MAX_RESULT_BYTES, MAX_RESULT_TASKS,
                                    MAX_STARTED_REPORTS, OUTPUT_PAGE_BYTES, OUTPUT_PAGES, ErrorCode, RetryAdvice)
from zsched._wire.reader import read
from zsched._wire.writer import write
from zsched._worker import frames
from zsched._worker.credit import TARGET_US, CreditSizer
from zsched._worker.ledger import (ABANDON_AFTER_MS, DRAIN_OFFLINE_MS, ENDED, GONE, MAX_SELF_SIZED_CREDIT, NEVER, RELEASING,
                                   RUNNING, STUCK, WAITING, Lease, Ledger, Outcome)
from zsched._worker.recycling import Recycling
from zsched._worker.reports import MAX_HELD_OUTPUT_BYTES, REPORT_EVERY_MS, Outputs, Pages, Report, Reports

VISIBILITY_MS = 6000
FAILED = Outcome(message="no")


class Driver:
    """A ledger with a session, and the time."""

    def __init__(self, concurrency=2):
        self.now = 1000
        self.ledger = Ledger(concurrency)
        self.up()

    def up(self, stale=()):
        self.ledger.on_session_up(VISIBILITY_MS, stale, self.now)

    def down(self):
        self.ledger.on_session_down(self.now)

    def assign(self, *ids, **options):
        leases = [Lease(100 + id, id, **options) for id in ids]
        assert self.ledger.on_assigned(leases, self.now) == leases
        return leases if len(leases) > 1 else leases[0]

    def end(self, *leases, outcome=None, run_us=10):
        self.ledger.on_ended([(lease, run_us, outcome) for lease in leases], self.now)

    def frames(self):
        return self.ledger.take_frames(self.now)

    def results(self):
        """(seq, [lease of a success without a result], [(lease, code)]) of each frame that is due."""
        return [(frame.seq, [done[1] for done in frame.done], [(result.lease_id, result.error_code) for result in frame.results])
                for frame in self.frames().results]

    def orders(self):
        orders = self.ledger.take_orders(self.now)
        return [(lease.id, why) for lease, why in orders.cancel], [lease.id for lease in orders.recall], orders.withdraw


@pytest.fixture
def driver():
    return Driver()


def held(ledger):
    return [ref.lease_id for ref in ledger.held()]


# --- Results ---

def test_a_result_is_kept_until_it_is_acknowledged(driver):
    driver.end(driver.assign(1))
    assert driver.results() == [(1, [1], [])]
    assert held(driver.ledger) == [1] and driver.ledger.outstanding == 0 and driver.ledger.unacked == 1
    driver.ledger.on_result_ack(1, 0)
    assert held(driver.ledger) == [] and driver.ledger.unacked == 0
    assert driver.results() == []


def test_an_ack_is_cumulative(driver):
    for id in (1, 2, 3):
        driver.end(driver.assign(id))
        driver.results()
    driver.ledger.on_result_ack(2, 0)
    assert held(driver.ledger) == [3]


def test_unacknowledged_results_are_sent_again_under_new_numbers(driver):
    driver.end(driver.assign(1))
    driver.end(driver.assign(2), outcome=FAILED)
    assert [seq for seq, *_ in driver.results()] == [1]
    driver.end(driver.assign(3))
    assert [seq for seq, *_ in driver.results()] == [2]
    driver.down()
    driver.end(driver.assign(4))  # it ran on
    assert driver.results() == []
    driver.up()
    assert driver.results() == [(1, [1], [(2, ErrorCode.HANDLER_FAILED)]), (2, [3], []), (3, [4], [])]


def test_stale_leases_of_a_welcome_are_dropped_with_their_results(driver):
    ended, runs, waits = driver.assign(1, 2, 3)
    driver.end(ended, outcome=Outcome(True, b"x" * 1000))
    driver.ledger.on_started(runs, driver.now)
    driver.down()
    driver.up(stale=[1, 2, 3, 99])
    assert held(driver.ledger) == [] and driver.results() == [] and driver.ledger.unacked == driver.ledger.unacked_bytes == 0
    assert driver.orders()[0] == [(2, ErrorCode.STALE), (3, ErrorCode.STALE)]
    assert driver.ledger.stuck == 2, "until the executor says that they are over"
    driver.end(runs)
    driver.ledger.on_withdrawn([waits])
    assert driver.ledger.stuck == 0 and driver.results() == [] and driver.ledger.counters.refused == 1
    assert (ended.state, runs.state, waits.state) == (GONE, GONE, GONE)


def test_frames_have_bounds(driver):
    leases = driver.assign(*range(1, MAX_RESULT_TASKS + 11))
    driver.end(*leases)
    assert [len(done) for _, done, _ in driver.results()] == [MAX_RESULT_TASKS, 10]
    big = driver.assign(*range(10_001, 10_004))
    for lease in big:
        driver.end(lease, outcome=Outcome(True, b"x" * MAX_RESULT_BYTES))
    assert [len(results) for _, _, results in driver.results()] == [1, 1, 1]


@pytest.mark.parametrize("outcome, code, advice", [
    (Outcome(True, b"x" * (MAX_RESULT_BYTES + 1)), ErrorCode.TOO_LARGE, RetryAdvice.NEVER),
    (Outcome(True, b"x", "t" * 129), ErrorCode.INVALID_ARGUMENT, RetryAdvice.NEVER),
    (Outcome(code=ErrorCode.OK, message="m"), ErrorCode.HANDLER_FAILED, RetryAdvice.DEFAULT)])
def test_what_no_result_may_be_becomes_a_failure(driver, outcome, code, advice):
    driver.end(driver.assign(1), outcome=outcome)
    result = driver.frames().results[0].results[0]
    assert (result.succeeded, result.error_code, result.advice, result.result) == (False, code, advice, None)


def test_messages_are_cut_between_characters(driver):
    driver.end(driver.assign(1), outcome=Outcome(message="\u00e4" * 3000 + "\ud800"))
    assert driver.frames().results[0].results[0].error_message == "\u00e4" * 2048


# --- Assignments ---

def test_a_lease_that_is_held_is_not_taken_twice(driver):
    lease = driver.assign(1)
    assert driver.ledger.on_assigned([Lease(101, 1)], driver.now) == []
    driver.end(lease)
    assert driver.ledger.on_assigned([Lease(101, 1)], driver.now) == []
    assert driver.ledger.counters.duplicates == 2 and driver.ledger.waiting == 0


def test_what_hello_could_not_name_is_given_back(driver):
    driver.assign(*range(1, MAX_CREDIT_TASKS + 1))
    assert driver.ledger.on_assigned([Lease(5, 99_999)], driver.now) == []
    assert [ref.lease_id for ref in driver.frames().release] == [99_999]


def test_tasks_without_a_timeout_have_the_default(driver):
    assert driver.assign(1).timeout_ms == DEFAULT_TIMEOUT_MS


# --- Timeouts, cancellation, recall ---

def test_an_attempt_that_takes_too_long_is_told_to_end_then_abandoned(driver):
    lease = driver.assign(1, timeout_ms=500)
    driver.ledger.on_started(lease, driver.now)
    assert driver.ledger.next_deadline_ms() == driver.now + 500
    driver.now += 500
    driver.ledger.on_tick(driver.now)
    assert driver.orders()[0] == [(1, ErrorCode.ATTEMPT_TIMED_OUT)]
    driver.now += ABANDON_AFTER_MS
    driver.ledger.on_tick(driver.now)
    assert driver.results() == [(1, [], [(1, ErrorCode.ATTEMPT_TIMED_OUT)])]
    assert driver.ledger.stuck == 1 and driver.ledger.running == 0
    assert driver.ledger.on_assigned([Lease(101, 1)], driver.now) == []
    driver.ledger.on_result_ack(1, 0)
    driver.end(lease)
    assert driver.ledger.stuck == 0 and driver.results() == [] and driver.ledger.counters.dropped == 1


def test_an_abandoned_attempt_whose_result_went_stale_frees_its_slot(driver):
    lease = driver.assign(1, timeout_ms=1)
    driver.ledger.on_started(lease, driver.now)
    for _ in range(2):
        driver.now += ABANDON_AFTER_MS
        driver.ledger.on_tick(driver.now)
    driver.down()
    driver.up(stale=[1])
    assert driver.ledger.stuck == 1 and driver.results() == []
    driver.end(lease)
    assert driver.ledger.stuck == 0


@pytest.mark.parametrize("outcome", [None, Outcome(True, b"x"), FAILED])
def test_what_ends_after_its_timeout_timed_out(driver, outcome):
    lease = driver.assign(1, timeout_ms=500)
    driver.ledger.on_started(lease, driver.now)
    driver.now += 600
    driver.ledger.on_tick(driver.now)
    driver.end(lease, outcome=outcome)
    assert driver.results() == [(1, [], [(1, ErrorCode.ATTEMPT_TIMED_OUT)])]


@pytest.mark.parametrize("outcome", [None, Outcome(True, b"x"), FAILED])
def test_a_cancelled_attempt_is_reported_as_that_whatever_it_came_to(driver, outcome):
    lease = driver.assign(1)
    driver.ledger.on_started(lease, driver.now)
    for _ in range(2):  # a repeat means nothing more
        driver.ledger.on_cancel([1, 77], ErrorCode.CANCELLED, driver.now)
    assert driver.orders()[0] == [(1, ErrorCode.CANCELLED)]
    driver.end(lease, outcome=outcome)
    assert driver.results() == [(1, [], [(1, ErrorCode.CANCELLED)])]


def test_a_cancelled_task_that_has_not_begun_is_reported_without_being_run(driver):
    lease = driver.assign(1)
    driver.ledger.on_cancel([1], ErrorCode.CANCELLED, driver.now)
    driver.orders()
    driver.ledger.on_withdrawn([lease])
    assert driver.results() == [(1, [], [(1, ErrorCode.CANCELLED)])] and driver.ledger.waiting == 0


def test_one_that_was_cancelled_just_before_its_start_is_watched(driver):
    lease = driver.assign(1)
    driver.ledger.on_cancel([1], ErrorCode.CANCELLED, driver.now)
    driver.ledger.on_started(lease, driver.now - 5)
    driver.now += ABANDON_AFTER_MS
    driver.ledger.on_tick(driver.now)
    assert driver.results() == [(1, [], [(1, ErrorCode.CANCELLED)])] and driver.ledger.stuck == 1


def test_a_lease_that_the_broker_takes_away_is_no_longer_reported(driver):
    lease = driver.assign(1)
    driver.ledger.on_started(lease, driver.now)
    driver.ledger.on_cancel([1], ErrorCode.ATTEMPT_TIMED_OUT, driver.now)
    assert driver.orders()[0] == [(1, ErrorCode.ATTEMPT_TIMED_OUT)] and held(driver.ledger) == []
    assert lease.state == STUCK
    driver.end(lease)
    assert driver.results() == []


def test_a_recall_gives_back_what_has_not_begun(driver):
    first, second, third = driver.assign(1, 2, 3)
    driver.ledger.on_started(first, driver.now)
    driver.ledger.on_recall([1, 2, 99])
    assert driver.orders()[1] == [2]
    driver.ledger.on_withdrawn([second])
    assert [ref.lease_id for ref in driver.frames().release] == [2] and held(driver.ledger) == [1, 3]
    assert (first.state, third.state) == (RUNNING, WAITING)


def test_what_is_late_is_asked_back(driver):
    lease = driver.assign(1, start_by_ms=driver.now + 50)
    assert driver.orders()[1] == [] and driver.ledger.next_deadline_ms() == driver.now + 50
    driver.now += 50
    assert driver.orders()[1] == [1] and driver.orders()[1] == []
    driver.ledger.on_withdrawn([lease])
    assert [ref.lease_id for ref in driver.frames().release] == [1]


def test_start_by_times_of_what_waits_no_more_are_forgotten(driver):
    for first in range(1, 20_000, 1000):
        leases = driver.assign(*range(first, first + 1000), start_by_ms=driver.now + 10**9)
        driver.end(*leases)
        for seq, *_ in driver.results():
            driver.ledger.on_result_ack(seq, 0)
        driver.ledger.next_deadline_ms()
    assert len(driver.ledger._expiring) <= 3000 and driver.ledger.next_deadline_ms() >= 10**9
    soon, late = driver.assign(99_001, start_by_ms=driver.now + 5), driver.assign(99_002, start_by_ms=driver.now + 9)
    driver.now += 9
    assert driver.orders()[1] == [soon.id, late.id] and driver.orders()[1] == []


# --- Heartbeats, time ---

def test_heartbeats_name_what_began_and_still_runs_once(driver):
    leases = driver.assign(*range(1, MAX_STARTED_REPORTS + 3))
    for lease in leases:
        driver.ledger.on_started(lease, driver.now)
    driver.end(leases[0])
    beat = driver.ledger.take_heartbeat()
    assert len(beat.started) == MAX_STARTED_REPORTS and beat.started[0].lease_id == 2
    assert (beat.running, beat.queued) == (MAX_STARTED_REPORTS + 1, 0)
    assert len(driver.ledger.take_heartbeat().started) == 1
    assert not driver.ledger.take_heartbeat().started
    driver.down()
    driver.up()
    assert len(driver.ledger.take_heartbeat().started) == MAX_STARTED_REPORTS, "a new session knows nothing"


def test_attempts_start_only_while_the_lease_holds(driver):
    assert Ledger(1).starts_until_ms() == 0
    assert driver.ledger.starts_until_ms() == driver.now + VISIBILITY_MS
    driver.ledger.on_heard(driver.now + 100)
    assert driver.ledger.starts_until_ms() == driver.now + 100 + VISIBILITY_MS


# --- Credit ---

def test_the_first_grant_is_one_a_slot(driver):
    assert driver.frames().credit == (2, MAX_CREDIT_BYTES)
    assert driver.frames().credit is None


def test_long_tasks_get_one_a_slot():
    sizer = CreditSizer(8192)
    for _ in range(20):
        sizer.on_run(TARGET_US)
    assert sizer.next(4, 16384, 0, 0) == 4


def test_a_grant_at_most_doubles_and_only_when_it_was_used():
    sizer = CreditSizer(8192)
    assert sizer.next(2, 16384, 0, 0) == 2
    sizer.on_run(10)
    assert sizer.next(2, 16384, 0, 0) is None
    sizer.on_run(10)
    assert sizer.next(2, 16384, 0, 0) == 4
    for grant in (8, 16, 32):
        sizer.on_runs(grant // 2, 10)
        assert sizer.next(2, 16384, 0, 0) == grant


def test_many_runs_at_once_weigh_as_many_single_ones():
    one, many = CreditSizer(10), CreditSizer(10)
    one.on_run(100)
    many.on_run(100)
    for _ in range(5):
        one.on_run(900)
    many.on_runs(5, 900)
    assert many.average_run_us == pytest.approx(one.average_run_us)


def test_a_stall_takes_the_surplus_back(driver):
    for _ in range(40):
        driver.ledger.credit.on_runs(driver.ledger.credit.granted, 10)
        driver.frames()
    leases = driver.assign(*range(1, 101))
    for lease in leases[:2]:
        driver.ledger.on_started(lease, driver.now)
    assert driver.orders()[2] == 0
    driver.now += TARGET_US // 1000
    assert driver.orders()[2] == 96
    assert driver.frames().credit[0] < 100


def test_grants_leave_room_for_what_is_not_acknowledged(driver):
    driver.ledger.credit.on_runs(100, 10)
    driver.end(*driver.assign(*range(1, MAX_CREDIT_TASKS - 4)))
    assert driver.frames().credit[0] <= 5


def test_a_stuck_slot_lowers_the_grant(driver):
    driver.frames()
    lease = driver.assign(1)
    driver.ledger.on_cancel([1], ErrorCode.STALE, driver.now)
    assert driver.frames().credit == (1, MAX_CREDIT_BYTES)
    driver.end(lease)
    assert driver.frames().credit == (2, MAX_CREDIT_BYTES)


@pytest.mark.parametrize("concurrency", [0, -1, MAX_SELF_SIZED_CREDIT + 1])
def test_concurrency_has_bounds(concurrency):
    with pytest.raises(ValueError):
        Ledger(concurrency)


# --- Drain ---

def test_a_drain_grants_nothing_gives_back_and_waits_for_acks(driver):
    driver.frames()
    runs, waits = driver.assign(1, 2)
    driver.ledger.on_started(runs, driver.now)
    driver.ledger.on_drain(driver.now)
    assert driver.orders()[2] == 1
    driver.ledger.on_withdrawn([waits])
    due = driver.frames()
    assert due.credit == (0, 0) and [ref.lease_id for ref in due.release] == [2]
    late = Lease(103, 3)
    assert driver.ledger.on_assigned([late], driver.now) == [] and late.state == RELEASING
    assert [ref.lease_id for ref in driver.frames().release] == [3]
    driver.end(runs)
    assert driver.results() and runs.state == ENDED and not driver.ledger.drained(driver.now)
    driver.ledger.on_result_ack(1, 0)
    assert driver.ledger.drained(driver.now)


def test_a_drain_without_a_broker_gives_up_after_a_while(driver):
    driver.end(driver.assign(1))
    driver.down()
    driver.ledger.on_drain(driver.now)
    assert driver.ledger.next_deadline_ms() == driver.now + DRAIN_OFFLINE_MS
    assert not driver.ledger.drained(driver.now + DRAIN_OFFLINE_MS - 1) and driver.ledger.drained(driver.now + DRAIN_OFFLINE_MS)


def test_one_that_begins_anew_waits_for_ever_until_somebody_wants_it_gone(driver):
    driver.end(driver.assign(1))
    driver.down()
    driver.ledger.on_drain(driver.now, NEVER)
    assert not driver.ledger.drained(driver.now + 10**9)
    driver.ledger.on_drain(driver.now)
    assert driver.ledger.drained(driver.now + DRAIN_OFFLINE_MS)


def test_a_stop_tells_everything_to_end(driver):
    runs, waits = driver.assign(1, 2)
    driver.ledger.on_started(runs, driver.now)
    driver.ledger.on_stop()
    assert driver.orders()[0] == [(1, ErrorCode.UNAVAILABLE), (2, ErrorCode.UNAVAILABLE)]


# --- Reports and output ---

def test_of_what_an_attempt_says_the_latest_counts_five_times_a_second():
    reports = Reports()
    reports.on_note(101, 1, Report(10, "a", b"first"))
    assert reports.take(0)[0].reports == [wire.AttemptReport(101, 1, 10, "a", b"first")]
    reports.on_note(101, 1, Report(20))
    reports.on_note(101, 1, Report(30, "b"))
    assert reports.take(REPORT_EVERY_MS - 1) == [] and reports.next_deadline_ms() == REPORT_EVERY_MS
    assert reports.take(REPORT_EVERY_MS)[0].reports == [wire.AttemptReport(101, 1, 30, "b", b"first")]
    assert reports.take(2 * REPORT_EVERY_MS) == []


def test_what_ended_attempts_said_leaves_at_once_and_again_in_a_new_session():
    reports = Reports()
    reports.on_note(101, 1, Report(10))
    reports.on_note(102, 2, Report(10))
    assert len(reports.take(0)[0].reports) == 2
    reports.on_note(101, 1, Report(11))
    reports.on_note(102, 2, Report(12))
    reports.on_ended(1)
    assert [report.percent for report in reports.take(1)[0].reports] == [11]
    reports.on_session_up()
    assert [report.percent for report in reports.take(2)[0].reports] == [11, 12]
    reports.forget(lambda lease: lease == 2)
    reports.on_session_up()
    assert [report.task_id for report in reports.take(1000)[0].reports] == [102]


def test_large_checkpoints_take_turns():
    reports = Reports()
    for lease in range(1, 41):
        reports.on_note(100 + lease, lease, Report(checkpoint=bytes(60_000)))
    first = [report.lease_id for progress in reports.take(0) for report in progress.reports]
    second = [report.lease_id for progress in reports.take(REPORT_EVERY_MS) for report in progress.reports]
    third = [report.lease_id for progress in reports.take(2 * REPORT_EVERY_MS) for report in progress.reports]
    assert len(first) == len(second) == 18 and sorted(first + second + third) == list(range(1, 41))


def pages_of(output):
    return [(page.offset, bytes(page.bytes), [tuple(run)[:2] for run in page.runs]) for page in output.pages]


def test_output_is_cut_into_pages_and_a_page_that_grew_is_sent_again_from_its_start():
    written, outputs = Pages(), Outputs()
    written.append(0, b"a" * 1000)
    outputs.on_written(101, 1, written.take())
    assert pages_of(outputs.take(0)[0]) == [(0, b"a" * 1000, [(1000, 0)])]
    written.append(1, b"b" * 100)
    outputs.on_written(101, 1, written.take())
    assert pages_of(outputs.take(REPORT_EVERY_MS)[0]) == [(0, b"a" * 1000 + b"b" * 24, [(1000, 0), (24, 1)]),
                                                          (1024, b"b" * 76, [(76, 1)])]
    assert outputs.take(2 * REPORT_EVERY_MS) == []
    outputs.on_session_up()
    assert [page.offset for page in outputs.take(2 * REPORT_EVERY_MS)[0].pages] == [0, 1024]


def test_of_a_flood_the_last_pages_are_kept():
    written = Pages()
    for size in (1, 10 * OUTPUT_PAGES * OUTPUT_PAGE_BYTES, 5):
        written.append(0, b"x" * size)
    pages = written.take()
    assert written.end == 6 + 10 * OUTPUT_PAGES * OUTPUT_PAGE_BYTES and pages[-1].end == written.end
    assert len(pages) <= OUTPUT_PAGES and all(page.offset % OUTPUT_PAGE_BYTES == 0 for page in pages)


def test_output_of_all_attempts_is_bounded():
    outputs = Outputs()
    for lease in range(1, MAX_HELD_OUTPUT_BYTES // (OUTPUT_PAGES * OUTPUT_PAGE_BYTES) + 100):
        written = Pages()
        written.append(0, bytes(OUTPUT_PAGES * OUTPUT_PAGE_BYTES))
        outputs.on_written(lease, lease, written.take())
    assert outputs.held_bytes <= MAX_HELD_OUTPUT_BYTES
    outputs.forget(lambda lease: False)
    assert outputs.held_bytes == 0 and not outputs


# --- Frames ---

def test_bodies_of_results_read_as_the_generic_writer_makes_them():
    for count in (0, 1, 2, 1000):
        done = [(2 ** 64 - 1 - n, n, n) for n in range(count)]
        message = wire.Results(7, [wire.Done(*entry) for entry in done], [])
        assert read(wire.Results, frames.done_body(7, done)) == read(wire.Results, write(message))


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_bodies_of_plain_results_are_read_by_everybody(count, tmp_path):
    entries = [wire.Result(2 ** 64 - 1 - n, n, n, True, b"x" * (n % 9), ("application/json", "text/plain", "a")[n % 3])
               for n in range(count)]
    body = frames.plain_body(2 ** 63, entries)
    assert read(wire.Results, body) == read(wire.Results, write(wire.Results(2 ** 63, [], entries)))
    # And by flatc, which does not know our reader.
    schema, file = tmp_path / "Results.fbs", tmp_path / "body.bin"
    schema.write_text('include "wire.fbs"; root_type zsched.wire.Results;', encoding="utf-8")
    file.write_bytes(body)
    subprocess.run(["flatc", "--json", "--strict-json", "--raw-binary", "-I", ROOT / "schemas", "-o", tmp_path, schema, "--", file],
                   check=True)
    found = json.loads((tmp_path / "body.json").read_text(encoding="utf-8"))
    assert [(one["task_id"], bytes(one["result"]), one["content_type"], one["succeeded"]) for one in found["results"]] == [
        (entry.task_id, entry.result, entry.content_type, True) for entry in entries]


def test_tasks_become_leases():
    tasks = [wire.Assignment(task_id=n, lease_id=10 + n, attempt=n, timeout_ms=5 * n, type="add", payload=b"p" * n,
                             start_within_ms=100 * (n % 2), labels=[wire.Label("a", "b")] * (n % 3)) for n in range(1, 20)]
    body = write(wire.Tasks(tasks))
    leases = frames.leases_of(body, 1000)
    assert [lease.work for lease in leases] == list(read(wire.Tasks, body).tasks)
    assert [(lease.task, lease.id, lease.attempt, lease.start_by_ms) for lease in leases] == [
        (n, 10 + n, n, 1100 if n % 2 else 0) for n in range(1, 20)]


# --- Recycling ---

def test_recycling():
    never, tasks, memory = Recycling(), Recycling(100, draw=lambda bound: bound - 1), Recycling(0, 1000)
    assert never.due(10**9, 10**12) is None
    assert tasks.due(109, 0) is None and "110 attempts" in tasks.due(110, 0)
    assert memory.due(0, 2000) is None and memory.due(1, 1000) is None and memory.due(1, 1001)
