// One attempt as a handler sees it, and how its end becomes an outcome. Owned by worker/server.
//
// Threads: CancelSignal::Request and NoteBox::Take from the session thread, the rest from the
// handler's.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/wire_generated.h"
#include "worker/core/ledger.h"
#include "worker/core/outputs.h"
#include "worker/core/reports.h"
#include "zsched/task.h"

namespace zsched::worker {

// Tells the attempt that runs in one slot to end, and never the one that follows it there.
class CancelSignal {
 public:
  CancelSignal() = default;
  ~CancelSignal();
  CancelSignal(const CancelSignal&) = delete;
  CancelSignal& operator=(const CancelSignal&) = delete;

  // The attempt under `lease` begins, the one before it is over.
  void Begin(LeaseId lease, int64_t started_ms);
  void End() { current_.store(0, std::memory_order_release); }

  // The attempt that runs, and since when; no lease: none.
  LeaseId Running(int64_t* started_ms) const;
  // True when `lease` is what runs; it is told to end. The first reason that is given stays.
  bool Request(LeaseId lease, ErrorCode why);

  bool cancelled() const {
    return cancelled_.load(std::memory_order_acquire) == current_.load(std::memory_order_relaxed);
  }
  // kOk: not cancelled.
  ErrorCode reason() const {
    return cancelled() ? why_.load(std::memory_order_relaxed) : ErrorCode::kOk;
  }
  int fd();
  bool Wait(std::chrono::milliseconds duration);

 private:
  std::atomic<uint64_t> current_{0};
  std::atomic<int64_t> started_ms_{0};
  std::atomic<uint64_t> cancelled_{UINT64_MAX};  // never a lease, never equal to an idle slot's 0
  std::atomic<ErrorCode> why_{ErrorCode::kOk};   // of the lease in cancelled_, written before it
  std::mutex mutex_;
  std::condition_variable requested_;
  int fd_ = -1;  // made when first asked for; written only under mutex_ by the handler's thread
  bool fd_signalled_ = false;
};

// What an attempt has said and written.
struct Note {
  Report report;
  std::vector<OutputPage> pages;
};

// What the attempt in one slot says and writes, until the session thread takes it. Of what it says the
// latest counts, of what it writes the last pages.
class NoteBox {
 public:
  // The attempt begins; whatever the one before it left was taken.
  void Begin(TaskId task, LeaseId lease);
  // True: the box was empty, and the session thread has to be told.
  bool SetProgress(int percent, std::string_view message);
  bool SetCheckpoint(std::string_view bytes);
  bool Write(OutputStream stream, std::string_view bytes);
  // nullopt: nothing new.
  std::optional<Note> Take();

 private:
  bool Add(Report note);
  bool Said();  // with mutex_

  TaskId task_;
  LeaseId lease_;
  std::mutex mutex_;
  Report report_;        // under mutex_; with whose it is, once something was said
  OutputPages written_;  // under mutex_
  // Something was said since it was last looked: most attempts say nothing, and pay for no lock.
  std::atomic<bool> said_{false};
};

// Runs `handler` (nullptr: there is none for this type) on `task`. Nothing that a handler does or
// throws leaves this function. Null: succeeded with an empty result.
std::unique_ptr<Outcome> RunAttempt(const wire::Assignment& task, const TaskHandler* handler,
                                    std::chrono::steady_clock::time_point started,
                                    CancelSignal* signal, NoteBox* notes,
                                    const std::function<void()>& tell);

}  // namespace zsched::worker
