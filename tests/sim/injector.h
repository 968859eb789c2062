// Strikes with the faults of the profile, and starts again what died. Owned by tests/sim.
//
// Threads: one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/sim/process.h"
#include "tests/sim/sim_broker.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_pair.h"
#include "tests/sim/sim_worker.h"

namespace zsched::sim {

struct Parts {
  std::unique_ptr<SimPair> pair;  // of two brokers
  std::vector<std::unique_ptr<SimBroker>> brokers;
  std::vector<std::unique_ptr<SimWorker>> workers;
  std::vector<std::unique_ptr<SimClient>> clients;
};

class Injector {
 public:
  Injector(World& world, Parts& parts);

  // From now on faults happen. The broker starts after a while.
  void Begin();
  // From now on none do, and what is broken is mended: links, pauses, clocks, handlers.
  void End();
  // After each step: what died is started again after a while.
  void Supervise();

  int broker_starts() const { return broker_starts_; }

 private:
  void Every(int64_t mean_ms, std::function<void()> strike);
  void BootBroker(size_t number);
  void BeginPair();
  void Split(int64_t for_us);
  SimBroker& AnyBroker();
  void BeginNetworkAndBroker();
  void BeginPeers();
  Process& AnyProcess();
  template <class List>
  auto& Any(List& list) {
    return *list[random_.Below(list.size())];
  }
  // Often short, often long.
  int64_t UpTo(int64_t max_ms) {
    if (random_.Chance(0.5)) return random_.Between(0, max_ms) * kMillisecond;
    return random_.LogBetween(1, 1 + max_ms) * kMillisecond;
  }

  World& world_;
  Parts& parts_;
  Random random_;
  double pace_ = 1;  // of this run's faults: 2 is half as often
  Life faults_ = NewLife();
  Life life_ = NewLife();
  std::vector<bool> broker_waits_, worker_waits_, client_waits_;
  int broker_starts_ = 0;
};

}  // namespace zsched::sim
