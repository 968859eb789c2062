// A client process: the real session and the real parts of the client library (queue, submitter, outcome tracker, request
// table), and a program that uses them. Owned by tests/sim. Does what client/lib/core.cc does with a Dealer and a thread.
//
// Threads: one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/lib/intake.h"
#include "client/lib/outcome_tracker.h"
#include "client/lib/request_table.h"
#include "client/lib/submitter.h"
#include "client/session/session.h"
#include "tests/sim/judge.h"
#include "tests/sim/process.h"

namespace zsched::sim {

class SimClient final : public Process {
 public:
  SimClient(World& world, int number);
  ~SimClient() override;

  // A new process under a new client id. It submits `tasks` tasks.
  void Boot(int tasks);
  void Crash();
  bool up() const { return alive(); }
  // Everything submitted, acknowledged, and every outcome it waits for heard.
  bool idle() const;
  // What is missing, for people.
  std::string Waiting() const;
  int tasks_left() const { return tasks_left_; }

  // For the last look: asks GET about these ids and calls `seen` with each answer until all are answered.
  void Ask(std::vector<TaskId> ids, std::function<void(const wire::TaskInfos&)> seen);
  bool asked_all() const { return to_get_.empty(); }
  // Takes all rules off all queues and pauses all schedules, again and again: somebody's older change may
  // still be on its way.
  void Quieten();

 private:
  void Round() override;
  void Execute(SessionActions& actions);
  void OnUp(const FrameView& welcome);
  void OnFrame(const FrameView& frame);
  void OnError(const FrameView& frame);
  void Pump(int64_t now_ms);
  bool Send(MessageType type, std::string_view body);
  bool Put(MessageType type, std::string_view body);
  int64_t NextDeadlineMs() const;

  // --- The program
  void NextCall();
  void SubmitOne(bool notify, bool wait);
  void SubmitBatch(bool notify, bool wait);
  TaskSpec MakeTask(std::string* marker);
  void SetStartBy(TaskSpec* task);
  void AddChain(const std::string& marker, int depth, size_t* left, TaskSpec* task);
  TaskSpec MakeOrRepeat(std::string* marker, bool notify);
  // Hands the tasks over as Client::Submit does; notes what is to be answered.
  void Put(const std::vector<TaskSpec>& tasks, Segment segment, bool notify);
  void Acked(const std::string& marker, bool notify, bool wait, bool lasts, TaskId id);
  void WaitFor(TaskId id);
  void Pushed(Outcome& outcome);
  void Heard(TaskId id, const Outcome& outcome);
  void RandomQuery();
  void RandomRule();
  void AskForLogs(TaskId id);
  void SetQueue(int queue, const QueueChange& change);
  void SetSchedule(int index);
  void RandomSchedule();
  void PauseSchedule(const std::string& name, bool paused);
  void RunSchedule(const std::string& name);
  void PauseSchedules();
  void SetType(int type, const TypeChange& change);
  void RandomTypeRule();
  void WaitForOneOf(const wire::TaskInfos* infos);
  void Retry(TaskId id);
  void CancelSome();
  // One of the dead, as a list told of it; letter 0: whichever death.
  struct Dead {
    TaskId id;
    uint64_t letter = 0;
  };
  void ListDead();
  void TakeDead(const wire::DeadLetters* answer);
  void RetryOrDelete(const std::vector<Dead>& dead);
  void AskNext();
  template <class Reply>
  void AskBroker(MessageType type, MessageType reply_type,
                 const std::function<std::string(uint64_t)>& encode,
                 std::function<void(const Reply*)> read);

  const int number_;
  Uuid id_;
  std::unique_ptr<Session> session_;
  SocketId socket_ = 0;
  std::deque<std::string> inbox_;
  AlignedCopy aligned_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Submitter> submitter_;
  std::unique_ptr<OutcomeTracker> outcomes_;
  std::unique_ptr<RequestTable> requests_;
  uint64_t next_request_ = 0;

  int tasks_left_ = 0;
  int next_task_ = 0;  // over all lives, so that markers differ
  bool leaves_ = false;
  int64_t next_call_ms_ = 0;
  int64_t pause_max_ms_ = 0;                             // some clients are quicker
  std::vector<std::pair<std::string, TaskSpec>> keyed_;  // by marker, over all lives
  std::multiset<std::string> unacked_;                   // markers
  std::map<TaskId, std::string> marker_of_;              // of acknowledged tasks
  std::set<TaskId> awaited_;                             // by a push or a wait
  std::set<TaskId> pushed_;                              // outcomes of tasks with notify, heard
  std::vector<Dead> listed_;                             // the latest
  int asking_ = 0;                                       // requests without an answer
  int64_t next_quieten_ms_ = Session::kNever;
  std::set<int> unset_schedules_;  // of this life
  std::vector<TaskId> to_get_;
  std::function<void(const wire::TaskInfos&)> on_infos_;
};

}  // namespace zsched::sim
