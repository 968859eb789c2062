"""How the messages of schemas/wire.fbs lie in a FlatBuffer: their fields in the order of the schema.

Written by client/python/tools/generate.py; a test compares.
"""
from zsched._wire import schema as wire
from zsched._wire.layout import (BOOL, BYTES, I64, STRING, STRINGS, STRUCT, STRUCTS, STRUCTS_OF, TABLE, TABLES, TABLES_OF,
                                 U8, U16, U32, U64, U64S, Field, define_struct, define_table)

__all__ = ["STRUCTS_OF", "TABLES_OF"]

define_struct(wire.DeadLetter, "<QQ", 8)
define_struct(wire.Done, "<QQIxxxx", 8)
define_struct(wire.LeaseRef, "<QQIxxxx", 8)
define_struct(wire.OutputRun, "<HBB", 2)
define_struct(wire.Uuid, "<QQ", 8)
define_table(wire.Assignment, (Field("task_id", U64, 0), Field("lease_id", U64, 0), Field("attempt", U16, 0),
    Field("max_attempts", U16, 0), Field("timeout_ms", U32, 0), Field("priority", U8, 0), Field("type", STRING, None),
    Field("queue", STRING, None), Field("payload", BYTES, None), Field("content_type", STRING, None),
    Field("submitted_at_ms", I64, 0), Field("labels", TABLES, (), wire.Label), Field("correlation_id", STRING, None),
    Field("traceparent", STRING, None), Field("checkpoint", BYTES, None), Field("parent", TABLE, None, wire.Parent),
    Field("start_within_ms", U64, 0),))
define_table(wire.AttemptInfo, (Field("attempt", U16, 0), Field("lease", U64, 0), Field("worker", STRING, None),
    Field("leased_at_ms", I64, 0), Field("ended_at_ms", I64, 0), Field("run_us", U32, 0), Field("end", U8, 0),
    Field("error_code", U16, 0), Field("error_message", STRING, None),))
define_table(wire.AttemptReport, (Field("task_id", U64, 0), Field("lease_id", U64, 0), Field("percent", U8, None),
    Field("message", STRING, None), Field("checkpoint", BYTES, None),))
define_table(wire.BrokerInfo, (Field("node", STRING, None), Field("role", U8, 0), Field("address", STRING, None),
    Field("worker_address", STRING, None), Field("self", BOOL, False),))
define_table(wire.Cancel, (Field("leases", U64S, (), required=True), Field("code", U16, 0),))
define_table(wire.CancelTasks, (Field("request", U64, 0), Field("ids", U64S, (), required=True),))
define_table(wire.Chain, (Field("on_success", TABLES, (), wire.TaskSpec),
    Field("on_failure", TABLES, (), wire.TaskSpec), Field("on_complete", TABLES, (), wire.TaskSpec),))
define_table(wire.ClusterCommand, (Field("request", U64, 0), Field("action", U8, 0), Field("force", BOOL, False),
    Field("epoch", U64, 0),))
define_table(wire.Counter, (Field("name", STRING, None), Field("value", U64, 0),))
define_table(wire.Credit, (Field("tasks", U32, 0), Field("bytes", U64, 0),))
define_table(wire.DeadDelete, (Field("request", U64, 0), Field("ids", U64S, (), required=True),
    Field("letters", U64S, ()),))
define_table(wire.DeadGroup, (Field("fingerprint", U64, 0), Field("type", STRING, None), Field("error_code", U16, 0),
    Field("error_message", STRING, None), Field("letters", U64, 0), Field("first_died_ms", I64, 0),
    Field("last_died_ms", I64, 0), Field("last_task", U64, 0),))
define_table(wire.DeadLetters, (Field("request", U64, 0), Field("tasks", TABLES, (), wire.TaskInfo),
    Field("letters", STRUCTS, (), wire.DeadLetter), Field("groups", TABLES, (), wire.DeadGroup),
    Field("next_cursor", U64, 0), Field("next_letter", U64, 0),))
define_table(wire.DeadList, (Field("request", U64, 0), Field("view", U8, 0), Field("queue", STRING, None),
    Field("type", STRING, None), Field("error", STRING, None), Field("fingerprint", U64, 0),
    Field("older_than_ms", U64, 0), Field("before", U64, 0), Field("limit", U32, 0), Field("cursor", U64, 0),
    Field("omit_bodies", BOOL, False),))
define_table(wire.Discover, ())
define_table(wire.Drain, ())
define_table(wire.Error, (Field("code", U16, 0), Field("message", STRING, None), Field("retry_after_ms", U32, 0),
    Field("request", U64, 0),))
