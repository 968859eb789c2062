#include "tests/sim/simulation.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/sim/injector.h"
#include "tests/sim/merge_judge.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim_broker.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_worker.h"

namespace zsched::sim {
namespace {

// Faults go on for at least a time between these, and until the clients have submitted everything or kFaultsMore is over.
constexpr int64_t kFaultsShortest = 3 * kSecond, kFaultsLongest = 40 * kSecond;
constexpr int64_t kFaultsMore = 20 * kSecond;
// Longer than timeouts, grace and clock jumps together can delay a task, session losses included.
constexpr int64_t kCalmLimit = 240 * kSecond;
constexpr int64_t kLastLookLimit = 60 * kSecond;
// A simulation that runs in place without time passing is a loop.
constexpr uint64_t kMaxSteps = 20'000'000;

class Simulation {
 public:
  explicit Simulation(const SimOptions& options)
      : scheduler_(options.seed, options.trace),
        faults_(options.faults != nullptr ? *options.faults : Choose(FaultsFor(options))),
        workload_(options.workload != nullptr ? *options.workload : Choose(AllWorkloads())),
        network_(scheduler_, faults_),
        oracle_(faults_.arbitrated ? std::make_unique<Oracle>(scheduler_) : nullptr),
        merge_judge_(faults_.arbitrated ? nullptr : std::make_unique<MergeJudge>(scheduler_)),
        world_{scheduler_, network_, judge(), faults_, workload_, reached_, {}} {
    if (faults_.clock_drift > 0) judge().ClocksDrift(faults_.clock_drift);
    MakeBrokers();
    for (int i = 0; i < workload_.workers; ++i)
      parts_.workers.push_back(std::make_unique<SimWorker>(world_, i));
    for (int i = 0; i < workload_.clients; ++i)
      parts_.clients.push_back(std::make_unique<SimClient>(world_, i));
    injector_ = std::make_unique<Injector>(world_, parts_);
  }

  SimResult Run() {
    SimResult result;
    result.faults = FindFaults(faults_.name);
    result.workload = FindWorkload(workload_.name);
    WithFaults();
    if (!judge().failed()) Calm();
    if (!judge().failed()) LastLook();
    if (judge().failed())
      result.failure = absl::StrCat("at ", static_cast<double>(scheduler_.now_us()) / 1e6,
                                    " s: ", judge().failure());
    result.trace_hash = scheduler_.trace_hash();
    result.steps = scheduler_.steps();
    result.simulated_s = static_cast<double>(scheduler_.now_us()) / 1e6;
    result.tasks = judge().tasks_seen();
    result.broker_starts = injector_->broker_starts();
    for (auto& broker : parts_.brokers) broker->Crash();
    for (auto& worker : parts_.workers) worker->Crash();
    for (auto& client : parts_.clients) client->Crash();
    result.reached = reached_;
    for (const auto& [name, count] : judge().reached()) result.reached[name] += count;
    return result;
  }

 private:
  static std::span<const FaultProfile> FaultsFor(const SimOptions& options) {
    if (options.lone) return AllLonePairFaults();
    return options.pair ? AllPairFaults() : AllFaults();
  }

  Judge& judge() {
    if (oracle_ != nullptr) return *oracle_;
    return *merge_judge_;
  }

  template <class Profile>
  const Profile& Choose(std::span<const Profile> profiles) {
    return profiles[scheduler_.random().Below(profiles.size())];
  }

  void MakeBrokers() {
    for (const char* host : kHosts) {
      world_.brokers.push_back({host, kDefaultPort});
      if (!faults_.pair) break;
    }
    if (!faults_.pair) {
      parts_.brokers.push_back(std::make_unique<SimBroker>(world_));
      return;
    }
    parts_.pair = std::make_unique<SimPair>(world_);
    for (uint8_t number : {broker::kPrimary, broker::kBackup})
      parts_.brokers.push_back(std::make_unique<SimBroker>(world_, number, parts_.pair.get()));
    parts_.pair->SetBrokers({parts_.brokers[0].get(), parts_.brokers[1].get()});
  }

  // Both of a pair are there again.
  bool HasHealed() const {
    if (parts_.pair == nullptr) return true;
    const wire::Role one = parts_.brokers[0]->role(), other = parts_.brokers[1]->role();
    return std::minmax(one, other) == std::minmax(wire::Role::kStandby, wire::Role::kActiveSync);
  }
  // What the broker, or the pair as one, has taken is over.
  bool AtRest() const {
    if (oracle_ != nullptr) return oracle_->unfinished() == 0 && oracle_->schedules_rest();
    const SimBroker &one = *parts_.brokers[0], &other = *parts_.brokers[1];
    return (one.AtRest() || other.AtRest()) && one.IsQuiet() && other.IsQuiet() &&
           one.appended() == other.appended();
  }

