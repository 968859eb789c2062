// zsched-bench: measures a cluster that it starts itself, or one that is there.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/config.h"
#include "base/text.h"
#include "bench/backlog.h"
#include "bench/failover.h"
#include "bench/latency.h"
#include "bench/limits.h"
#include "bench/report.h"
#include "bench/schedules.h"
#include "bench/throughput.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

struct Settings {
  std::string output = "table";
  std::string data_root = "/var/tmp";
  int repeat = 1;
  bool no_limit = false;
  ThroughputOptions throughput;
  std::vector<HostPort> brokers;
  LatencyOptions latency;
  BacklogOptions backlog;
  SchedulesOptions schedules;
  FailoverOptions failover;
};

int Fail(const absl::Status& status, bool json) {
  ErrorCode code = CodeOf(status);
  if (json) {
    Json error = {{"code", std::string(TextOf(code))},
                  {"message", MessageOf(status)},
                  {"retryable", IsRetryable(code)}};
    std::fprintf(stderr, "%s\n", Json{{"error", error}}.dump().c_str());
  } else {
    std::fprintf(stderr, "zsched-bench: %s\n", MessageOf(status).c_str());
  }
  return InfoOf(code).exit_code;
}

Json ToJson(const Percentiles& p) { return {{"p50", p.p50}, {"p99", p.p99}}; }

// null for what is not known.
Json ToJson(const std::optional<double>& figure) { return figure ? Json(*figure) : Json(); }

// Journal pages by table, for `per` tasks each.
Json ToJson(const std::vector<TableSize>& tables, uint64_t per) {
  Json json = Json::object();
  for (const TableSize& table : tables)
    json[table.name] = static_cast<double>(table.bytes) / static_cast<double>(per);
  return json;
}

Json ToJson(const std::vector<ThroughputSample>& samples) {
  Json json = Json::array();
  for (const ThroughputSample& sample : samples)
    json.push_back({{"tasks", sample.tasks},
                    {"seconds", sample.seconds},
                    {"tasks_per_second", sample.tasks_per_second},
                    {"disk_bytes", ToJson(sample.disk_bytes)}});
  return json;
}

absl::StatusOr<Json> Throughput(const Settings& settings) {
  ZS_ASSIGN_OR_RETURN(ThroughputResult result, RunThroughput(settings.throughput));
  OwnClusterFigures own = result.own.value_or(OwnClusterFigures());
  auto known = [&](double figure) { return result.own ? Json(figure) : Json(); };
  Json out = {{"tasks", result.tasks},
              {"seconds", result.seconds},
              {"submit_seconds", result.submit_seconds},
              {"tasks_per_second", result.tasks_per_second},
              {"tasks_per_frame", result.tasks_per_frame},
              {"cpu_seconds_per_100k", known(own.cpu_seconds_per_100k)},
              {"limit_tasks_per_second", ToJson(own.limit_tasks_per_second)},
              {"ratio_to_limit", nullptr},
              {"limit_cpu_seconds_per_100k", ToJson(own.limit_cpu_seconds_per_100k)}};
  if (own.limit_tasks_per_second)
    out["ratio_to_limit"] = result.tasks_per_second / *own.limit_tasks_per_second;
  if (result.own) {
    out["cpu_by_thread"] = own.cpu_by_thread;
    out["table_bytes_per_task"] = ToJson(own.tables, result.tasks);
  }
  out["samples"] = ToJson(result.samples);
  return out;
}

absl::StatusOr<Json> Latency(const Settings& settings) {
  ZS_ASSIGN_OR_RETURN(LatencyResult result, RunLatency(settings.latency));
  return Json{
      {"commit_ms", ToJson(result.commit_ms)},
      {"submit_ack_ms", ToJson(result.submit_ack_ms)},
      {"submit_result_ms", ToJson(result.submit_result_ms)},
      {"ack_commits_p50", result.submit_ack_ms.p50 / result.commit_ms.p50},
      {"result_commits_p50", result.submit_result_ms.p50 / result.commit_ms.p50},
      {"limit_ack_commits_p50", result.limit_ack_ms.p50 / result.limit_commit_ms.p50},
      {"limit_result_commits_p50", result.limit_result_ms.p50 / result.limit_commit_ms.p50}};
}

absl::StatusOr<Json> Backlog(const Settings& settings) {
  ZS_ASSIGN_OR_RETURN(BacklogResult result, RunBacklog(settings.backlog));
  return Json{{"tasks", settings.backlog.tasks},
              {"submits_per_second", result.submits_per_second},
              {"rss_bytes_per_task", result.rss_bytes_per_task},
              {"disk_bytes_per_task", result.disk_bytes_per_task},
              {"restart_seconds", result.restart_seconds},
              {"drain_per_second", result.drain_per_second},
              {"table_bytes_per_task", ToJson(result.tables, settings.backlog.tasks)}};
}

