#include "client/gateway/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/process_usage.h"
#include "client/gateway/backend.h"

namespace zsched::gateway {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Divisors: 100 µs are 0.0001 s then, and not 9.999999999999999e-05.
constexpr double kMicro = 1e6, kMilli = 1e3;
// Each has a series for each state. Who has more queues looks at sums; the rest is counted.
constexpr size_t kMaxQueues = 1000;

// Answers of the gateway: from a look into memory to a wait that has been asked for.
const prometheus::Histogram::BucketBoundaries kRequestBounds = {
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 10, 60};

constexpr BrokerRole kRoles[] = {
    BrokerRole::kRecovering, BrokerRole::kCatchup,    BrokerRole::kStandby, BrokerRole::kPromoting,
    BrokerRole::kActiveSync, BrokerRole::kActiveSolo, BrokerRole::kFenced};

// Families in the order in which they are met, each with its samples.
class Families {
 public:
  // `name` without the prefix. The help text of the first sample stands.
  void Add(std::string_view name, std::string_view help, MetricType type, ClientMetric sample) {
    std::string full = absl::StrCat("zsched_", std::string(name));
    auto [place, fresh] = index_.try_emplace(full, families_.size());
    if (fresh) {
      MetricFamily family;
      family.name = full;
      family.help = std::string(help);
      family.type = type;
      families_.push_back(std::move(family));
    }
    families_[place->second].metric.push_back(std::move(sample));
  }
  void Gauge(std::string_view name, std::string_view help, double value,
             std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric sample;
    sample.label = std::move(labels);
    sample.gauge.value = value;
    Add(name, help, MetricType::Gauge, std::move(sample));
  }
  void Counter(std::string_view name, std::string_view help, double value,
               std::vector<ClientMetric::Label> labels = {}) {
    ClientMetric sample;
    sample.label = std::move(labels);
    sample.counter.value = value;
    Add(name, help, MetricType::Counter, std::move(sample));
  }
  std::vector<MetricFamily> Take() && { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
  std::map<std::string, size_t> index_;
};

// Counters of the broker that are one family with a label, by their prefix and ending.
struct Labelled {
  std::string_view counter;
  std::string_view family, help, label, value;
};
constexpr Labelled kLabelled[] = {
    {"tasks_succeeded_total", "tasks_finished_total", "Tasks that are over, by outcome", "outcome",
     "succeeded"},
    {"tasks_dead_total", "tasks_finished_total", "Tasks that are over, by outcome", "outcome",
     "dead"},
    {"tasks_cancelled_total", "tasks_finished_total", "Tasks that are over, by outcome", "outcome",
     "cancelled"},
    {"attempts_failed_total", "attempts_ended_badly_total", "Attempts without a result, by why",
     "reason", "failed"},
    {"attempts_lost_total", "attempts_ended_badly_total", "Attempts without a result, by why",
     "reason", "lost"},
    {"attempts_released_total", "attempts_ended_badly_total", "Attempts without a result, by why",
     "reason", "released"},
    {"schedule_ticks_fired_total", "schedule_ticks_total",
     "Ticks of time schedules, by what became of them", "fate", "fired"},
    {"schedule_ticks_skipped_total", "schedule_ticks_total",
     "Ticks of time schedules, by what became of them", "fate", "skipped"},
    {"schedule_ticks_missed_total", "schedule_ticks_total",
     "Ticks of time schedules, by what became of them", "fate", "missed"},
};

struct Help {
  std::string_view name, text;
};
constexpr Help kHelp[] = {
    {"tasks_submitted_total", "Tasks that were accepted"},
    {"tasks_rejected_total", "Tasks that were refused"},
    {"tasks_dispatched_total", "Tasks that were handed to workers"},
    {"tasks_retried_total", "Dead tasks that were given a new budget of attempts"},
    {"tasks_followed_total", "Tasks that were made by the end of another"},
    {"commits_total", "Batches of records that were made durable"},
    {"commit_bytes_total", "Bytes of these"},
    {"commit_seconds_total", "Time that these took"},
    {"task_wait", "Time from a task being ready to its being handed to a worker"},
    {"task_run", "Time that attempts took, as their workers reported"},
    {"commit", "Time that commits took"},
    {"fsync", "Time that the flushes of commits took"},
};

std::string HelpOf(std::string_view name) {
  for (const Help& help : kHelp)
    if (help.name == name) return std::string(help.text);
  std::string text(name);
  std::replace(text.begin(), text.end(), '_', ' ');
  return absl::StrCat("Of the broker: ", text);
}

// Names in the broker carry their own units; here all are seconds and bytes.
struct Unit {
  std::string name;
  double divisor = 1;
};
Unit InBaseUnits(std::string_view name) {
  for (const auto& [from, to, divisor] :
       {std::tuple("_microseconds", "_seconds", kMicro), std::tuple("_us", "_seconds", kMicro),
        std::tuple("_ms", "_seconds", kMilli)}) {
    const bool total = name.ends_with(absl::StrCat(from, "_total"));
    if (!total && !name.ends_with(from)) continue;
    const std::string stem(name.substr(0, name.rfind(from)));
    return {absl::StrCat(stem, to, total ? "_total" : ""), divisor};
  }
  return {std::string(name)};
}

void AddCounter(const CounterValue& counter, Families& families) {
  const auto value = static_cast<double>(counter.value);
  const std::string_view name = counter.name;
  for (const Labelled& known : kLabelled)
    if (known.counter == name)
      return families.Counter(known.family, known.help, value,
                              {{std::string(known.label), std::string(known.value)}});
  if (name.starts_with("rejected_") && name.ends_with("_total")) {
    const std::string_view reason = name.substr(9, name.size() - 9 - 6);
    return families.Counter("rejected_total", "Tasks that were refused, by reason", value,
                            {{"reason", std::string(reason)}});
  }
  const Unit unit = InBaseUnits(name);
  families.Counter(unit.name, HelpOf(unit.name), value / unit.divisor);
}

void AddGauge(const CounterValue& gauge, Families& families) {
  const Unit unit = InBaseUnits(gauge.name);
  const double value = static_cast<double>(gauge.value) / unit.divisor;
  // What only rises is a counter to those who look at rates.
  if (unit.name.find("cpu_seconds") != std::string::npos)
    return families.Counter(unit.name + "_total", HelpOf(unit.name), value);
  families.Gauge(unit.name, HelpOf(unit.name), value);
}

void AddHistogram(const HistogramValue& histogram, Families& families) {
  ClientMetric sample;
  uint64_t sum = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    sum += histogram.counts[i];
    const double bound = i < histogram.bounds_us.size()
                             ? static_cast<double>(histogram.bounds_us[i]) / kMicro
                             : std::numeric_limits<double>::infinity();
    sample.histogram.bucket.push_back({sum, bound});
  }
  sample.histogram.sample_count = sum;
  sample.histogram.sample_sum = static_cast<double>(histogram.sum_us) / kMicro;
  families.Add(histogram.name + "_seconds", HelpOf(histogram.name), MetricType::Histogram,
               std::move(sample));
}

void AddQueues(const StatusInfo& status, Families& families) {
  const size_t shown = std::min(status.queues.size(), kMaxQueues);
  for (size_t i = 0; i < shown; ++i) {
    const QueueSummary& queue = status.queues[i];
    for (int state = 0; state < kTaskStates; ++state)
      families.Gauge(
          "queue_depth", "Tasks of a queue in a state",
          static_cast<double>(queue.counts[static_cast<size_t>(state)]),
          {{"queue", queue.name}, {"state", std::string(NameOf(static_cast<TaskState>(state)))}});
    families.Gauge("queue_payload_bytes", "Payload of the unfinished tasks of a queue",
                   static_cast<double>(queue.bytes), {{"queue", queue.name}});
    families.Gauge("queue_oldest_seconds",
                   "How long the first ready task of a queue has been ready",
                   static_cast<double>(queue.oldest_ready_ms) / kMilli, {{"queue", queue.name}});
  }
  families.Gauge("queues", "Queues that there are", static_cast<double>(status.queues.size()));
  families.Gauge("queues_not_shown", "Queues beyond those that have figures of their own here",
                 static_cast<double>(status.queues.size() - shown));
}

void AddBroker(const StatusInfo& status, Families& families) {
  families.Gauge("build_info", "1; which broker this is", 1,
                 {{"node", status.node}, {"version", status.version}});
  for (BrokerRole role : kRoles)
    families.Gauge("role", "1 for the role that the broker has", role == status.role ? 1 : 0,
                   {{"role", std::string(NameOf(role))}});
  families.Gauge("epoch", "Rises with every promotion", static_cast<double>(status.epoch.value()));
  families.Gauge("lsn", "Last record of the log", static_cast<double>(status.lsn.value()));
  families.Gauge("durable_lsn", "Last record on disk",
                 static_cast<double>(status.durable_lsn.value()));
  families.Gauge("uptime_seconds", "Since the broker started",
                 static_cast<double>(status.uptime_ms) / kMilli);
  families.Gauge("brokers", "Brokers that know of each other",
                 static_cast<double>(status.brokers.size()));
  families.Gauge("workers", "Connected workers", status.workers);
  families.Gauge("clients", "Connected clients", status.clients);
  for (const CounterValue& counter : status.counters) AddCounter(counter, families);
  for (const CounterValue& gauge : status.gauges)
    if (gauge.name != "workers" && gauge.name != "clients") AddGauge(gauge, families);
  for (const HistogramValue& histogram : status.histograms) AddHistogram(histogram, families);
  AddQueues(status, families);
}

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  ClientMetric sample;
  sample.gauge.value = value;
  sample.counter.value = value;
  family.metric.push_back(sample);
  return family;
}

