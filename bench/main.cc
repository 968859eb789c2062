// zsched-bench: measures a cluster that it starts itself, or one that is there.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/config.h"
#include "base/text.h"
#include "bench/throughput.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

int Fail(const absl::Status& status, bool json) {
  ErrorCode code = CodeOf(status);
  if (json) {
    nlohmann::json error = {{"code", std::string(TextOf(code))},
                            {"message", MessageOf(status)},
                            {"retryable", IsRetryable(code)}};
    std::fprintf(stderr, "%s\n", nlohmann::json{{"error", error}}.dump().c_str());
  } else {
    std::fprintf(stderr, "zsched-bench: %s\n", MessageOf(status).c_str());
  }
  return InfoOf(code).exit_code;
}

void Print(const ThroughputResult& result, bool json) {
  if (json) {
    nlohmann::json out = {{"tasks", result.tasks},
                          {"seconds", result.seconds},
                          {"submit_seconds", result.submit_seconds},
                          {"tasks_per_second", result.tasks_per_second}};
    out["cpu_seconds_per_100k"] = nullptr;
    if (result.cpu_seconds_per_100k) out["cpu_seconds_per_100k"] = *result.cpu_seconds_per_100k;
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("tasks                %llu\n", static_cast<unsigned long long>(result.tasks));
  std::printf("seconds              %.3f (submits acknowledged after %.3f)\n", result.seconds,
              result.submit_seconds);
  std::printf("tasks per second     %.0f\n", result.tasks_per_second);
  if (result.cpu_seconds_per_100k)
    std::printf("CPU s per 100,000    %.3f (all processes)\n", *result.cpu_seconds_per_100k);
}

int Main(int argc, char** argv) {
  Flags flags("zsched-bench", "Measures zsched: its own broker and workers on this machine, or those of --brokers.");
  std::string output = "table";
  flags.Text("-o,--output", &output, "How to print", "FORMAT", {"table", "json"});
  Flags& throughput = flags.Command("throughput", "No-op tasks a second, from first submit to last durable completion");
  ThroughputOptions options;
  std::vector<HostPort> brokers;
  throughput.Number("--tasks", &options.tasks, "Tasks to run", 1, 1'000'000'000);
  throughput.Size("--payload-bytes", &options.payload_bytes, "Payload of each", 0, 1 << 20);
  throughput.Number("--clients", &options.clients, "Client connections", 1, 1024);
  throughput.Number("--workers", &options.workers, "Worker processes to start", 1, 1024);
  throughput.Number("--batch", &options.batch, "Tasks in one submit call; 1: one by one", 1, 4096);
  throughput.Brokers("--brokers", &brokers, "Measure these instead of own processes");
  throughput.Text("--data-root", &options.data_root, "Directory on the disk to measure", "DIR");
  throughput.Example("zsched-bench throughput --tasks 1000000 --batch 100 --workers 2");
  throughput.Example("zsched-bench throughput --batch 1 -o json");
  if (std::optional<int> code = flags.Parse(argc, argv)) return *code;
  for (const HostPort& broker : brokers)
    options.brokers += (options.brokers.empty() ? "" : ",") + ToString(broker);
  bool json = output == "json";
  auto result = RunThroughput(options);
  if (!result.ok()) return Fail(result.status(), json);
  Print(*result, json);
  return 0;
}

}  // namespace
}  // namespace zsched::bench

int main(int argc, char** argv) { return zsched::bench::Main(argc, argv); }
