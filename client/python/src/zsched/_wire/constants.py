"""The numbers that all processes share: codes of errors, types of messages, enumerations, limits.

Written by client/python/tools/generate.py from schemas/errors.h, frame.h, wire.fbs and limits.h, where each has
its reason; a test compares.
"""
import enum


class ErrorCode(enum.IntEnum):
    """Every code that a frame, an exception or a task can carry: docs/errors.md."""

    OK = 0
    INTERNAL = 1
    INVALID_ARGUMENT = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    PERMISSION_DENIED = 6
    RESOURCE_EXHAUSTED = 7
    TIMED_OUT = 8
    BAD_MAGIC = 16
    UNSUPPORTED_VERSION = 17
    TRUNCATED = 18
    BAD_CHECKSUM = 19
    MALFORMED = 20
    UNKNOWN_MESSAGE = 21
    TOO_LARGE = 22
    NO_SESSION = 23
    NOT_ACTIVE = 24
    STALE = 25
    HANDLER_FAILED = 32
    UNKNOWN_TYPE = 33
    ATTEMPT_TIMED_OUT = 34
    WORKER_LOST = 35
    PROCESS_FAILED = 36
    CANCELLED = 37
    EXPIRED = 38
    DATA_LOSS = 48


# The same request may succeed later.
RETRYABLE = frozenset((
    ErrorCode.UNAVAILABLE,
    ErrorCode.RESOURCE_EXHAUSTED,
    ErrorCode.TIMED_OUT,
    ErrorCode.BAD_CHECKSUM,
    ErrorCode.NO_SESSION,
    ErrorCode.NOT_ACTIVE,
    ErrorCode.HANDLER_FAILED,
    ErrorCode.UNKNOWN_TYPE,
    ErrorCode.ATTEMPT_TIMED_OUT,
    ErrorCode.WORKER_LOST,
    ErrorCode.PROCESS_FAILED,
))
# What an attempt at a task can end with, and a type's rule may name.
ATTEMPT_ERRORS = frozenset((
    ErrorCode.INTERNAL,
    ErrorCode.INVALID_ARGUMENT,
    ErrorCode.NOT_FOUND,
    ErrorCode.CONFLICT,
    ErrorCode.UNAVAILABLE,
    ErrorCode.PERMISSION_DENIED,
    ErrorCode.RESOURCE_EXHAUSTED,
    ErrorCode.TIMED_OUT,
    ErrorCode.TOO_LARGE,
    ErrorCode.HANDLER_FAILED,
    ErrorCode.UNKNOWN_TYPE,
    ErrorCode.ATTEMPT_TIMED_OUT,
    ErrorCode.WORKER_LOST,
    ErrorCode.PROCESS_FAILED,
    ErrorCode.DATA_LOSS,
))


class MessageType(enum.IntEnum):
    """What a frame is: docs/protocol.md, section 3."""

    DISCOVER = 1
    VIEW = 2
    HELLO = 3
    WELCOME = 4
    HEARTBEAT = 5
    HEARTBEAT_ACK = 6
    ERROR = 7
    GOODBYE = 8
    SUBMIT = 16
    SUBMIT_ACK = 17
    WAIT = 18
    OUTCOMES = 19
    GET = 20
    LIST = 21
    TASK_INFOS = 22
    RETRY = 23
    ITEM_REPLY = 24
    STATUS = 25
    STATUS_REPLY = 26
    WORKER_LIST = 27
    WORKER_INFOS = 28
    WORKER_DRAIN = 29
    CANCEL_TASKS = 30
    QUEUE_SET = 31
    QUEUE_LIST = 32
    QUEUE_INFOS = 33
    DEAD_LIST = 38
    DEAD_LETTERS = 39
    DEAD_DELETE = 40
    SCHEDULE_SET = 42
    SCHEDULE_PAUSE = 43
    SCHEDULE_RUN = 44
    SCHEDULE_REMOVE = 45
    SCHEDULE_LIST = 46
    SCHEDULE_INFOS = 47
    TYPE_SET = 56
    TYPE_LIST = 57
    TYPE_INFOS = 58
    EXPLAIN = 34
    EXPLANATION = 35
    HISTORY = 36
    HISTORY_INFO = 37
    LOGS = 48
    LOG_PAGES = 49
    CLUSTER_COMMAND = 50
    EVENTS = 51
    EVENT_PAGE = 52
    WORKER_HELLO = 64
    WORKER_WELCOME = 65
    CREDIT = 66
    TASKS = 67
    RESULTS = 68
    RESULT_ACK = 69
    RELEASE = 70
    DRAIN = 71
    CANCEL = 72
    PROGRESS = 73
    OUTPUT = 74
    RECALL = 75