define_table(wire.Event, (Field("lsn", U64, 0), Field("index_", U32, 0), Field("at_ms", I64, 0), Field("kind", U8, 0),
    Field("task", U64, 0), Field("queue", STRING, None), Field("type", STRING, None), Field("state", U8, 0),
    Field("attempt", U16, 0), Field("worker", STRING, None), Field("name", STRING, None), Field("error_code", U16, 0),
    Field("error_message", STRING, None), Field("percent", U8, 0), Field("message", STRING, None),
    Field("count_", U64, 0), Field("parent", U64, 0),))
define_table(wire.EventPage, (Field("request", U64, 0), Field("events", TABLES, (), wire.Event), Field("next", U64, 0),
    Field("next_skip", U32, 0), Field("last", U64, 0), Field("trimmed", BOOL, False),))
define_table(wire.Events, (Field("request", U64, 0), Field("after", U64, 0), Field("skip", U32, 0),
    Field("limit", U32, 0), Field("kinds", U32, 0), Field("queue", STRING, None), Field("type", STRING, None),
    Field("task", U64, 0),))
define_table(wire.Explain, (Field("request", U64, 0), Field("id", U64, 0),))
define_table(wire.Explanation, (Field("request", U64, 0), Field("id", U64, 0), Field("found", BOOL, False),
    Field("state", U8, 0), Field("causes", TABLES, (), wire.WaitCause), Field("ahead", U64, 0),
    Field("ahead_exact", BOOL, False), Field("ready", U64, 0),))
define_table(wire.Get, (Field("request", U64, 0), Field("ids", U64S, (), required=True),))
define_table(wire.Heartbeat, (Field("started", STRUCTS, (), wire.LeaseRef), Field("running", U32, 0),
    Field("queued", U32, 0),))
define_table(wire.HeartbeatAck, (Field("resync", BOOL, False),))
define_table(wire.Hello, (Field("id", STRUCT, None, wire.Uuid), Field("name", STRING, None),
    Field("version", STRING, None), Field("observe", BOOL, False),))
define_table(wire.Histogram, (Field("name", STRING, None), Field("bounds_us", U64S, ()), Field("counts", U64S, ()),
    Field("sum_us", U64, 0),))
define_table(wire.History, (Field("request", U64, 0), Field("id", U64, 0),))
define_table(wire.HistoryInfo, (Field("request", U64, 0), Field("id", U64, 0), Field("found", BOOL, False),
    Field("attempts", TABLES, (), wire.AttemptInfo), Field("missing", U32, 0),))
define_table(wire.ItemReply, (Field("request", U64, 0), Field("items", TABLES, (), wire.ItemResult),))
define_table(wire.ItemResult, (Field("id", U64, 0), Field("code", U16, 0), Field("message", STRING, None),))
define_table(wire.Label, (Field("key", STRING, "", required=True), Field("value", STRING, "", required=True),))
define_table(wire.List, (Field("request", U64, 0), Field("queue", STRING, None), Field("type", STRING, None),
    Field("states", U32, 0), Field("label", TABLE, None, wire.Label), Field("limit", U32, 0), Field("cursor", U64, 0),
    Field("brief", BOOL, False), Field("descending", BOOL, False), Field("omit_bodies", BOOL, False),))
define_table(wire.LogPage, (Field("offset", U64, 0), Field("runs", STRUCTS, (), wire.OutputRun),
    Field("bytes", BYTES, None),))
define_table(wire.LogPages, (Field("request", U64, 0), Field("id", U64, 0), Field("found", BOOL, False),
    Field("attempt", U16, 0), Field("running", BOOL, False), Field("last_attempt", U16, 0),
    Field("finished", BOOL, False), Field("pages", TABLES, (), wire.LogPage),))
define_table(wire.Logs, (Field("request", U64, 0), Field("id", U64, 0), Field("attempt", U16, 0),
    Field("from_", U64, 0),))
define_table(wire.MergeReport, (Field("epoch", U64, 0), Field("begun_ms", I64, 0), Field("decided_ms", I64, 0),
    Field("done", BOOL, False), Field("taken", U64, 0), Field("finished", U64, 0), Field("ended", U64, 0),
    Field("resent", U64, 0), Field("voided", U64, 0), Field("schedules", U64, 0),))
define_table(wire.Outcome, (Field("id", U64, 0), Field("state", U8, 0), Field("attempt", U16, 0),
    Field("result", BYTES, None), Field("content_type", STRING, None), Field("error_code", U16, 0),
    Field("error_message", STRING, None),))
