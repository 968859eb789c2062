// Reading the settings again on SIGHUP, without a restart. Owned by base.
//
// Example (first thing in main, so that every thread inherits the blocked signal):
//   ReloadOnHangup reload([&] { ... parse again, keep the old settings when that fails, apply ... });
//
// Threads: the callback runs on a thread of its own, one call at a time.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace zsched {

class ReloadOnHangup {
 public:
  // Blocks SIGHUP in the calling thread and in those it starts afterwards.
  explicit ReloadOnHangup(std::function<void()> reload);
  // Waits for a call that is under way. SIGHUP stays blocked.
  ~ReloadOnHangup();
  ReloadOnHangup(const ReloadOnHangup&) = delete;
  ReloadOnHangup& operator=(const ReloadOnHangup&) = delete;

 private:
  std::function<void()> reload_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zsched
