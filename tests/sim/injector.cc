#include "tests/sim/injector.h"

#include "tests/sim/judge.h"

namespace zsched::sim {

Injector::Injector(World& world, Parts& parts)
    : world_(world), parts_(parts), random_(world.scheduler.random().Fork()) {
  pace_ = std::pow(world.faults.intensity_spread, 2 * random_.Unit() - 1);
}

void Injector::Every(int64_t mean_ms, std::function<void()> strike) {
  if (mean_ms == 0) return;
  world_.scheduler.After(
      random_.Interval(static_cast<int64_t>(static_cast<double>(mean_ms) * pace_)) * kMillisecond,
      faults_, [this, mean_ms, strike = std::move(strike)] {
        strike();
        Every(mean_ms, strike);
      });
}

SimBroker& Injector::AnyBroker() {
  return parts_.brokers.size() == 1 ? *parts_.brokers[0] : Any(parts_.brokers);
}

Process& Injector::AnyProcess() {
  const uint64_t brokers = parts_.brokers.size(), workers = parts_.workers.size();
  const uint64_t which = random_.Below(brokers + workers + parts_.clients.size());
  if (which < brokers) return *parts_.brokers[which];
  if (which < brokers + workers) return *parts_.workers[which - brokers];
  return *parts_.clients[which - brokers - workers];
}

void Injector::Begin() {
  broker_waits_.resize(parts_.brokers.size());
  worker_waits_.resize(parts_.workers.size());
  client_waits_.resize(parts_.clients.size());
  BeginNetworkAndBroker();
  if (parts_.pair != nullptr) BeginPair();
  BeginPeers();
}

void Injector::BeginPair() {
  const FaultProfile& faults = world_.faults;
  Every(faults.peer_cut_every_ms, [this] {
    const int64_t for_us = UpTo(world_.faults.peer_cut_max_ms);
    if (random_.Chance(0.5))
      parts_.pair->CutOneWay(for_us);
    else
      parts_.pair->CutBoth(for_us);
  });
  Every(faults.split_every_ms, [this] { Split(UpTo(world_.faults.split_max_ms)); });
  Every(faults.arbiter_away_every_ms,
        [this] { parts_.pair->ArbiterAway(UpTo(world_.faults.arbiter_away_max_ms)); });
  Every(faults.blackout_every_ms, [this] {
    for (auto& broker : parts_.brokers) broker->Crash();
  });
  Every(faults.switchover_every_ms, [this] {
    for (auto& broker : parts_.brokers) broker->HandOverToPeer();
  });
}

void Injector::Split(int64_t for_us) {
  parts_.pair->CutBoth(for_us);
  const uint64_t sides = random_.Next();
  world_.network.Split(for_us, [sides](uint64_t owner, const std::string& endpoint) {
    const bool backup = endpoint.starts_with(std::string("tcp://") + kHosts[1] + ":");
    return (sides >> owner % 64 & 1) != uint64_t{backup};
  });
}

void Injector::BeginNetworkAndBroker() {
  const FaultProfile& faults = world_.faults;
  Every(faults.link_cut_every_ms, [this] { world_.network.CutOne(); });
  Every(faults.partition_every_ms,
        [this] { world_.network.Partition(UpTo(world_.faults.partition_max_ms)); });
  Every(faults.broker_crash_every_ms, [this] { AnyBroker().Crash(); });
  Every(faults.broker_pause_every_ms, [this] {
    world_.scheduler.Trace("broker pause");
    AnyBroker().PauseFor(UpTo(world_.faults.broker_pause_max_ms));
  });
  Every(faults.disk_low_every_ms, [this] {
    parts_.brokers[0]->SetDiskLow(true);
    world_.scheduler.After(UpTo(world_.faults.disk_low_max_ms), life_,
                           [this] { parts_.brokers[0]->SetDiskLow(false); });
  });
}

void Injector::BeginPeers() {
  const FaultProfile& faults = world_.faults;
  Every(faults.worker_crash_every_ms, [this] { Any(parts_.workers).Crash(); });
  Every(faults.worker_pause_every_ms, [this] {
    world_.scheduler.Trace("worker pause");
    Any(parts_.workers).PauseFor(UpTo(world_.faults.worker_pause_max_ms));
  });
  Every(faults.worker_drain_every_ms, [this] { Any(parts_.workers).Drain(); });
  Every(faults.client_crash_every_ms, [this] { Any(parts_.clients).Crash(); });
  Every(faults.client_pause_every_ms, [this] {
    world_.scheduler.Trace("client pause");
    Any(parts_.clients).PauseFor(UpTo(world_.faults.client_pause_max_ms));
  });
  Every(faults.clock_jump_every_ms, [this] {
    int64_t max_ms = world_.faults.clock_jump_max_ms;
    world_.scheduler.Trace("clock jump");
    world_.judge.ClockJumped();
    AnyProcess().SetWallClock(random_.Between(-max_ms, max_ms));
  });
}

void Injector::End() {
  faults_.reset();
  const uint64_t keep_log_bytes = world_.faults.keep_log_bytes;
  world_.faults = *FindFaults("none");
  world_.faults.keep_log_bytes = keep_log_bytes;
  world_.workload.fails = 0;
  world_.network.Heal();
  if (parts_.pair != nullptr) parts_.pair->Heal();
  for (auto& broker : parts_.brokers) {
    broker->SetDiskLow(false);
    broker->SetWallClock(0);
    broker->Resume();
  }
  for (auto& worker : parts_.workers) {
    worker->SetWallClock(0);
    worker->Resume();
  }
  for (auto& client : parts_.clients) {
    client->SetWallClock(0);
    client->Resume();
  }
}

void Injector::BootBroker(size_t number) {
  broker_waits_[number] = false;
  ++broker_starts_;
  SimBroker& broker = *parts_.brokers[number];
  broker.Boot();
  if (faults_ == nullptr || !random_.Chance(world_.faults.broker_crash_again)) return;
  world_.scheduler.After(random_.LogBetween(1, world_.faults.broker_crash_again_ms * kMillisecond),
                         faults_, [&broker] { broker.Crash(); });
}

void Injector::Supervise() {
  for (size_t i = 0; i < parts_.brokers.size(); ++i) {
    if (parts_.brokers[i]->up() || broker_waits_[i]) continue;
    broker_waits_[i] = true;
    world_.scheduler.After(UpTo(world_.faults.broker_down_max_ms), life_,
                           [this, i] { BootBroker(i); });
  }
  for (size_t i = 0; i < parts_.workers.size(); ++i) {
    if (parts_.workers[i]->up() || worker_waits_[i]) continue;
    worker_waits_[i] = true;
    world_.scheduler.After(UpTo(world_.faults.worker_down_max_ms), life_, [this, i] {
      worker_waits_[i] = false;
      parts_.workers[i]->Boot();
    });
  }
  for (size_t i = 0; i < parts_.clients.size(); ++i) {
    SimClient& client = *parts_.clients[i];
    if (client.up() || client_waits_[i] || client.tasks_left() == 0) continue;
    client_waits_[i] = true;
    world_.scheduler.After(UpTo(world_.faults.client_down_max_ms), life_, [this, i] {
      client_waits_[i] = false;
      parts_.clients[i]->Boot(parts_.clients[i]->tasks_left());
    });
  }
}

}  // namespace zsched::sim