define_table(wire.Outcomes, (Field("request", U64, 0), Field("succeeded", U64S, ()),
    Field("outcomes", TABLES, (), wire.Outcome),))
define_table(wire.Output, (Field("pages", TABLES, (), wire.OutputPage, required=True),))
define_table(wire.OutputPage, (Field("task_id", U64, 0), Field("lease_id", U64, 0), Field("offset", U64, 0),
    Field("runs", STRUCTS, (), wire.OutputRun), Field("bytes", BYTES, None),))
define_table(wire.Parent, (Field("id", U64, 0), Field("state", U8, 0), Field("passed", BOOL, False),
    Field("result", BYTES, None), Field("content_type", STRING, None), Field("error_code", U16, 0),
    Field("error_message", STRING, None),))
define_table(wire.Progress, (Field("reports", TABLES, (), wire.AttemptReport, required=True),))
define_table(wire.ProgressInfo, (Field("percent", U8, 0), Field("message", STRING, None), Field("attempt", U16, 0),
    Field("at_ms", I64, 0),))
define_table(wire.QueueInfo, (Field("name", STRING, None), Field("counts", U64S, ()), Field("bytes", U64, 0),
    Field("gate", U8, 0), Field("paused", BOOL, False), Field("max_tasks", U64, 0), Field("max_bytes", U64, 0),
    Field("max_running", U32, 0), Field("rate_micro", U64, 0), Field("burst", U32, 0), Field("weight", U8, 0),
    Field("max_attempts", U16, 0), Field("timeout_ms", U32, 0), Field("retry_base_ms", U32, 0),
    Field("retry_cap_ms", U32, 0), Field("key_max_running", U32, 0), Field("key_rate_micro", U64, 0),
    Field("key_burst", U32, 0), Field("ageing_ms", U32, 0), Field("draining", BOOL, False),
    Field("oldest_ready_ms", U64, 0),))
define_table(wire.QueueInfos, (Field("request", U64, 0), Field("queues", TABLES, (), wire.QueueInfo),
    Field("complete", BOOL, False),))
define_table(wire.QueueList, (Field("request", U64, 0), Field("queue", STRING, None), Field("cursor", STRING, None),
    Field("limit", U32, 0),))
define_table(wire.QueueSet, (Field("request", U64, 0), Field("queue", STRING, "", required=True),
    Field("paused", BOOL, None), Field("max_tasks", U64, None), Field("max_bytes", U64, None),
    Field("max_running", U32, None), Field("rate_micro", U64, None), Field("burst", U32, None),
    Field("weight", U8, None), Field("max_attempts", U16, None), Field("timeout_ms", U32, None),
    Field("retry_base_ms", U32, None), Field("retry_cap_ms", U32, None), Field("key_max_running", U32, None),
    Field("key_rate_micro", U64, None), Field("key_burst", U32, None), Field("ageing_ms", U32, None),
    Field("draining", BOOL, None),))
define_table(wire.QueueStatus, (Field("name", STRING, None), Field("counts", U64S, ()), Field("bytes", U64, 0),
    Field("oldest_ready_ms", U64, 0),))
define_table(wire.Recall, (Field("leases", U64S, (), required=True),))
define_table(wire.Rejected, (Field("index_", U32, 0), Field("code", U16, 0), Field("message", STRING, None),
    Field("retry_after_ms", U32, 0), Field("existing", U64, 0),))
define_table(wire.Release, (Field("leases", STRUCTS, (), wire.LeaseRef, required=True),))
define_table(wire.Result, (Field("task_id", U64, 0), Field("lease_id", U64, 0), Field("run_us", U32, 0),
    Field("succeeded", BOOL, False), Field("result", BYTES, None), Field("content_type", STRING, None),
    Field("error_code", U16, 0), Field("error_message", STRING, None), Field("advice", U8, 0),
    Field("retry_after_ms", U64, 0),))
define_table(wire.ResultAck, (Field("seq", U64, 0), Field("stale", U64S, ()),))
define_table(wire.Results, (Field("seq", U64, 0), Field("done", STRUCTS, (), wire.Done),
    Field("results", TABLES, (), wire.Result),))
define_table(wire.Retry, (Field("request", U64, 0), Field("ids", U64S, (), required=True), Field("letters", U64S, ()),))
define_table(wire.ScheduleInfo, (Field("name", STRING, None), Field("expression", STRING, None),
    Field("zone", STRING, None), Field("task", TABLE, None, wire.TaskSpec), Field("overlap", U8, 0),
    Field("catch_up_ms", U64, 0), Field("jitter_ms", U32, 0), Field("paused", BOOL, False), Field("created_ms", I64, 0),
    Field("cursor_ms", I64, 0), Field("next_ms", I64, 0), Field("last_task", U64, 0), Field("running", BOOL, False),
    Field("held", U32, 0), Field("fired", U64, 0), Field("skipped", U64, 0), Field("missed", U64, 0),
    Field("error", STRING, None),))