  // Steps until `done`, a failure, or `until_us`. False: it was the time.
  template <class Done>
  bool RunUntil(int64_t until_us, Done done) {
    while (scheduler_.now_us() < until_us && !judge().failed()) {
      if (done()) return true;
      if (!scheduler_.Step()) judge().Fail("nothing is left to happen");
      if (scheduler_.steps() > kMaxSteps) judge().Fail("the simulation does not end");
      injector_->Supervise();
    }
    return judge().failed();
  }

  void WithFaults() {
    for (auto& worker : parts_.workers) worker->Boot();
    for (auto& client : parts_.clients) client->Boot(workload_.tasks);
    injector_->Begin();
    auto submitted = [this] {
      for (auto& client : parts_.clients)
        if (client->tasks_left() > 0) return false;
      return true;
    };
    int64_t until_us = scheduler_.random().LogBetween(kFaultsShortest, kFaultsLongest);
    RunUntil(until_us, [] { return false; });
    RunUntil(until_us + kFaultsMore, submitted);
  }

  void Calm() {
    scheduler_.Trace("calm");
    injector_->End();
    SimClient operators(world_, static_cast<int>(parts_.clients.size()) + 1);
    if (workload_.rule > 0 || workload_.schedules > 0) {
      operators.Boot(0);
      operators.Quieten();
    }
    Settle();
    operators.Crash();
  }

  void Settle() {
    auto settled = [this] {
      if (!HasHealed() || !AtRest()) return false;
      for (auto& client : parts_.clients)
        if (!client->idle() || client->tasks_left() > 0) return false;
      return true;
    };
    if (RunUntil(scheduler_.now_us() + kCalmLimit, settled)) return;
    std::string what =
        absl::StrCat("not settled ", kCalmLimit / kSecond, " s after the last fault");
    if (oracle_ != nullptr) DescribeUnfinished(&what);
    for (auto& broker : parts_.brokers)
      if (parts_.pair != nullptr)
        absl::StrAppend(&what, "; a broker is ", std::string(wire::EnumNameRole(broker->role())),
                        broker->AtRest() ? ", at rest" : "", broker->IsQuiet() ? ", quiet" : "");
    for (auto& client : parts_.clients)
      if (!client->idle()) absl::StrAppend(&what, "; ", client->Waiting());
    judge().Fail(what);
  }

  void DescribeUnfinished(std::string* what) const {
    absl::StrAppend(what, ": ", oracle_->unfinished(), " tasks have not ended");
    for (const auto& [id, task] : oracle_->tasks())
      if (task.has_row && !broker::IsFinished(task.row.state)) {
        absl::StrAppend(what, " (the first, ", ToString(TaskId(id)), ", is ",
                        std::string(wire::EnumNameTaskState(task.row.state)), ")");
        break;
      }
    if (!oracle_->schedules_rest()) absl::StrAppend(what, "; a schedule is not paused");
  }

  void LastLook() {
    scheduler_.Trace("last look");
    for (auto& broker : parts_.brokers) broker->Crash();
    if (merge_judge_ != nullptr) parts_.pair->TakeLine(**parts_.brokers[0]->OpenDisk()->View());
    for (auto& broker : parts_.brokers) broker->CompareDiskWithLog();
    std::vector<TaskId> ids = judge().MustBeThere();
    size_t asked = ids.size(), answered = 0;
    SimClient observer(world_, static_cast<int>(parts_.clients.size()));
    observer.Boot(0);
    observer.Ask(std::move(ids), [&](const wire::TaskInfos& infos) {
      answered += infos.answered();
      if (infos.tasks() == nullptr) return;
      for (const wire::TaskInfo* info : *infos.tasks()) judge().LastSeen(*info);
    });
    RunUntil(scheduler_.now_us() + kLastLookLimit, [&] { return observer.asked_all(); });
    if (!judge().failed() && answered != asked)
      judge().Fail(absl::StrCat("only ", answered, " of ", asked, " tasks could be looked at"));
    observer.Crash();
  }

  Scheduler scheduler_;
  FaultProfile faults_;
  WorkloadProfile workload_;
  Reached reached_;
  Network network_;
  // One of the two.
  const std::unique_ptr<Oracle> oracle_;
  const std::unique_ptr<MergeJudge> merge_judge_;
  World world_;
  Parts parts_;
  std::unique_ptr<Injector> injector_;
};

}  // namespace

SimResult RunSimulation(const SimOptions& options) { return Simulation(options).Run(); }

std::string ReplayCommand(const SimOptions& options) {
  std::string command = absl::StrCat("zsched-sim --seed ", options.seed);
  if (options.faults == nullptr && (options.pair || options.lone))
    absl::StrAppend(&command, options.lone ? " --lone-pair" : " --pair");
  if (options.faults != nullptr)
    absl::StrAppend(&command, " --faults ", std::string(options.faults->name));
  if (options.workload != nullptr)
    absl::StrAppend(&command, " --workload ", std::string(options.workload->name));
  return command + " --trace";
}

}  // namespace zsched::sim
