#include "tests/sim/planted.h"

namespace zsched::sim {
namespace {

constexpr PlantedBug kBugs[] = {
    // --- Told before it is durable
    {"submit-ack-early", "SUBMIT_ACK leaves before its record is durable", 5},
    {"result-ack-early", "RESULT_ACK leaves before its record is durable", 5},
    {"outcomes-early", "outcomes are told before they are durable", 5},
    {"tasks-early", "tasks are handed out before they are durable", 5},
    {"query-early", "queries and WAIT are answered from rows that lack the latest", 110,
     "slow-disk", "retries"},
    {"epoch-not-awaited", "frames leave before the broker's epoch is durable", 20, "stillborn",
     "volatile"},

    // --- The disk
    {"failed-commit-passes", "a commit that failed is reported as done", 20, "flapping-broker"},
    {"last-row-lost", "the last row of each table in a batch does not reach the disk", 5},
    {"log-cut-short", "half of a batch's log records do not reach the disk", 5},
    {"submits-not-stored", "the memory of submits is not stored", 5},
    {"neighbour-pruned", "retention prunes the task beside the finished one", 5, "", "pruned"},
    {"pruned-too-soon", "retention keeps one task less than it is told to", 10, "", "pruned"},

    // --- Submits and outcomes
    {"refusals-forgotten", "a repeated SUBMIT_ACK leaves out what was refused", 40,
     "flapping-broker", "full-queues"},
    {"seq-taken-twice", "a SUBMIT that was sent again creates its tasks again", 20,
     "flapping-broker"},
    {"acks-claimed", "a client claims acks that it does not have", 10, "mangled"},
    {"submits-not-resent", "a client does not send submits again after a reconnect", 20},
    {"refused-not-resent", "a client forgets tasks that a full broker refused", 10, "",
     "full-queues"},
    {"client-asks-once", "a client does not ask for outcomes again after a reconnect", 20},
    {"no-resync", "a client is not told that outcomes for it were dropped", 10, "narrow"},
    {"last-outcome-unsaid", "the last outcome of a frame is left out", 20},
    {"one-watcher-told", "only the first of a task's waiting clients hears its outcome", 20,
     "workers", "pruned"},
    {"succeeded-retried", "RETRY runs a task again that succeeded", 10, "", "retries"},

    {"key-hides-body", "another task under a key that is held is taken for its holder", 10, "",
     "keyed"},
    {"holder-not-awaited", "a task that is not durable yet is named as the holder of a key", 90,
     "stillborn", "keyed"},
    {"keys-forgotten-early", "a key is free as soon as its task is over", 10, "", "keyed"},
    {"keys-not-stored", "a restart forgets who holds which key", 20, "flapping-broker", "keyed"},

    // --- Frames
    {"broker-ignores-gaps", "a broker takes the frame after one that was lost", 5, "lossy"},
    {"broker-takes-repeats", "a broker takes a frame of a session twice", 10, "lossy"},
    {"gap-ends-leases", "a worker's leases end with the session in which frames were lost", 10,
     "lossy"},
    {"peer-ignores-gaps", "a client or worker takes the frame after one that was lost", 10,
     "lossy"},
    {"peer-takes-repeats", "a client or worker takes a frame of a session twice", 20, "lossy"},
    {"unsent-numbered", "a frame that the socket did not take uses a number", 10, "narrow"},

    // --- Leases
    {"any-lease-accepted", "a result is accepted under any lease", 40, "lossy", "retries"},
    {"any-own-lease-accepted", "a result is accepted under any lease of its worker", 40, "lossy",
     "retries"},
    {"any-attempt-adopted", "a lost attempt is adopted whatever its number", 20, "stillborn",
     "many-clients"},
    {"unnamed-leases-stay", "leases that a returning worker does not name stay with it", 20,
     "network"},
    {"silence-keeps-leases", "a silent worker keeps its leases", 20, "workers"},
    {"orphans-keep-leases", "a worker that does not return after a restart keeps its leases", 10,
     "flapping-broker"},
    {"results-not-resent", "a worker does not send results again after a reconnect", 20, "network"},
    {"withdrawn-not-released", "a worker keeps tasks that it will not run", 40, "workers"},
    {"lost-attempt-free", "a lost attempt is not charged", 5, "workers"},
    {"release-charged", "a released task is charged an attempt", 10, "network"},
    {"one-attempt-more", "a task gets one attempt more than it may have", 10},
    {"never-ignored", "a handler's advice never to try again is ignored", 5, "", "retries"},
    {"one-over-grant", "a worker gets one task more than it granted", 5},
    {"bytes-over-grant", "a worker gets more bytes than it granted", 5, "", "large"},
    {"return-loses-leases", "a worker that returns in time loses what it runs", 20, "network"},
    {"restart-ends-leases", "leases end with the broker that gave them", 20, "stillborn"},
    {"no-adoption", "after a restart an attempt whose lease was not durable is not adopted", 10,
     "stillborn"},
    {"ack-overtakes-tasks", "HEARTBEAT_ACK overtakes tasks to a worker that drains", 20,
     "slow-disk"},

    {"once-lease-not-awaited", "what runs at most once leaves before its lease is durable", 40,
     "flapping-broker", "once"},
    {"past-hello-heeded", "a WORKER_HELLO that comes late takes leases from its worker", 100,
     "mangled", "once"},
    {"once-retried", "what runs at most once is tried again", 5, "", "once"},
    {"once-not-stored", "a restart forgets what runs at most once", 20, "flapping-broker", "once"},

    // --- Dead tasks
    {"retried-stays-dead", "a dead task that is retried is still listed among the dead", 5, "",
     "dead"},
    {"any-letter-retried", "a RETRY of one death is carried out on a later one", 20, "", "dead"},
    {"letters-given-twice", "after a restart deaths get numbers that others had", 10,
     "flapping-broker", "dead"},
    {"delete-ack-early", "a deletion is acknowledged before its record is durable", 10, "", "dead"},
    {"deleted-key-free", "the key of a deleted task is free at once", 10, "", "dead"},
    {"dead-expire-young", "retention keeps no dead task once there are too many", 10, "", "dead"},

    // --- Queues
    {"pause-ignored", "a paused queue hands tasks out", 10, "", "ruled"},
    {"max-running-ignored", "a queue hands out more tasks than it may have at workers", 10, "",
     "ruled"},
    {"type-ignored", "a type hands out more tasks, or faster, than it may", 20, "", "ruled"},
    {"key-ignored", "so does a concurrency key", 20, "", "ruled"},
    {"full-type-forgotten", "a type that was full hands nothing out any more", 20, "", "ruled"},
    {"full-key-forgotten", "nor does a concurrency key that was", 40, "", "ruled"},
    {"type-rules-not-stored", "a restart forgets the rules of types", 30, "flapping-broker",
     "ruled"},
    {"no-retry-ignored", "a task is tried again after an error that its type does not retry", 20,
     "", "ruled"},
    {"no-retry-forgotten", "a restart forgets which errors a type does not retry", 30,
     "flapping-broker", "ruled"},
    {"rate-ignored", "a queue hands out tasks faster than its rate", 10, "", "ruled"},
    {"full-queue-forgotten", "a queue that was full hands nothing out any more", 10, "", "ruled"},
    {"settings-not-stored", "a restart forgets the rules of queues", 20, "flapping-broker",
     "ruled"},

    // --- Cancels
    {"cancelled-succeeds", "an attempt that succeeds while it is cancelled counts", 20, "",
     "cancels"},
    {"cancel-not-recorded", "after a restart nothing says that running tasks are cancelled", 10,
     "flapping-broker", "cancels"},
    {"cancel-not-resent", "a worker that was away is not told what was cancelled", 20, "network",
     "cancels"},
    {"cancelled-tried-again", "an attempt that fails while it is cancelled is tried again", 10, "",
     "cancels"},
    {"cancelled-returned", "a cancelled task that is lost or given back is ready again", 10,
     "workers", "cancels"},
    {"cancel-ack-early", "a cancel is acknowledged before its record is durable", 5, "", "cancels"},

    // --- Chains
    {"cancelled-fires-nothing", "a cancelled task fires no branch", 5, "", "chained"},
    {"result-not-passed", "a task that follows is not given what was left", 5, "", "chained"},
    {"fires-after-every-retry", "a task that dies again fires its branches again", 10, "",
     "chained"},
    {"fired-not-stored", "a restart forgets which branches have fired", 20, "flapping-broker",
     "chained"},
    {"chains-not-stored", "a restart forgets the templates of tasks", 5, "flapping-broker",
     "chained"},
    {"lost-fires-nothing", "a task that dies with its worker fires no branch", 20, "workers",
     "chained"},
    {"made-untold", "no event tells of tasks that follow others", 5, "none", "chained"},

    // --- Start-by times
    {"nothing-expires", "a task that has not begun by its time still waits", 10, "", "expiring"},
    {"expires-early", "a task expires 0.3 s before its time", 5, "none", "expiring"},
    {"expires-what-runs", "after a restart tasks expire that workers have begun", 30,
     "flapping-broker", "expiring"},
    {"expiries-not-stored", "a restart forgets start-by times", 20, "flapping-broker", "expiring"},

    // --- Schedules
    {"cursor-not-stored", "after a restart a schedule begins anew, where it was made", 5,
     "flapping-broker", "scheduled"},
    {"tick-from-now", "of ticks that are due only the last is there", 10, "broker", "scheduled"},
    {"window-ignored", "a tick that is a little late is missed", 20, "", "scheduled"},
    {"overlap-ignored", "a tick fires beside the task of an earlier one", 5, "", "scheduled"},
    {"waiting-ticks-forgotten", "a restart forgets the ticks that wait", 5, "flapping-broker",
     "scheduled"},
    {"ticks-early", "ticks fire 0.3 s early", 5, "none", "scheduled"},
    {"schedule-ack-early", "a schedule is acknowledged before its record is durable", 5,
     "flapping-broker", "scheduled"},

    // --- Trails
    {"loss-not-recorded", "an attempt that is lost with its worker is not in the history", 10,
     "workers"},
    {"attempts-overwritten", "an attempt takes the place of another in the history", 10, "",
     "trails"},
    {"trails-not-stored", "a restart forgets which tasks have a history", 10, "broker", "trails"},
    {"trails-not-pruned", "the history of a task stays when the task is pruned", 20, "", "pruned"},
    {"checkpoint-ignored", "the checkpoint in a report is not stored", 10, "", "trails"},
    {"checkpoint-unsaid", "the next attempt is not given the checkpoint", 10, "", "trails"},
    {"any-report-taken", "a report under a lease that has ended is taken for its task's", 130,
     "stragglers", "trails"},
    {"reports-not-resent", "a worker does not report again after a reconnect", 40, "broker",
     "trails"},
    {"notes-not-pruned", "what attempts said stays when their task is pruned", 20, "", "trails"},
    {"any-output-taken", "output under a lease that has ended is taken for its task's", 130,
     "stragglers", "trails"},
    {"output-not-resent", "a worker does not send output again after a reconnect", 40, "broker",
     "trails"},
    {"output-not-pruned", "what attempts wrote stays when their task is pruned", 20, "", "trails"},
    {"output-of-place-stays", "what another attempt wrote stays in the place of a later one", 20,
     "", "trails"},
    {"output-of-others-shown", "what another attempt wrote is shown as the one's that is asked for",
     40, "", "trails"},
    {"attempt-unsaid", "the last attempt of a history is left out", 10, "", "trails"},

    {"never-recalled", "what waits behind a running task stays there, beside idle workers", 40, "",
     "long"},

    // --- Time
    {"overdue-not-ended", "an attempt that is overdue is not ended", 80, "stragglers", "retries"},
    {"timers-early", "timers fire 0.3 s early", 5, "none"},
    {"timers-late", "timers fire 10 s late", 5, "none", "retries"},
    {"no-back-off", "a failed task is ready again at once", 10, "", "retries"},
    {"new-lane-unserved", "workers that are there get no tasks of a new queue", 10, "none"},
    {"restart-loses-waits", "after a restart nothing wakes the tasks that wait", 20, "broker",
     "mixed"},

    // --- Pairs
    {"commits-alone", "a commit does not wait for the standby's disk", 50, "pair-cut"},
    {"acked-not-durable", "a standby acknowledges what is not on its disk", 120, "pair-slow"},
    {"solo-on-a-timer", "an active that does not hear its standby goes on without the arbiter", 90,
     "pair-cut"},
    {"lost-answer-assumed", "an answer of the arbiter that was lost is taken for a yes", 120,
     "pair-arbiter"},
    {"promoted-not-in-sync", "a broker that is not in sync takes over", 25, "pair-crash"},
    {"joins-behind", "a follower is in sync before it has everything", 180, "pair-slow"},
    {"joins-unawaited", "a follower is in sync before the active waits for it", 130, "pair-cut"},
    {"logs-not-compared", "a follower goes on from another log than the active's", 60, "pair-slow"},
    {"never-steps-back", "an active that was replaced does not step back", 40, "pair-cut"},
    {"register-not-settled", "a swap whose answer was lost is not looked at again", 15,
     "pair-arbiter"},
    {"log-not-held", "the log is trimmed before the standby has it", 120, "pair-copy"},
    {"copy-misses-rows", "a copy of the tables lacks rows", 10, "pair-copy"},
    {"answers-uncommitted", "questions are answered with what the standby has not got", 60,
     "pair-slow"},

    // --- Pairs without an arbiter
    {"parted-too-late", "two logs are taken to part where the later epoch begins", 100,
     "lone-split"},
    {"ends-not-merged", "what ended at the other side goes on here", 60, "lone-split"},
    {"part-skipped", "of two parts of a merge one is decided", 60, "lone-split"},
    {"resends-merged", "a frame that both sides took creates its tasks twice", 40, "lone-pause"},
    {"once-merged-to-run", "what ran there and may run at most once is to run again", 40,
     "lone-split", "once"},
    {"decided-ticks-run", "a tick that both sides fired runs twice", 20, "lone-split", "scheduled"},
    {"merged-ticks-forgotten", "a tick is fired again that the other side fired", 120, "lone-chaos",
     "scheduled"},
};

}  // namespace

std::span<const PlantedBug> AllPlantedBugs() { return kBugs; }

const PlantedBug* FindPlantedBug(std::string_view name) {
  for (const PlantedBug& bug : kBugs)
    if (bug.name == name) return &bug;
  return nullptr;
}

}  // namespace zsched::sim
