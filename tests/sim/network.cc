#include "tests/sim/network.h"

#include <utility>
#include <vector>

namespace zsched::sim {
namespace {

// A refused or unanswered connect is tried again after about this.
constexpr int64_t kReconnectMinUs = 50 * kMillisecond, kReconnectMaxUs = 150 * kMillisecond;
// How soon a side sees that the other closed, when it does at once.
constexpr int64_t kCloseSeenMaxUs = 2 * kMillisecond;

// As ROUTER makes them: a zero byte and a number.
std::string RoutingId(uint32_t number) {
  std::string id(1, '\0');
  id.append(reinterpret_cast<const char*>(&number), sizeof number);
  return id;
}

}  // namespace

void Network::Listen(const std::string& endpoint, Accept accept) {
  endpoints_[endpoint] = std::move(accept);
}

void Network::Unlisten(const std::string& endpoint) {
  endpoints_.erase(endpoint);
  std::vector<std::string> mine;
  for (const auto& [routing_id, link] : links_)
    if (link.endpoint == endpoint) mine.push_back(routing_id);
  for (const std::string& routing_id : mine) {
    Cut(routing_id);
    links_.erase(routing_id);
  }
}

// In order behind what was sent before.
int64_t Network::ArrivalUs(int64_t& last_us) {
  int64_t delay = random_.LogBetween(faults_.delay_min_us, faults_.delay_max_us);
  if (random_.Chance(faults_.delay_spike))
    delay += random_.Between(0, faults_.delay_spike_max_ms * kMillisecond);
  last_us = std::max(last_us, scheduler_.now_us() + delay);
  return last_us;
}

// One frame onto its way: `arrive` happens at its end, or never, or twice.
template <class Arrive>
void Network::Transmit(const Link& link, int64_t& last_us, int64_t& waiting, Arrive arrive) {
  auto late_us = [&] {
    return random_.LogBetween(faults_.delay_min_us, 1 + faults_.frame_late_max_ms * kMillisecond);
  };
  if (random_.Chance(faults_.frame_lost)) return;
  if (random_.Chance(faults_.frame_repeated)) {
    ++waiting;
    scheduler_.At(scheduler_.now_us() + late_us(), link.life, arrive);
  }
  ++waiting;
  int64_t at_us = random_.Chance(faults_.frame_overtaken) ? scheduler_.now_us() + late_us()
                                                          : ArrivalUs(last_us);
  scheduler_.At(at_us, link.life, std::move(arrive));
}

Sent Network::SendToPeer(const std::string& routing_id, std::string frame) {
  auto it = links_.find(routing_id);
  if (it == links_.end()) return Sent::kGone;
  Link& link = it->second;
  if (link.life == nullptr) return Sent::kSent;  // into a cut that nobody has noticed
  if (link.down_waiting >= faults_.high_water) return Sent::kFull;
  Transmit(link, link.down_last_us, link.down_waiting,
           [this, socket = link.socket, frame = std::move(frame)] {
             auto to = sockets_.find(socket);
             if (to != sockets_.end()) to->second.deliver(frame);
           });
  return Sent::kSent;
}

bool Network::HasRoom(const std::string& routing_id) const {
  auto it = links_.find(routing_id);
  return it == links_.end() || it->second.down_waiting < faults_.high_water;
}

void Network::ReadFrom(const std::string& routing_id) {
  auto it = links_.find(routing_id);
  if (it != links_.end()) --it->second.up_waiting;
}

SocketId Network::Connect(uint64_t owner, const std::string& endpoint, Deliver deliver) {
  SocketId socket = next_socket_++;
  sockets_[socket] = Socket{owner, endpoint, std::move(deliver), {}, {}};
  TryConnect(socket);
  return socket;
}

bool Network::IsReachable(const Socket& from) const {
  const int64_t now_us = scheduler_.now_us();
  if (now_us < split_until_us_ && apart_(from.owner, from.endpoint)) return false;
  return now_us >= partitioned_until_us_ && endpoints_.contains(from.endpoint);
}

void Network::TryConnect(SocketId socket) {
  auto it = sockets_.find(socket);
  if (it == sockets_.end() || !it->second.link.empty()) return;
  if (!IsReachable(it->second)) {
    scheduler_.After(random_.Between(kReconnectMinUs, kReconnectMaxUs), life_,
                     [this, socket] { TryConnect(socket); });
    return;
  }
  int64_t handshake = 0;
  scheduler_.At(ArrivalUs(handshake), life_, [this, socket] { Establish(socket); });
}

void Network::Establish(SocketId socket) {
  auto it = sockets_.find(socket);
  if (it == sockets_.end() || !it->second.link.empty()) return;
  if (!IsReachable(it->second)) return TryConnect(socket);
  std::string routing_id = RoutingId(next_link_++);
  Link& link = links_[routing_id];
  link.socket = socket;
  link.endpoint = it->second.endpoint;
  link.life = NewLife();
  it->second.link = routing_id;
  scheduler_.Trace("link", next_link_ - 1, socket);
  for (std::string& frame : it->second.queue) SendUp(routing_id, link, std::move(frame));
  it->second.queue.clear();
}

void Network::SendUp(const std::string& routing_id, Link& link, std::string frame) {
  Transmit(link, link.up_last_us, link.up_waiting,
           [this, routing_id, endpoint = link.endpoint, frame = std::move(frame)] {
             auto to = endpoints_.find(endpoint);
             if (to != endpoints_.end()) to->second(routing_id, frame);
           });
}

bool Network::Send(SocketId socket, std::string frame) {
  Socket& from = sockets_.at(socket);
  if (from.link.empty()) {
    if (std::ssize(from.queue) >= faults_.high_water) return false;
    from.queue.push_back(std::move(frame));
    return true;
  }
  auto it = links_.find(from.link);
  if (it == links_.end() || it->second.life == nullptr) return true;  // lost, and nobody knows yet
  if (it->second.up_waiting >= faults_.high_water) return false;
  SendUp(it->first, it->second, std::move(frame));
  return true;
}

void Network::ReadBy(SocketId socket) {
  auto it = sockets_.find(socket);
  if (it == sockets_.end()) return;
  auto link = links_.find(it->second.link);
  if (link != links_.end()) --link->second.down_waiting;
}

void Network::Close(SocketId socket) {
  auto it = sockets_.find(socket);
  if (it == sockets_.end()) return;
  std::string routing_id = std::move(it->second.link);
  sockets_.erase(it);
  auto link = links_.find(routing_id);
  if (link == links_.end()) return;
  if (random_.Chance(0.5)) return Cut(routing_id);
  // What was sent arrives before the end does.
  link->second.socket = 0;
  scheduler_.At(ArrivalUs(link->second.up_last_us), life_,
                [this, routing_id] { links_.erase(routing_id); });
}

void Network::Cut(const std::string& routing_id) {
  auto it = links_.find(routing_id);
  if (it == links_.end() || it->second.life == nullptr) return;
  Link& link = it->second;
  link.life.reset();
  auto seen_after = [&] {
    int64_t at_once = random_.Between(0, kCloseSeenMaxUs);
    if (faults_.half_open_max_ms == 0 || random_.Chance(0.5)) return at_once;
    return random_.Between(0, faults_.half_open_max_ms * kMillisecond);
  };
  scheduler_.After(seen_after(), life_, [this, socket = link.socket, routing_id] {
    auto of = sockets_.find(socket);
    if (of == sockets_.end() || of->second.link != routing_id) return;
    of->second.link.clear();
    TryConnect(socket);
  });
  scheduler_.After(seen_after(), life_, [this, routing_id] { links_.erase(routing_id); });
}

void Network::CutOne() {
  if (links_.empty()) return;
  auto it = std::next(links_.begin(), static_cast<std::ptrdiff_t>(random_.Below(links_.size())));
  scheduler_.Trace("cut", it->second.socket);
  Cut(std::string(it->first));
}

void Network::Partition(int64_t for_us) {
  scheduler_.Trace("partition", static_cast<uint64_t>(for_us));
  partitioned_until_us_ = scheduler_.now_us() + for_us;
  std::vector<std::string> all;
  for (const auto& [routing_id, link] : links_) all.push_back(routing_id);
  for (const std::string& routing_id : all) Cut(routing_id);
}

void Network::Split(int64_t for_us, Apart apart) {
  scheduler_.Trace("split", static_cast<uint64_t>(for_us));
  split_until_us_ = scheduler_.now_us() + for_us;
  apart_ = std::move(apart);
  std::vector<std::string> ended;
  for (const auto& [routing_id, link] : links_)
    if (auto from = sockets_.find(link.socket);
        from != sockets_.end() && apart_(from->second.owner, link.endpoint))
      ended.push_back(routing_id);
  for (const std::string& routing_id : ended) Cut(routing_id);
}

}  // namespace zsched::sim
