// Dead letters: pages and groups of them, and the walks that retry or delete all that match.
//
// A walk sees the letters that were there when it began: those below the number that was next then. It names
// the letter in each request, so that one that is sent again after a reconnect does nothing a second time.
#include <algorithm>
#include <chrono>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "base/check.h"
#include "base/clock.h"
#include "client/lib/codec.h"
#include "client/lib/core.h"

namespace zsched {
namespace {

constexpr uint64_t kMicro = 1'000'000;
// A batch is what the rate allows in this time, which is also how often the caller is asked.
constexpr int64_t kBeatMs = 100;

// The answers to one DEAD_LIST after the other, until all is seen. (Core is private to Client.)
template <class Core>
class DeadWalk {
 public:
  DeadWalk(Core& core, DeadListSpec list) : core_(core), list_(std::move(list)) {}

  bool done() const { return done_; }
  // Reads the next answer; `read` takes its table.
  template <class Read>
  absl::Status Next(Read read) {
    const uint64_t cursor = list_.cursor;
    ZS_RETURN_IF_ERROR(core_.template Ask<wire::DeadLetters>(
        MessageType::kDeadList, MessageType::kDeadLetters,
        [this](uint64_t number) { return EncodeDeadList(number, list_); },
        [&](const wire::DeadLetters& answer) {
          if (list_.before == 0) list_.before = answer.next_letter();
          list_.cursor = answer.next_cursor();
          read(answer);
          return absl::OkStatus();
        }));
    done_ = list_.cursor == 0;
    if (!done_ && list_.cursor <= cursor)
      return Error(ErrorCode::kMalformed, "the broker's answer to DEAD_LIST goes backwards");
    return absl::OkStatus();
  }

 private:
  Core& core_;
  DeadListSpec list_;
  bool done_ = false;
};

// Does one thing to each of the letters of a walk, as fast as the job may.
template <class Core>
class DeadRunner {
 public:
  // `encode` makes the body of a request for ids and their letters.
  using Encode = std::string (*)(uint64_t, std::span<const TaskId>, std::span<const uint64_t>);
  DeadRunner(Core& core, MessageType type, Encode encode, const DeadJob& job)
      : core_(core), type_(type), encode_(encode), job_(job), start_ms_(SystemNow().mono_ms) {}

  absl::StatusOr<DeadProgress> Run(const DeadFilter& filter) {
    DeadWalk<Core> walk(
        core_, {.view = wire::DeadView::kLetters, .filter = filter, .limit = kMaxQueryIds});
    while (!walk.done()) {
      std::vector<TaskId> ids;
      std::vector<uint64_t> letters;
      ZS_RETURN_IF_ERROR(walk.Next([&](const wire::DeadLetters& answer) {
        if (answer.letters() == nullptr) return;
        for (const wire::DeadLetter* letter : *answer.letters()) {
          ids.emplace_back(letter->task());
          letters.push_back(letter->letter());
        }
      }));
      for (size_t from = 0; from < ids.size(); from += Batch()) {
        const size_t size = std::min(Batch(), ids.size() - from);
        if (!AwaitTurn()) return progress_;
        ZS_RETURN_IF_ERROR(
            Send(std::span(ids).subspan(from, size), std::span(letters).subspan(from, size)));
      }
      if (!GoOn()) return progress_;
    }
    return progress_;
  }

 private:
  size_t Batch() const {
    if (job_.rate_micro == 0) return kMaxQueryIds;
    const uint64_t beat = job_.rate_micro / kMicro * kBeatMs / 1000;
    return std::clamp<uint64_t>(beat, 1, kMaxQueryIds);
  }
  bool GoOn() const { return !job_.go_on || job_.go_on(progress_); }

  // Until what was sent so far is no more than the rate allows. False: stop.
  bool AwaitTurn() const {
    while (GoOn()) {
      if (job_.rate_micro == 0) return true;
      const double due_ms = static_cast<double>(sent_) * 1e9 / static_cast<double>(job_.rate_micro);
      const int64_t left_ms =
          start_ms_ + static_cast<int64_t>(std::min(due_ms, 1e15)) - SystemNow().mono_ms;
      if (left_ms <= 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left_ms, kBeatMs)));
    }
    return false;
  }