# What a client may send that only observes.
OBSERVERS = frozenset((
    MessageType.HEARTBEAT,
    MessageType.GOODBYE,
    MessageType.GET,
    MessageType.LIST,
    MessageType.STATUS,
    MessageType.DEAD_LIST,
    MessageType.QUEUE_LIST,
    MessageType.TYPE_LIST,
    MessageType.SCHEDULE_LIST,
    MessageType.HISTORY,
    MessageType.LOGS,
    MessageType.EVENTS,
    MessageType.CLUSTER_COMMAND,
))


class AttemptEnd(enum.IntEnum):
    """AttemptEnd of schemas/wire.fbs."""

    RUNNING = 0
    SUCCEEDED = 1
    RETRIED = 2
    DEAD = 3
    RETURNED = 4
    CANCELLED = 5


class ClusterAction(enum.IntEnum):
    """ClusterAction of schemas/wire.fbs."""

    SWITCHOVER = 0
    PROMOTE = 1


class DeadView(enum.IntEnum):
    """DeadView of schemas/wire.fbs."""

    TASKS = 0
    LETTERS = 1
    GROUPS = 2


class Delivery(enum.IntEnum):
    """Delivery of schemas/wire.fbs."""

    AT_LEAST_ONCE = 0
    AT_MOST_ONCE = 1


class Durability(enum.IntEnum):
    """Durability of schemas/wire.fbs."""

    MEMORY = 0
    DISK = 1
    REPLICATED = 2


class EventKind(enum.IntEnum):
    """EventKind of schemas/wire.fbs."""

    SUBMITTED = 0
    READY = 1
    STARTED = 2
    SUCCEEDED = 3
    FAILED = 4
    DEAD = 5
    CANCELLED = 6
    CANCELLING = 7
    RETURNED = 8
    RETRIED = 9
    DELETED = 10
    PRUNED = 11
    PROGRESS = 12
    OUTPUT = 13
    QUEUE_SET = 14
    TYPE_SET = 15
    SCHEDULE_SET = 16
    SCHEDULE_REMOVED = 17
    TICKED = 18
    WORKER_SEEN = 19
    WORKER_GONE = 20
    EPOCH = 21
    MERGED = 22


class OutputStream(enum.IntEnum):
    """OutputStream of schemas/wire.fbs."""

    LOG = 0
    STDOUT = 1
    STDERR = 2


class Overlap(enum.IntEnum):
    """Overlap of schemas/wire.fbs."""

    SKIP = 0
    QUEUE_ONE = 1
    QUEUE_ALL = 2
    CANCEL_OLD = 3
    ALLOW = 4


class QueueGate(enum.IntEnum):
    """QueueGate of schemas/wire.fbs."""

    OPEN = 0
    PAUSED = 1
    FULL = 2
    DRY = 3


class RetryAdvice(enum.IntEnum):
    """RetryAdvice of schemas/wire.fbs."""

    DEFAULT = 0
    AFTER = 1
    NEVER = 2


class Role(enum.IntEnum):
    """Role of schemas/wire.fbs."""

    RECOVERING = 0
    CATCHUP = 1
    STANDBY = 2
    PROMOTING = 3
    ACTIVE_SYNC = 4
    ACTIVE_SOLO = 5
    FENCED = 6


class TaskState(enum.IntEnum):
    """TaskState of schemas/wire.fbs."""

    SCHEDULED = 0
    READY = 1
    LEASED = 2
    RETRY_WAIT = 3
    BLOCKED = 4
    SUCCEEDED = 5
    DEAD = 6
    CANCELLED = 7


class WaitReason(enum.IntEnum):
    """WaitReason of schemas/wire.fbs."""

    UNKNOWN = 0
    DELAY = 1
    RETRY_WAIT = 2
    RUNNING = 3
    AT_WORKER = 4
    CANCELLING = 5
    QUEUE_PAUSED = 6
    QUEUE_FULL = 7
    QUEUE_RATE = 8
    TYPE_PAUSED = 9
    TYPE_FULL = 10
    TYPE_RATE = 11
    KEY_FULL = 12
    KEY_RATE = 13
    NO_WORKER = 14
    NO_CREDIT = 15