absl::StatusOr<Json> Schedules(const Settings& settings) {
  ZS_ASSIGN_OR_RETURN(SchedulesResult result, RunSchedules(settings.schedules));
  Json late = ToJson(result.late_ms);
  late["max"] = result.late_ms_max;
  return Json{{"schedules", settings.schedules.schedules},
              {"sets_per_second", result.sets_per_second},
              {"rss_bytes_per_schedule", result.rss_bytes_per_schedule},
              {"disk_bytes_per_schedule", result.disk_bytes_per_schedule},
              {"restart_seconds", result.restart_seconds},
              {"idle_cpu_percent", result.idle_cpu_percent},
              {"ticks_per_second", result.ticks_per_second},
              {"cpu_us_per_tick", result.cpu_us_per_tick},
              {"late_ms", late}};
}

absl::StatusOr<Json> Failover(const Settings& settings) {
  ZS_ASSIGN_OR_RETURN(FailoverResult result, RunFailover(settings.failover));
  Json unavailable = ToJson(result.unavailable_ms);
  unavailable["max"] = result.unavailable_ms_max;
  return Json{{"rounds", settings.failover.rounds},
              {"signal", settings.failover.term ? "TERM" : "KILL"},
              {"tasks", result.tasks},
              {"lost", result.lost},
              {"duplicated_results", result.duplicated_results},
              {"unavailable_ms", unavailable},
              {"active_back_seconds", result.active_back_seconds},
              {"standby_back_seconds", result.standby_back_seconds},
              {"active_memory_bytes", result.active_bytes},
              {"standby_memory_bytes", result.standby_bytes}};
}

absl::StatusOr<Json> Limits(const Settings& settings) {
  constexpr int kCommits = 500;
  constexpr uint64_t kPipelineTasks = 1'000'000, kSingleTasks = 200'000, kEchoes = 500'000;
  constexpr uint32_t kEchoBytes = 150;
  ZS_ASSIGN_OR_RETURN(CommitResult commit, MeasureCommit(settings.data_root, kCommits));
  ZS_ASSIGN_OR_RETURN(double echo, MeasureEcho(kEchoes, kEchoBytes));
  ZS_ASSIGN_OR_RETURN(PipelineResult full,
                      RunPipeline({.tasks = kPipelineTasks, .data_root = settings.data_root}));
  ZS_ASSIGN_OR_RETURN(
      PipelineResult single,
      RunPipeline({.tasks = kSingleTasks, .frame_tasks = 1, .data_root = settings.data_root}));
  return Json{{"commit_ms", {{"p50", commit.p50_ms}, {"p99", commit.p99_ms}}},
              {"echo_messages_per_second", echo},
              {"pipeline_tasks_per_second", full.tasks_per_second},
              {"pipeline_cpu_seconds_per_100k", full.cpu_seconds_per_100k},
              {"pipeline_single_tasks_per_second", single.tasks_per_second}};
}

// All runs of the command, one after another.
absl::StatusOr<Json> Repeat(const std::string& command, const Settings& settings) {
  std::vector<Json> runs;
  for (int i = 0; i < settings.repeat; ++i) {
    ZS_ASSIGN_OR_RETURN(Json run, command == "throughput"  ? Throughput(settings)
                                  : command == "latency"   ? Latency(settings)
                                  : command == "backlog"   ? Backlog(settings)
                                  : command == "schedules" ? Schedules(settings)
                                  : command == "failover"  ? Failover(settings)
                                                           : Limits(settings));
    runs.push_back(std::move(run));
  }
  return Summarise(runs);
}

