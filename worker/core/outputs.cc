#include "worker/core/outputs.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/planted.h"

namespace zsched::worker {
namespace {

static_assert(static_cast<int>(wire::OutputStream::kLog) == static_cast<int>(OutputStream::kLog));
static_assert(static_cast<int>(wire::OutputStream::kStdout) ==
              static_cast<int>(OutputStream::kStdout));
static_assert(static_cast<int>(wire::OutputStream::MAX) == static_cast<int>(OutputStream::kStderr));

size_t CostOf(const OutputPage& page) {
  return page.bytes.size() + page.runs.size() * sizeof(wire::OutputRun);
}

}  // namespace

void OutputPage::Append(OutputStream stream, std::string_view more) {
  const auto wire_stream = static_cast<wire::OutputStream>(stream);
  size_t run_bytes = more.size();
  if (!runs.empty() && runs.back().stream() == wire_stream) {
    run_bytes += runs.back().bytes();
    runs.pop_back();
  }
  runs.emplace_back(static_cast<uint16_t>(run_bytes), wire_stream, uint8_t{0});
  bytes.append(more);
}

// --- The pages of one attempt ---------------------------------------------------------------------

void OutputPages::Append(OutputStream stream, std::string_view bytes) {
  // Of a flood only the end is copied.
  constexpr size_t kMost = kOutputPages * kOutputPageBytes;
  if (bytes.size() > kMost + kOutputPageBytes) {
    const uint64_t from = (end_ + bytes.size() - kMost) / kOutputPageBytes * kOutputPageBytes;
    bytes.remove_prefix(from - end_);
    end_ = from;
  }
  while (!bytes.empty()) {
    const uint64_t room = kOutputPageBytes - end_ % kOutputPageBytes;
    if (pages_.empty() || pages_.back().end() != end_ || room == kOutputPageBytes)
      pages_.push_back({end_, {}, {}});
    const std::string_view part = bytes.substr(0, room);
    pages_.back().Append(stream, part);
    end_ += part.size();
    bytes.remove_prefix(part.size());
  }
  DropOld();
}

std::vector<OutputPage> OutputPages::Take() {
  std::vector<OutputPage> taken(std::make_move_iterator(pages_.begin()),
                                std::make_move_iterator(pages_.end()));
  pages_.clear();
  return taken;
}

void OutputPages::Add(OutputPage&& page) {
  end_ = page.end();
  if (page.offset % kOutputPageBytes == 0) {
    pages_.push_back(std::move(page));
    return DropOld();
  }
  // The rest of a page whose start was taken before; without the start it is no page.
  if (pages_.empty() || pages_.back().end() != page.offset) return;
  OutputPage& last = pages_.back();
  size_t at = 0;
  for (const wire::OutputRun& run : page.runs) {
    last.Append(static_cast<OutputStream>(run.stream()),
                std::string_view(page.bytes).substr(at, run.bytes()));
    at += run.bytes();
  }
}

bool OutputPages::DropFirst() {
  if (pages_.size() < 2) return false;
  pages_.pop_front();
  return true;
}

void OutputPages::DropOld() {
  while (pages_.size() > 1 && pages_.front().number() + kOutputPages <= pages_.back().number())
    pages_.pop_front();
}

// --- Of all attempts ------------------------------------------------------------------------------

size_t PagesOfOneFrame(std::span<const OutputPageRef> pages) {
  size_t count = 0, bytes = 0;
  for (; count < pages.size() && count < kMaxOutputFramePages; ++count)
    if ((bytes += CostOf(*pages[count].page)) > kBatchTargetBytes && count > 0) break;
  return count;
}

void Outputs::OnWritten(TaskId task, LeaseId lease, std::vector<OutputPage> pages) {
  Entry& entry = entries_[lease];
  entry.task = task;
  for (OutputPage& page : pages) entry.written.Add(std::move(page));
  Count(entry);
  DropSome();
}

void Outputs::OnEnded(LeaseId lease) {
  auto it = entries_.find(lease);
  if (it != entries_.end()) it->second.ended = true;
}

void Outputs::OnSessionUp() {
  if (ZS_PLANTED("output-not-resent")) return;
  for (auto& [lease, entry] : entries_) entry.due_from = 0;
  next_ms_ = 0;
}

std::vector<OutputPageRef> Outputs::Take(int64_t now_ms) {
  std::vector<OutputPageRef> taken;
  for (auto& [lease, entry] : entries_)
    if (entry.due() && entry.ended) TakeOf(lease, entry, taken);
  if (now_ms < next_ms_) return taken;
  // From the one after the last, so that each has its turn.
  size_t bytes = 0, looked_at = 0;
  auto it = entries_.upper_bound(last_);
  for (; looked_at < entries_.size() && bytes < kMaxReportBytes; ++looked_at, ++it) {
    if (it == entries_.end()) it = entries_.begin();
    if (!it->second.due()) continue;
    last_ = it->first;
    bytes += TakeOf(it->first, it->second, taken);
    next_ms_ = now_ms + kReportEveryMs;
  }
  return taken;
}

size_t Outputs::TakeOf(LeaseId lease, Entry& entry, std::vector<OutputPageRef>& taken) {
  size_t bytes = 0;
  for (const OutputPage& page : entry.written.pages()) {
    if (page.end() <= entry.due_from) continue;
    taken.push_back({entry.task, lease, &page});
    bytes += CostOf(page);
  }
  entry.due_from = entry.written.end();
  return bytes;
}

int64_t Outputs::NextDeadlineMs() const {
  int64_t next = kNever;
  for (const auto& [lease, entry] : entries_) {
    if (!entry.due()) continue;
    if (entry.ended) return 0;
    next = next_ms_;
  }
  return next;
}

void Outputs::Count(Entry& entry) {
  held_bytes_ -= entry.bytes;
  entry.bytes = 0;
  for (const OutputPage& page : entry.written.pages()) entry.bytes += CostOf(page);
  held_bytes_ += entry.bytes;
}

// The oldest attempts lose their first pages, which most often were sent long ago.
void Outputs::DropSome() {
  for (auto it = entries_.begin(); it != entries_.end() && held_bytes_ > kMaxHeldOutputBytes;
       ++it) {
    while (held_bytes_ > kMaxHeldOutputBytes && it->second.written.DropFirst()) Count(it->second);
  }
}

Outputs::Map::iterator Outputs::Erase(Map::iterator it) {
  held_bytes_ -= it->second.bytes;
  return entries_.erase(it);
}

}  // namespace zsched::worker