// Under the names that Prometheus' own libraries use.
void AddProcess(std::vector<MetricFamily>& families) {
  const ProcessUsage usage = ReadProcessUsage();
  families.push_back(Single("process_resident_memory_bytes", "Memory of this process",
                            MetricType::Gauge, static_cast<double>(usage.resident_bytes)));
  families.push_back(Single("process_cpu_seconds_total", "Processor time of this process",
                            MetricType::Counter, static_cast<double>(usage.cpu_us) / kMicro));
  families.push_back(Single("process_open_fds", "Open file descriptors of this process",
                            MetricType::Gauge, static_cast<double>(usage.open_fds)));
  families.push_back(Single("process_threads", "Threads of this process", MetricType::Gauge,
                            static_cast<double>(usage.threads)));
}

}  // namespace

class Metrics::Impl {
 public:
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests = prometheus::BuildCounter()
                                                          .Name("zsched_http_requests_total")
                                                          .Help("Requests by operation and status")
                                                          .Register(registry);
  prometheus::Family<prometheus::Histogram>& seconds =
      prometheus::BuildHistogram()
          .Name("zsched_http_request_seconds")
          .Help("Time to answer a request, by operation")
          .Register(registry);
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::Count(std::string_view operation, int status, double seconds) {
  const std::string name(operation);
  impl_->requests.Add({{"operation", name}, {"status", std::to_string(status)}}).Increment();
  impl_->seconds.Add({{"operation", name}}, kRequestBounds).Observe(seconds);
}

std::string Metrics::Text(const absl::StatusOr<StatusInfo>& status) const {
  Families families;
  families.Gauge("up", "1 while a broker answers", status.ok() ? 1 : 0);
  if (status.ok()) AddBroker(*status, families);
  std::vector<MetricFamily> all = std::move(families).Take();
  for (MetricFamily& family : impl_->registry.Collect()) all.push_back(std::move(family));
  AddProcess(all);
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace zsched::gateway
