// The process groups that this process runs, so that a program that ends at once takes all of them
// along. Owned by worker/executors; spawn.cc fills it.
//
//            Reserve            List, by the child            Free
//   free ──────────────▶ reserved ──────────────▶ listed ──────────────▶ free
//          before vfork             before exec            before reaping
//
// The end may come at any moment, in a signal handler, while other threads start groups. Nobody may
// be missed, and nothing may be locked. So there are two words and an order: a child writes its id
// into its place and then looks whether the end has begun; KillAllProcessGroups declares the end
// and then looks at the places. Whichever comes later sees what the other wrote (both are
// sequentially consistent), so the group is killed or the child does not exec. It is the child that
// writes, for its parent may be stopped anywhere between vfork and the next line.
//
// Example:
//   LiveGroup group = LiveGroup::Reserve();
//   if (!group.reserved()) return …;  // kMaxConcurrency groups run
//   … in the vfork child: setpgid(0, 0); if (!group.List(getpid())) _exit(127); execve(…);
//   … in the parent: kill(-pid, SIGKILL); group.Free(); waitpid(pid, …);
//
// Threads: any number at once; one object is one thread's (and its vfork child's).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <utility>

namespace zsched::worker {

// One place in the list.
class LiveGroup {
 public:
  // Takes a place; `reserved()` is false when there is none.
  static LiveGroup Reserve();
  LiveGroup() = default;
  ~LiveGroup() { Free(); }
  LiveGroup(LiveGroup&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
  LiveGroup& operator=(LiveGroup&& other) noexcept {
    Free();
    place_ = std::exchange(other.place_, nullptr);
    return *this;
  }
  bool reserved() const { return place_ != nullptr; }
  // `group` must exist. False: this process is ending, and the group must not begin. Needs a place.
  // Async-signal-safe.
  bool List(pid_t group) const;
  // Once nothing of the group can live on, and before its leader is reaped: after that the id may
  // be somebody else's.
  void Free();

 private:
  std::atomic<pid_t>* place_ = nullptr;
};

// SIGKILL to every process group that runs now, and none starts after it: for a program that ends
// at once. Async-signal-safe.
void KillAllProcessGroups();

}  // namespace zsched::worker
