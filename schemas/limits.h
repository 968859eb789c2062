// Every bound and default that more than one process relies on: the one home of each number, with
// its reason. Owned by schemas; pure. A limit is inclusive: a value equal to it is accepted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zsched {

// --- Frames
// One ZeroMQ message part (ZMQ_MAXMSGSIZE on every socket). Room for a payload of the largest size
// plus a batch's worth of small ones; small enough that a hostile peer cannot pin much memory.
inline constexpr size_t kMaxFrameBytes = 4 << 20;
// A sender closes a batch once its bodies pass this, so that a frame stays well under the limit
// above.
inline constexpr size_t kBatchTargetBytes = 1 << 20;
// FlatBuffers nesting, in tables: our deepest message is SCHEDULE_INFOS, with a schedule, its task, a
// chain of kMaxChainDepth behind it and a label: 7.
inline constexpr int kMaxTableDepth = 8;

// --- Tasks
inline constexpr size_t kMaxPayloadBytes = 1 << 20;
inline constexpr size_t kMaxResultBytes = 1 << 20;
inline constexpr size_t kMaxNameBytes = 128;  // queue, type, worker name, host, version
inline constexpr size_t kMaxContentTypeBytes = 128;
inline constexpr size_t kMaxErrorMessageBytes = 4096;  // a longer message is cut, never refused
// Ended attempts of a task that its history keeps: the first, which tells how it began, and the
// last ones.
inline constexpr uint32_t kKeptAttempts = 16;
inline constexpr size_t kMaxHistoryMessageBytes = 512;  // of a message in the history: cut
inline constexpr size_t kMaxLabels = 16;
inline constexpr size_t kMaxLabelKeyBytes = 64;
inline constexpr size_t kMaxLabelValueBytes = 256;
inline constexpr size_t kMaxKeyBytes = 128;  // of an idempotency, concurrency or fairness key
inline constexpr size_t kMaxCorrelationIdBytes = 128;
inline constexpr size_t kTraceparentBytes = 55;  // W3C trace context, version 00
inline constexpr int kPriorities = 10;           // 0..9, 9 first
inline constexpr int kDefaultPriority = 5;
inline constexpr int kDefaultMaxAttempts = 25;
inline constexpr int kMaxMaxAttempts = 10'000;
inline constexpr uint32_t kDefaultTimeoutMs = 30 * 60 * 1000;                   // one attempt
inline constexpr uint32_t kMaxTimeoutMs = 7 * 24 * 3600 * 1000;                 // 7 days
inline constexpr uint64_t kMaxDelayMs = uint64_t{10} * 366 * 24 * 3600 * 1000;  // 10 years
inline constexpr uint32_t kDefaultRetryBaseMs =
    1000;  // delay before attempt n+1: base * 2^(n-1), jittered
inline constexpr uint32_t kDefaultRetryCapMs = 10 * 60 * 1000;
inline constexpr uint32_t kMaxRetryCapMs = 24 * 3600 * 1000;
inline constexpr int kCrashLimit =
    5;  // attempts lost with their worker or by timeout before the task is dead

// --- Chains: the tasks that follow a task, as templates in its TaskSpec
// In all branches and depths of one task. All of them may come into being at once, with one record.
inline constexpr size_t kMaxTemplates = 16;
// A template has templates has templates: what is longer is a program, and better written as one.
inline constexpr int kMaxChainDepth = 3;
// Payloads of one task's templates together: as much as the task itself may have.
inline constexpr size_t kMaxTemplateBytes = kMaxPayloadBytes;

// --- Queues
inline constexpr uint64_t kMaxQueueRateMicro =
    1'000'000'000'000;  // a million attempts a second: no limit in effect
inline constexpr uint32_t kMaxQueueBurst = 1'000'000;
inline constexpr uint32_t kMaxQueueRunning = 1'000'000'000;
inline constexpr uint8_t kMaxQueueWeight = 100;
inline constexpr uint32_t kMaxAgeingMs = 24 * 3600 * 1000;
inline constexpr size_t kMaxQueueListLimit =
    1000;  // queues in one QUEUE_INFOS, types in one TYPE_INFOS

// --- Time schedules
inline constexpr uint64_t kDefaultCatchUpMs = 3600 * 1000;
// Less would take the lateness of a busy broker for downtime.
inline constexpr uint64_t kMinCatchUpMs = 10 * 1000;
inline constexpr uint64_t kMaxCatchUpMs = uint64_t{366} * 24 * 3600 * 1000;
inline constexpr uint32_t kMaxJitterMs = 3600 * 1000;
// Ticks of one schedule that wait for its task: more will not be worked off by waiting.
inline constexpr uint32_t kMaxHeldTicks = 1000;
inline constexpr size_t kMaxBackfillTicks = 1000;      // one SCHEDULE_RUN is one record
inline constexpr size_t kMaxScheduleListLimit = 1000;  // schedules in one SCHEDULE_INFOS
// What the broker adds to the labels of a tick's task.
inline constexpr char kScheduleLabel[] = "schedule";
inline constexpr char kTickLabel[] = "tick";