MAX_FRAME_BYTES = 4 << 20
BATCH_TARGET_BYTES = 1 << 20
MAX_TABLE_DEPTH = 8
MAX_PAYLOAD_BYTES = 1 << 20
MAX_RESULT_BYTES = 1 << 20
MAX_NAME_BYTES = 128
MAX_CONTENT_TYPE_BYTES = 128
MAX_ERROR_MESSAGE_BYTES = 4096
KEPT_ATTEMPTS = 16
MAX_HISTORY_MESSAGE_BYTES = 512
MAX_LABELS = 16
MAX_LABEL_KEY_BYTES = 64
MAX_LABEL_VALUE_BYTES = 256
MAX_KEY_BYTES = 128
MAX_CORRELATION_ID_BYTES = 128
TRACEPARENT_BYTES = 55
PRIORITIES = 10
DEFAULT_PRIORITY = 5
DEFAULT_MAX_ATTEMPTS = 25
MAX_MAX_ATTEMPTS = 10000
DEFAULT_TIMEOUT_MS = 30 * 60 * 1000
MAX_TIMEOUT_MS = 7 * 24 * 3600 * 1000
MAX_DELAY_MS = 10 * 366 * 24 * 3600 * 1000
DEFAULT_RETRY_BASE_MS = 1000
DEFAULT_RETRY_CAP_MS = 10 * 60 * 1000
MAX_RETRY_CAP_MS = 24 * 3600 * 1000
CRASH_LIMIT = 5
MAX_TEMPLATES = 16
MAX_CHAIN_DEPTH = 3
MAX_TEMPLATE_BYTES = MAX_PAYLOAD_BYTES
MAX_QUEUE_RATE_MICRO = 1000000000000
MAX_QUEUE_BURST = 1000000
MAX_QUEUE_RUNNING = 1000000000
MAX_QUEUE_WEIGHT = 100
MAX_AGEING_MS = 24 * 3600 * 1000
MAX_QUEUE_LIST_LIMIT = 1000
DEFAULT_CATCH_UP_MS = 3600 * 1000
MIN_CATCH_UP_MS = 10 * 1000
MAX_CATCH_UP_MS = 366 * 24 * 3600 * 1000
MAX_JITTER_MS = 3600 * 1000
MAX_HELD_TICKS = 1000
MAX_BACKFILL_TICKS = 1000
MAX_SCHEDULE_LIST_LIMIT = 1000
SCHEDULE_LABEL = "schedule"
TICK_LABEL = "tick"
MAX_SUBMIT_TASKS = 4096
MAX_SUBMIT_BYTES = 256 << 10
MAX_OUTSTANDING_SUBMITS = 64
SUBMIT_WINDOW_TASKS = 65536
SUBMIT_WINDOW_BYTES = 16 << 20
MAX_QUERY_IDS = 1024
MAX_LIST_LIMIT = 1000
DEFAULT_LIST_LIMIT = 100
MAX_LIST_SCAN = 50000
MAX_DEAD_GROUPS = 1000
MAX_DEAD_SAMPLE_BYTES = 512
MAX_EVENT_LIMIT = 1000
DEFAULT_EVENT_LIMIT = 100
MAX_EVENT_SCAN = 20000
MAX_EVENT_SCAN_BYTES = 8 << 20
MAX_EVENT_MESSAGE_BYTES = 256
MAX_CREDIT_TASKS = 16384
MAX_CREDIT_BYTES = 64 << 20
MAX_ASSIGN_TASKS = 1024
MAX_RESULT_TASKS = 4096
MAX_WORKER_QUEUES = 256
MAX_WORKER_TYPES = 256
MAX_STARTED_REPORTS = 256
MAX_PROGRESS_MESSAGE_BYTES = 256
MAX_CHECKPOINT_BYTES = 64 << 10
MAX_PROGRESS_REPORTS = 1024
OUTPUT_PAGE_BYTES = 1 << 10
OUTPUT_PAGES = 64
MAX_OUTPUT_FRAME_PAGES = 1024
HEARTBEAT_MS = 1000
VISIBILITY_TIMEOUT_MS = 6000
CLIENT_TIMEOUT_MS = 15000
HELLO_TIMEOUT_MS = 2000
RECONNECT_MIN_MS = 50
RECONNECT_MAX_MS = 5000
TIMEOUT_GRACE_MS = 10000
DEFAULT_PORT = 5570
DEFAULT_HOST = "127.0.0.1"
WORKER_PORT_OFFSET = 1
PEER_PORT_OFFSET = 2
MAX_BROKERS = 8
DEFAULT_QUEUE = "default"