define_table(wire.ScheduleInfos, (Field("request", U64, 0), Field("schedules", TABLES, (), wire.ScheduleInfo),
    Field("complete", BOOL, False),))
define_table(wire.ScheduleList, (Field("request", U64, 0), Field("name", STRING, None), Field("cursor", STRING, None),
    Field("limit", U32, 0),))
define_table(wire.SchedulePause, (Field("request", U64, 0), Field("name", STRING, "", required=True),
    Field("paused", BOOL, False),))
define_table(wire.ScheduleRemove, (Field("request", U64, 0), Field("name", STRING, "", required=True),))
define_table(wire.ScheduleRun, (Field("request", U64, 0), Field("name", STRING, "", required=True),
    Field("from_ms", I64, 0), Field("to_ms", I64, 0),))
define_table(wire.ScheduleSet, (Field("request", U64, 0), Field("name", STRING, "", required=True),
    Field("expression", STRING, "", required=True), Field("zone", STRING, None),
    Field("task", TABLE, None, wire.TaskSpec, required=True), Field("overlap", U8, 0), Field("catch_up_ms", U64, None),
    Field("jitter_ms", U32, 0), Field("paused", BOOL, None), Field("replace", BOOL, False),))
define_table(wire.Status, (Field("request", U64, 0),))
define_table(wire.StatusReply, (Field("request", U64, 0), Field("node", STRING, None), Field("role", U8, 0),
    Field("epoch", U64, 0), Field("lsn", U64, 0), Field("durable_lsn", U64, 0), Field("uptime_ms", U64, 0),
    Field("version", STRING, None), Field("cluster", STRUCT, None, wire.Uuid),
    Field("brokers", TABLES, (), wire.BrokerInfo), Field("queues", TABLES, (), wire.QueueStatus),
    Field("workers", U32, 0), Field("clients", U32, 0), Field("counters", TABLES, (), wire.Counter),
    Field("merges", TABLES, (), wire.MergeReport), Field("gauges", TABLES, (), wire.Counter),
    Field("histograms", TABLES, (), wire.Histogram),))
define_table(wire.Submit, (Field("seq", U64, 0), Field("acked_below", U64, 0), Field("notify", BOOL, False),
    Field("tasks", TABLES, (), wire.TaskSpec, required=True),))
define_table(wire.SubmitAck, (Field("seq", U64, 0), Field("first_id", U64, 0), Field("accepted", U32, 0),
    Field("durability", U8, 0), Field("duplicate", BOOL, False), Field("rejected", TABLES, (), wire.Rejected),
    Field("window_tasks", U32, 0), Field("window_bytes", U64, 0),))
define_table(wire.TaskInfo, (Field("id", U64, 0), Field("queue", STRING, None), Field("type", STRING, None),
    Field("state", U8, 0), Field("priority", U8, 0), Field("attempt", U16, 0), Field("max_attempts", U16, 0),
    Field("timeout_ms", U32, 0), Field("submitted_at_ms", I64, 0), Field("run_at_ms", I64, 0),
    Field("started_at_ms", I64, 0), Field("finished_at_ms", I64, 0), Field("worker", STRING, None),
    Field("payload", BYTES, None), Field("content_type", STRING, None), Field("result", BYTES, None),
    Field("result_content_type", STRING, None), Field("error_code", U16, 0), Field("error_message", STRING, None),
    Field("labels", TABLES, (), wire.Label), Field("durability", U8, 0), Field("cancelling", BOOL, False),
    Field("key", STRING, None), Field("concurrency_key", STRING, None), Field("fairness_key", STRING, None),
    Field("correlation_id", STRING, None), Field("traceparent", STRING, None), Field("delivery", U8, 0),
    Field("fingerprint", U64, 0), Field("progress", TABLE, None, wire.ProgressInfo), Field("parent", U64, 0),
    Field("start_by_ms", I64, 0),))
define_table(wire.TaskInfos, (Field("request", U64, 0), Field("tasks", TABLES, (), wire.TaskInfo),
    Field("missing", U64S, ()), Field("answered", U32, 0), Field("next_cursor", U64, 0),))