  absl::Status Send(std::span<const TaskId> ids, std::span<const uint64_t> letters) {
    sent_ += ids.size();
    return core_.template Ask<wire::ItemReply>(
        type_, MessageType::kItemReply,
        [&](uint64_t number) { return encode_(number, ids, letters); },
        [this](const wire::ItemReply& reply) { return Count(reply); });
  }
  absl::Status Count(const wire::ItemReply& reply) {
    if (reply.items() == nullptr) return absl::OkStatus();
    for (const wire::ItemResult* item : *reply.items()) {
      const absl::Status status = ReadItemStatus(*item);
      const ErrorCode code = CodeOf(status);
      if (code != ErrorCode::kOk && code != ErrorCode::kConflict && code != ErrorCode::kNotFound)
        return status;
      ++(status.ok() ? progress_.done : progress_.passed);
    }
    return absl::OkStatus();
  }

  Core& core_;
  const MessageType type_;
  const Encode encode_;
  const DeadJob& job_;
  const int64_t start_ms_;
  uint64_t sent_ = 0;
  DeadProgress progress_;
};

void Merge(const DeadGroup& part, DeadGroup* group) {
  const uint64_t tasks = group->tasks + part.tasks;
  const int64_t first_ms = group->tasks == 0 ? part.first_died_at_ms : group->first_died_at_ms;
  *group = part;  // later parts are of later letters
  group->tasks = tasks;
  group->first_died_at_ms = first_ms;
}

}  // namespace

absl::StatusOr<DeadPage> Client::DeadLetters(const DeadQuery& query) {
  DeadPage page;
  DeadWalk<Core> walk(
      *core_, {.view = wire::DeadView::kTasks,
               .filter = query.filter,
               .limit = query.limit == 0 ? kDefaultListLimit : std::min(query.limit, kMaxListLimit),
               .cursor = query.cursor,
               .omit_bodies = query.omit_bodies});
  ZS_RETURN_IF_ERROR(walk.Next([&](const wire::DeadLetters& answer) {
    page.next_cursor = answer.next_cursor();
    if (answer.tasks() == nullptr) return;
    for (const wire::TaskInfo* task : *answer.tasks()) page.tasks.push_back(ReadTaskInfo(*task));
  }));
  return page;
}

absl::StatusOr<std::vector<DeadGroup>> Client::DeadGroups(const DeadFilter& filter) {
  std::vector<DeadGroup> groups;
  absl::flat_hash_map<uint64_t, size_t> place;  // by fingerprint
  DeadWalk<Core> walk(*core_, {.view = wire::DeadView::kGroups, .filter = filter});
  while (!walk.done())
    ZS_RETURN_IF_ERROR(walk.Next([&](const wire::DeadLetters& answer) {
      if (answer.groups() == nullptr) return;
      for (const wire::DeadGroup* part : *answer.groups()) {
        auto [at, is_new] = place.try_emplace(part->fingerprint(), groups.size());
        if (is_new) groups.emplace_back();
        Merge(ReadDeadGroup(*part), &groups[at->second]);
      }
    }));
  std::stable_sort(groups.begin(), groups.end(),
                   [](const DeadGroup& a, const DeadGroup& b) { return a.tasks > b.tasks; });
  return groups;
}

absl::StatusOr<DeadProgress> Client::RetryDead(const DeadFilter& filter, const DeadJob& job) {
  return DeadRunner<Core>(*core_, MessageType::kRetry, EncodeRetry, job).Run(filter);
}

absl::StatusOr<DeadProgress> Client::PurgeDead(const DeadFilter& filter, const DeadJob& job) {
  return DeadRunner<Core>(*core_, MessageType::kDeadDelete, EncodeDeadDelete, job).Run(filter);
}

}  // namespace zsched
