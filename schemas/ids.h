// Strong types for every id and offset that crosses a folder's boundary. Owned by schemas; pure,
// header only.
//
// An Epoch names one reign of one broker: (promotion counter, node). Task, lease and session ids
// carry the epoch they were made in, so two brokers that never met cannot make the same id.
//
//   id, 64 bits:   [ epoch : 24 ][ counter : 40 ]        epoch, 24 bits: [ promotions : 22 ][ node
//   : 2 ]
//
// Example:
//   TaskId id = MakeId<TaskId>(Epoch(4), 17);
//   ToString(id) == "4-17";  ParseId<TaskId>("4-17") == id
//
// Threads: values, freely shared.
#pragma once

#include <charconv>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace zsched {

// A 64-bit value that only compares with its own kind.
template <class Tag>
class Strong {
 public:
  constexpr Strong() = default;
  constexpr explicit Strong(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  constexpr auto operator<=>(const Strong&) const = default;

  template <class H>
  friend H AbslHashValue(H h, const Strong& id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  uint64_t value_ = 0;
};

using Epoch = Strong<struct EpochTag>;      // 0 = none seen yet
using Lsn = Strong<struct LsnTag>;          // position of one record in the log, from 1
using TaskId = Strong<struct TaskIdTag>;    // 0 = no task
using LeaseId = Strong<struct LeaseIdTag>;  // 0 = no lease; doubles as the attempt's fencing token
using SessionId = Strong<struct SessionIdTag>;  // 0 = no session

inline constexpr Lsn Next(Lsn lsn) { return Lsn(lsn.value() + 1); }

inline constexpr int kIdCounterBits = 40;
inline constexpr uint64_t kMaxIdCounter = (uint64_t{1} << kIdCounterBits) - 1;
inline constexpr int kEpochNodeBits = 2;
inline constexpr uint64_t kMaxEpoch = (uint64_t{1} << 24) - 1;

inline constexpr Epoch MakeEpoch(uint64_t promotions, uint64_t node) {
  return Epoch(promotions << kEpochNodeBits | node);
}
inline constexpr uint64_t PromotionsOf(Epoch epoch) { return epoch.value() >> kEpochNodeBits; }
inline constexpr uint64_t NodeOf(Epoch epoch) {
  return epoch.value() & ((uint64_t{1} << kEpochNodeBits) - 1);
}

// Requires epoch <= kMaxEpoch and counter <= kMaxIdCounter.
template <class Id>
constexpr Id MakeId(Epoch epoch, uint64_t counter) {
  return Id(epoch.value() << kIdCounterBits | counter);
}
template <class Id>
constexpr Epoch EpochOf(Id id) {
  return Epoch(id.value() >> kIdCounterBits);
}
template <class Id>
constexpr uint64_t CounterOf(Id id) {
  return id.value() & kMaxIdCounter;
}

// "EPOCH-COUNTER", the form people and JSON see.
template <class Tag>
std::string ToString(Strong<Tag> id) {
  return std::to_string(EpochOf(id).value()) + "-" + std::to_string(CounterOf(id));
}

// The inverse of ToString; nullopt for anything that ToString does not print (signs, spaces,
// overflow).
template <class Id>
std::optional<Id> ParseId(std::string_view text) {
  uint64_t epoch = 0, counter = 0;
  const char* end = text.data() + text.size();
  auto [dash, error] = std::from_chars(text.data(), end, epoch);
  if (error != std::errc() || dash == end || *dash != '-' || epoch > kMaxEpoch) return std::nullopt;
  auto [rest, error2] = std::from_chars(dash + 1, end, counter);
  if (error2 != std::errc() || rest != end || counter > kMaxIdCounter) return std::nullopt;
  auto id = MakeId<Id>(Epoch(epoch), counter);
  if (ToString(id) != text) return std::nullopt;  // leading zeros: an id has one spelling
  return id;
}

// 128 random bits that a client or worker process gives itself; how the broker knows it again after
// a reconnect.
struct Uuid {
  uint64_t hi = 0;
  uint64_t lo = 0;
  constexpr auto operator<=>(const Uuid&) const = default;
  constexpr explicit operator bool() const { return hi != 0 || lo != 0; }

  template <class H>
  friend H AbslHashValue(H h, const Uuid& id) {
    return H::combine(std::move(h), id.hi, id.lo);
  }
};

// 32 lower-case hex digits.
std::string ToString(const Uuid& id);
std::optional<Uuid> ParseUuid(std::string_view text);

// What the client and the broker call "now". Both in milliseconds: wall since the Unix epoch (what
// people see and what run-at means), mono from an arbitrary start (what timeouts are measured with;
// never goes back).
struct Now {
  int64_t wall_ms = 0;
  int64_t mono_ms = 0;
};

}  // namespace zsched