// --- Submitting
inline constexpr size_t kMaxSubmitTasks = 4096;  // tasks in one SUBMIT frame
// Body of a SUBMIT frame, unless it has a single task. A frame is one commit's at least, and others wait
// for that; larger ones are not faster.
inline constexpr size_t kMaxSubmitBytes = 256 << 10;
inline constexpr size_t kMaxOutstandingSubmits =
    64;  // SUBMIT frames of one client without an ack; the dedupe window
inline constexpr uint32_t kSubmitWindowTasks = 65'536;  // unacknowledged tasks of one client
inline constexpr uint64_t kSubmitWindowBytes = 16 << 20;

// --- Queries
inline constexpr size_t kMaxQueryIds =
    1024;  // ids in one GET, WAIT, RETRY, CANCEL_TASKS or DEAD_DELETE
inline constexpr size_t kMaxListLimit = 1000;
inline constexpr size_t kDefaultListLimit = 100;
// Rows that one LIST may look at before it answers with what it has and a cursor: bounds a read
// transaction.
inline constexpr size_t kMaxListScan = 50'000;
// Groups in one DEAD_LETTERS, and what they show of a message: half a frame's target.
inline constexpr size_t kMaxDeadGroups = 1000;
inline constexpr size_t kMaxDeadSampleBytes = 512;
// Events in one EVENT_PAGE: with all texts as long as they may be, about a frame's target.
inline constexpr size_t kMaxEventLimit = 1000;
inline constexpr size_t kDefaultEventLimit = 100;
// Events that one EVENTS may look at, and bytes of records, before it answers with what it has: some
// ten milliseconds of the query thread, also when a filter takes none of them.
inline constexpr size_t kMaxEventScan = 20'000;
inline constexpr size_t kMaxEventScanBytes = 8 << 20;
inline constexpr size_t kMaxEventMessageBytes = 256;  // of an error in an event: cut

// --- Workers
inline constexpr uint32_t kMaxCreditTasks =
    16'384;  // one worker's grant; also bounds its HELLO's lease list
inline constexpr uint64_t kMaxCreditBytes = 64 << 20;
inline constexpr size_t kMaxAssignTasks = 1024;  // tasks in one TASKS frame
inline constexpr size_t kMaxResultTasks = 4096;  // entries in one RESULTS frame
inline constexpr size_t kMaxWorkerQueues = 256;
inline constexpr size_t kMaxWorkerTypes = 256;
inline constexpr size_t kMaxStartedReports = 256;  // leases in one heartbeat

// --- What running attempts say
inline constexpr size_t kMaxProgressMessageBytes = 256;  // a longer one is cut
inline constexpr size_t kMaxCheckpointBytes = 64
                                              << 10;  // more belongs elsewhere, and its name here
inline constexpr size_t kMaxProgressReports = 1024;   // attempts in one PROGRESS frame
// Output of an attempt is kept in pages, the last ones: what a person reads of an attempt that went
// wrong, at a size that a million tasks may have.
inline constexpr size_t kOutputPageBytes = 1 << 10;
inline constexpr size_t kOutputPages = 64;
inline constexpr size_t kMaxOutputFramePages = 1024;  // in one OUTPUT frame

// --- Liveness
inline constexpr uint32_t kHeartbeatMs = 1000;  // client and worker to broker
inline constexpr uint32_t kVisibilityTimeoutMs =
    6000;  // a worker silent for longer loses its leases
inline constexpr uint32_t kClientTimeoutMs =
    15'000;  // a client silent for longer loses its session
inline constexpr uint32_t kHelloTimeoutMs =
    2000;  // no answer to DISCOVER or HELLO: try the next broker
inline constexpr uint32_t kReconnectMinMs = 50;
inline constexpr uint32_t kReconnectMaxMs = 5000;
// A broker whose worker did not end an attempt this long after its timeout ends the lease itself.
inline constexpr uint32_t kTimeoutGraceMs = 10'000;

// --- Addresses
inline constexpr int kDefaultPort = 5570;
inline constexpr char kDefaultHost[] = "127.0.0.1";
inline constexpr int kWorkerPortOffset = 1;
inline constexpr int kPeerPortOffset = 2;
inline constexpr size_t kMaxBrokers = 8;  // in one --brokers list

inline constexpr char kDefaultQueue[] = "default";

}  // namespace zsched