define_table(wire.TaskSpec, (Field("type", STRING, "", required=True), Field("queue", STRING, None),
    Field("payload", BYTES, None), Field("content_type", STRING, None), Field("priority", U8, 5),
    Field("durability", U8, 2), Field("max_attempts", U16, 0), Field("timeout_ms", U32, 0), Field("delay_ms", U64, 0),
    Field("run_at_ms", I64, 0), Field("retry_base_ms", U32, 0), Field("retry_cap_ms", U32, 0),
    Field("labels", TABLES, (), wire.Label), Field("key", STRING, None), Field("concurrency_key", STRING, None),
    Field("fairness_key", STRING, None), Field("correlation_id", STRING, None), Field("traceparent", STRING, None),
    Field("delivery", U8, 0), Field("on_success", TABLES, (), wire.TaskSpec),
    Field("on_failure", TABLES, (), wire.TaskSpec), Field("on_complete", TABLES, (), wire.TaskSpec),
    Field("pass_result", BOOL, False), Field("start_within_ms", U64, 0), Field("start_by_ms", I64, 0),))
define_table(wire.Tasks, (Field("tasks", TABLES, (), wire.Assignment, required=True),))
define_table(wire.TypeInfo, (Field("name", STRING, None), Field("running", U64, 0), Field("gate", U8, 0),
    Field("paused", BOOL, False), Field("max_running", U32, 0), Field("rate_micro", U64, 0), Field("burst", U32, 0),
    Field("no_retry", U64, 0),))
define_table(wire.TypeInfos, (Field("request", U64, 0), Field("types", TABLES, (), wire.TypeInfo),
    Field("complete", BOOL, False),))
define_table(wire.TypeList, (Field("request", U64, 0), Field("type", STRING, None), Field("cursor", STRING, None),
    Field("limit", U32, 0),))
define_table(wire.TypeSet, (Field("request", U64, 0), Field("type", STRING, "", required=True),
    Field("paused", BOOL, None), Field("max_running", U32, None), Field("rate_micro", U64, None),
    Field("burst", U32, None), Field("no_retry", U64, None),))
define_table(wire.View, (Field("cluster", STRUCT, None, wire.Uuid), Field("epoch", U64, 0),
    Field("brokers", TABLES, (), wire.BrokerInfo),))
define_table(wire.Wait, (Field("request", U64, 0), Field("ids", U64S, (), required=True),))
define_table(wire.WaitCause, (Field("reason", U8, 0), Field("name", STRING, None), Field("since_ms", I64, 0),
    Field("until_ms", I64, 0), Field("count_", U64, 0), Field("limit", U64, 0),))
define_table(wire.Welcome, (Field("session", U64, 0), Field("epoch", U64, 0), Field("heartbeat_ms", U32, 0),
    Field("timeout_ms", U32, 0), Field("window_tasks", U32, 0), Field("window_bytes", U64, 0),
    Field("max_payload_bytes", U32, 0), Field("brokers", TABLES, (), wire.BrokerInfo),))
define_table(wire.WorkerDrain, (Field("request", U64, 0), Field("worker", STRING, "", required=True),))
define_table(wire.WorkerHello, (Field("id", STRUCT, None, wire.Uuid), Field("name", STRING, None),
    Field("host", STRING, None), Field("version", STRING, None), Field("pid", U32, 0), Field("queues", STRINGS, ()),
    Field("types", STRINGS, ()), Field("labels", TABLES, (), wire.Label), Field("concurrency", U32, 0),
    Field("draining", BOOL, False), Field("held", STRUCTS, (), wire.LeaseRef), Field("number", U32, 0),))
define_table(wire.WorkerInfo, (Field("id", STRUCT, None, wire.Uuid), Field("name", STRING, None),
    Field("host", STRING, None), Field("version", STRING, None), Field("pid", U32, 0), Field("queues", STRINGS, ()),
    Field("types", STRINGS, ()), Field("labels", TABLES, (), wire.Label), Field("concurrency", U32, 0),
    Field("credit_tasks", U32, 0), Field("outstanding", U32, 0), Field("running", U32, 0),
    Field("draining", BOOL, False), Field("silent_ms", U32, 0), Field("finished", U64, 0),))
define_table(wire.WorkerInfos, (Field("request", U64, 0), Field("workers", TABLES, (), wire.WorkerInfo),))
define_table(wire.WorkerList, (Field("request", U64, 0),))
define_table(wire.WorkerWelcome, (Field("session", U64, 0), Field("epoch", U64, 0), Field("heartbeat_ms", U32, 0),
    Field("visibility_timeout_ms", U32, 0), Field("stale", U64S, ()), Field("brokers", TABLES, (), wire.BrokerInfo),))