void AddResting(Flags& command, RestingLoad& load) {
  command.Number("--delayed", &load.delayed, "Tasks that wait for tomorrow, submitted before", 0,
                 100'000'000);
  command.Number("--schedules", &load.schedules, "Schedules that fire once a day, made before", 0,
                 200'000);
}

void AddThroughput(Flags& flags, Settings& settings) {
  ThroughputOptions& options = settings.throughput;
  Flags& command = flags.Command(
      "throughput", "No-op tasks a second, from first submit to last durable completion");
  command.Number("--tasks", &options.tasks, "Tasks to run", 1, 1'000'000'000);
  command.Size("--payload-bytes", &options.payload_bytes, "Payload of each", 0, 1 << 20);
  command.Number("--clients", &options.clients, "Client connections", 1, 1024);
  command.Number("--workers", &options.workers, "Worker processes to start", 1, 1024);
  command.Number("--batch", &options.batch, "Tasks in one submit call; 1: one by one", 1, 4096);
  command.Number("--in-flight", &options.in_flight,
                 "Most tasks submitted and not ended; 0: no bound, a backlog may build up", 0,
                 1'000'000'000);
  command.Number("--queues", &options.queues, "Queues that the tasks go to in turn", 1, 100'000);
  command.Number("--keys", &options.keys,
                 "Concurrency keys that they have in turn, each with a bound; 0: none", 0, 100'000);
  AddResting(command, options.resting);
  command.Number("--samples", &options.samples, "Rate and file size at so many equal shares", 1,
                 1000);
  command.Switch("--standby", &options.standby,
                 "With a second broker, whose disk every commit waits for");
  command.Switch("--no-limit", &settings.no_limit, "Leave out the bare pipeline");
  command.Brokers("--brokers", &settings.brokers, "Measure these instead of own processes");
  command.Example("zsched-bench throughput --tasks 10000000 --workers 2");
  command.Example("zsched-bench throughput --delayed 1000000 --schedules 100000");
  command.Example("zsched-bench throughput --batch 1 --repeat 5 -o json");
}

void AddOthers(Flags& flags, Settings& settings) {
  Flags& latency =
      flags.Command("latency", "Single tasks on an idle broker: time to the ack and to the result");
  latency.Number("--tasks", &settings.latency.tasks, "Tasks, one after another", 10, 1'000'000);
  latency.Switch("--standby", &settings.latency.standby,
                 "With a second broker, whose disk every commit waits for");
  latency.Example("zsched-bench latency -o json");
  Flags& backlog =
      flags.Command("backlog", "Many waiting tasks: memory, disk, restart, working them off");
  backlog.Number("--tasks", &settings.backlog.tasks, "Waiting tasks", 1, 1'000'000'000);
  backlog.Size("--payload-bytes", &settings.backlog.payload_bytes, "Payload of each", 0, 1 << 20);
  backlog.Number("--workers", &settings.backlog.workers, "Workers that work them off", 1, 1024);
  backlog.Example("zsched-bench backlog --tasks 2000000");
  Flags& schedules = flags.Command(
      "schedules", "Many time schedules: making them, restart, CPU when none is due, lateness");
  schedules.Number("--schedules", &settings.schedules.schedules,
                   "Schedules, of which each fires once", 1, 200'000);
  schedules.Duration("--period", &settings.schedules.period_ms,
                     "How long after it was made each fires: making them all must take less", 1000,
                     24 * 3600 * 1000);
  schedules.Duration("--spread", &settings.schedules.spread_ms,
                     "Make them, and so let them fire, evenly over so long", 0, 3600 * 1000);
  schedules.Switch("--together", &settings.schedules.together, "All fire at one moment");
  schedules.Duration("--idle", &settings.schedules.idle_ms, "How long to look at the idle broker",
                     1000, 3600 * 1000);
  schedules.Example("zsched-bench schedules --schedules 100000");
  schedules.Example("zsched-bench schedules --schedules 100000 --spread 60s --period 2m");
  Flags& failover = flags.Command(
      "failover",
      "The active of a pair ends under load: what is lost, and the time without service");
  failover.Number("--rounds", &settings.failover.rounds, "How often", 1, 100'000);
  AddResting(failover, settings.failover.resting);
  failover.Switch("--term", &settings.failover.term,
                  "By SIGTERM, with which it hands over, instead of kill -9");
  failover.Number("--workers", &settings.failover.workers, "Worker processes to start", 1, 1024);
  failover.Example("zsched-bench failover --rounds 100");
  failover.Example("zsched-bench failover --term");
  Flags& limits = flags.Command(
      "limits", "What the libraries allow here: LMDB commit, ZeroMQ echo, a bare pipeline");
  limits.Example("zsched-bench limits");
}

int Main(int argc, char** argv) {
  Settings settings;
  Flags flags(
      "zsched-bench",
      "Measures zsched: its own broker and workers on this machine, or those of --brokers.");
  flags.Text("-o,--output", &settings.output, "How to print", "FORMAT", {"table", "json"});
  flags.Text("--data-root", &settings.data_root, "Directory on the disk to measure", "DIR");
  flags.Number("--repeat", &settings.repeat, "Runs; medians and their spread are shown", 1, 100);
  AddThroughput(flags, settings);
  AddOthers(flags, settings);
  if (std::optional<int> code = flags.Parse(argc, argv)) return *code;
  for (const HostPort& broker : settings.brokers)
    settings.throughput.brokers +=
        (settings.throughput.brokers.empty() ? "" : ",") + ToString(broker);
  settings.throughput.data_root = settings.latency.data_root = settings.backlog.data_root =
      settings.schedules.data_root = settings.failover.data_root = settings.data_root;
  settings.throughput.measure_limit = !settings.no_limit;
  absl::StatusOr<Json> result = Repeat(flags.command(), settings);
  bool json = settings.output == "json";
  if (!result.ok()) return Fail(result.status(), json);
  std::fputs(json ? (result->dump() + "\n").c_str() : TableText(*result).c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace zsched::bench

int main(int argc, char** argv) { return zsched::bench::Main(argc, argv); }
