// What worker/executors/executor.h promises of every executor, and what shell.h promises besides.
#include "worker/executors/executor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "schemas/limits.h"
#include "tests/conformance/fake_task.h"
#include "worker/executors/live_groups.h"
#include "worker/executors/shell.h"

namespace zsched::worker {
namespace {

using Json = nlohmann::json;
using ::zsched::testing::FakeTask;

// Far more than anything here needs, far less than a hang.
constexpr int kPatienceMs = 20'000;

// A directory that goes with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/zsched-executor-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TemporaryDirectory() {
    std::string command = "rm -rf '" + path_ + "'";
    EXPECT_EQ(system(command.c_str()), 0);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Blocks until a writer has opened `fifo` and everything that has it open is gone; true when that came
// about. A process tree that inherits the writing end is over exactly then.
class FifoWatch {
 public:
  explicit FifoWatch(const std::string& path) : path_(path) {
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    fd_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT_GE(fd_, 0);
  }
  ~FifoWatch() { close(fd_); }
  // Until something was written.
  bool AwaitByte() {
    pollfd fd{fd_, POLLIN, 0};
    char byte;
    return poll(&fd, 1, kPatienceMs) == 1 && read(fd_, &byte, 1) == 1;
  }
  // Until nobody has it open for writing any more.
  bool AwaitEnd() {
    pollfd fd{fd_, POLLIN, 0};
    char bytes[64];
    while (poll(&fd, 1, kPatienceMs) == 1) {
      ssize_t got = read(fd_, bytes, sizeof(bytes));
      if (got == 0) return true;
      if (got < 0 && errno != EAGAIN) return false;
    }
    return false;
  }

 private:
  std::string path_;
  int fd_;
};

ExecutorOptions Quick() {
  ExecutorOptions options;
  options.grace_ms = 200;
  return options;
}

// --- Every executor --------------------------------------------------------------------------------

struct Kind {
  std::string name;
  std::vector<std::string> bad_payloads;
  std::string endless_payload;  // an attempt that does not end by itself
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class ExecutorConformance : public ::testing::TestWithParam<Kind> {
 protected:
  ExecutorConformance() : executor(*MakeExecutor(GetParam().name, Quick())) {}
  std::unique_ptr<Executor> executor;
};

TEST_P(ExecutorConformance, IsKnownByItsName) {
  EXPECT_EQ(executor->type(), GetParam().name);
  auto names = ExecutorNames();
  EXPECT_NE(std::find(names.begin(), names.end(), GetParam().name), names.end());
}

TEST_P(ExecutorConformance, RefusesABadPayloadWithoutRetry) {
  for (const std::string& payload : GetParam().bad_payloads) {
    FakeTask task(GetParam().name, payload);
    TaskResult result = executor->Run(task);
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kInvalidArgument) << payload.substr(0, 100);
    EXPECT_EQ(result.retry(), TaskResult::Retry::kNever) << payload.substr(0, 100);
  }
}

TEST_P(ExecutorConformance, EndsWhenCancelled) {
  FakeTask task(GetParam().name, GetParam().endless_payload);
  std::thread canceller([&] { task.Cancel(); });
  TaskResult result = executor->Run(task);
  canceller.join();
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kCancelled);
}

TEST_P(ExecutorConformance, RunsManyAtOnce) {
  std::vector<std::unique_ptr<FakeTask>> tasks;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    tasks.push_back(std::make_unique<FakeTask>(GetParam().name, GetParam().endless_payload));
  for (auto& task : tasks) threads.emplace_back([&] { EXPECT_FALSE(executor->Run(*task).ok()); });
  for (auto& task : tasks) task->Cancel();
  for (std::thread& thread : threads) thread.join();
}

Kind ShellKind() {
  auto with_nul = [](std::string text) { return text.replace(text.find('@'), 1, "\\u0000"); };
  Kind kind;
  kind.name = "shell";
  kind.bad_payloads = {"",
                       "not json",
                       "[]",
                       "{}",
                       R"({"argv":"true"})",
                       R"({"argv":[]})",
                       R"({"argv":[""]})",
                       R"({"argv":["echo",1]})",
                       R"({"argv":["true"],"shell":true})",
                       R"({"argv":["true"],"env":[]})",
                       R"({"argv":["true"],"env":{"A":1}})",
                       R"({"argv":["true"],"env":{"":"x"}})",
                       R"({"argv":["true"],"env":{"A=B":"x"}})",
                       R"({"argv":["true"],"cwd":7})",
                       R"({"argv":["true"],"cwd":"relative"})",
                       R"({"argv":["true"],"stdin":["x"]})",
                       R"({"argv":["true"],"no_retry_exit_codes":2})",
                       R"({"argv":["true"],"no_retry_exit_codes":["2"]})",
                       R"({"argv":["true"],"no_retry_exit_codes":[0]})",
                       R"({"argv":["true"],"no_retry_exit_codes":[256]})",
                       R"({"argv":["true"],"no_retry_exit_codes":[-1]})",
                       "{\"argv\":[\"\xFF\"]}",
                       with_nul(R"({"argv":["a@b"]})"),
                       with_nul(R"({"argv":["true"],"env":{"A@":"x"}})"),
                       with_nul(R"({"argv":["true"],"env":{"A":"@"}})"),
                       with_nul(R"({"argv":["true"],"cwd":"/@"})"),
                       R"({"argv":["echo",")" + std::string(kMaxArgumentBytes + 1, 'x') + R"("]})",
                       Json{{"argv", std::vector<std::string>(kMaxArguments + 1, "x")}}.dump()};
  kind.endless_payload = R"({"argv":["sleep","1000"]})";
  return kind;
}

INSTANTIATE_TEST_SUITE_P(All, ExecutorConformance, ::testing::Values(ShellKind()),
                         [](const auto& param) { return param.param.name; });

TEST(MakeExecutorTest, NamesWhatThereIs) {
  for (const char* name : {"http", "python", "Shell", ""}) {
    auto executor = MakeExecutor(name, {});
    ASSERT_FALSE(executor.ok());
    EXPECT_EQ(CodeOf(executor.status()), ErrorCode::kInvalidArgument);
    EXPECT_EQ(MessageOf(executor.status()),
              "unknown executor '" + std::string(name) + "'; this version has: shell");
  }
}

// --- shell -----------------------------------------------------------------------------------------

class ShellTest : public ::testing::Test {
 protected:
  TaskResult Run(const Json& payload, ExecutorOptions options = Quick()) {
    FakeTask task("shell", payload.dump());
    return MakeShellExecutor(options)->Run(task);
  }
  TaskResult RunArgv(std::vector<std::string> argv) { return Run(Json{{"argv", argv}}); }
  // Requires success.
  Json Output(const Json& payload, ExecutorOptions options = Quick()) {
    TaskResult result = Run(payload, options);
    EXPECT_TRUE(result.ok()) << MessageOf(result.status());
    EXPECT_EQ(result.content_type(), "application/json");
    return result.ok() ? Json::parse(result.result()) : Json();
  }
  // Runs a script that only ends when cancelled, and cancels it once it has written to `begun`.
  TaskResult RunAndCancel(const std::string& script, FifoWatch* begun,
                          ExecutorOptions options = Quick()) {
    FakeTask task("shell", Json{{"argv", {"sh", "-c", script}}}.dump());
    TaskResult result = absl::OkStatus();
    std::thread runner([&] { result = MakeShellExecutor(options)->Run(task); });
    EXPECT_TRUE(begun->AwaitByte());
    task.Cancel();
    runner.join();
    return result;
  }

  TemporaryDirectory directory;
};

TEST_F(ShellTest, GivesExitCodeAndBothOutputs) {
  Json expected{{"exit_code", 0}, {"stdout", "out\n"}, {"stderr", "err\n"}};
  EXPECT_EQ(Output({{"argv", {"sh", "-c", "echo out; echo err >&2"}}}), expected);
}

TEST_F(ShellTest, PassesArgumentsAsTheyAre) {
  std::vector<std::string> argv = {"printf", "%s\n", "$HOME", "`id`", "$(id)", "a b",
                                   "*",      ";ls",  "\"'\\", "",     "ü\n"};
  EXPECT_EQ(Output({{"argv", argv}})["stdout"], "$HOME\n`id`\n$(id)\na b\n*\n;ls\n\"'\\\n\nü\n\n");
}

TEST_F(ShellTest, AFailedExitIsAFailedAttemptWithTheEndOfStderr) {
  TaskResult result = RunArgv({"sh", "-c", "seq 100000 >&2; echo last words >&2; exit 3"});
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kProcessFailed);
  EXPECT_EQ(result.retry(), TaskResult::Retry::kDefault);
  std::string message = MessageOf(result.status());
  EXPECT_EQ(message.rfind("exit code 3; stderr ends: ", 0), 0u) << message.substr(0, 100);
  EXPECT_NE(message.find("100000\nlast words\n"), std::string::npos);
  EXPECT_LE(message.size(), kMaxErrorMessageBytes);
}

TEST_F(ShellTest, ASignalIsAFailedAttempt) {
  TaskResult result = RunArgv({"sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kProcessFailed);
  EXPECT_EQ(MessageOf(result.status()), "killed by SIGSEGV");
}

TEST_F(ShellTest, WhatCannotBeRunFailsForGoodAndSaysWhy) {
  std::ofstream(directory / "text") << "no interpreter line";
  ASSERT_EQ(chmod((directory / "text").c_str(), 0755), 0);
  std::ofstream(directory / "plain") << "not executable";
  struct {
    Json payload;
    std::string words;
  } cases[] = {
      {{{"argv", {"no-such-program-here"}}}, "there is no program 'no-such-program-here' in PATH"},
      {{{"argv", {"/no/such/program"}}}, "No such file"},
      {{{"argv", {directory / "text"}}}, "neither a binary"},
      {{{"argv", {directory / "plain"}}}, "Permission denied"},
      {{{"argv", {directory.path()}}}, "Permission denied"},
      {{{"argv", {"true"}}, {"cwd", directory / "gone"}}, "cannot enter the directory"},
      {{{"argv", {"true"}}, {"env", {{"PATH", "/nowhere"}}}}, "in PATH (/nowhere)"},
  };
  for (const auto& one : cases) {
    TaskResult result = Run(one.payload);
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kProcessFailed);
    EXPECT_EQ(result.retry(), TaskResult::Retry::kNever) << one.words;
    EXPECT_NE(MessageOf(result.status()).find(one.words), std::string::npos)
        << MessageOf(result.status());
  }
}

TEST_F(ShellTest, GivesACleanEnvironment) {
  ASSERT_EQ(setenv("ZSCHED_TEST_SECRET", "hunter2", 1), 0);
  ASSERT_EQ(setenv("LC_TEST", "inherited", 1), 0);
  Json output = Output({{"argv", {"env"}}, {"env", {{"MINE", "a=b"}, {"ZSCHED_ATTEMPT", "77"}}}});
  std::istringstream lines(output["stdout"].get<std::string>());
  std::map<std::string, std::string> seen;
  for (std::string line; std::getline(lines, line);)
    seen[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
  EXPECT_EQ(seen["MINE"], "a=b");
  EXPECT_EQ(seen["ZSCHED_TASK_ID"], "4-17");
  EXPECT_EQ(seen["ZSCHED_ATTEMPT"], "2") << "ours are not for the payload to change";
  EXPECT_EQ(seen["ZSCHED_LEASE_ID"], "4-99");
  EXPECT_EQ(seen["LC_TEST"], "inherited");
  EXPECT_FALSE(seen["PATH"].empty());
  EXPECT_FALSE(seen.contains("ZSCHED_TEST_SECRET"));
}

TEST_F(ShellTest, IsToldOfItsParentAndGivenWhatThatLeft) {
  const Json command = {{"argv", {"sh", "-c", "echo $ZSCHED_PARENT_ID $ZSCHED_PARENT_STATE; cat"}},
                        {"stdin_from", "parent"}};
  const std::string large(300'000, 'r');
  struct Case {
    ParentTask parent;
    std::string stdout_text;
  };
  const TaskId id = MakeId<TaskId>(Epoch(4), 3);
  for (const Case& one :
       {Case{{.id = id, .state = "succeeded", .passed = true, .result = "forty-two"},
             "4-3 succeeded\nforty-two"},
        Case{{.id = id, .state = "succeeded", .passed = true}, "4-3 succeeded\n"},
        Case{{.id = id,
        .state = "dead",
        .passed = true,
        .error = ErrorCode::kHandlerFailed,
        .error_message = "no luck"},
             "4-3 dead\nno luck"}}) {
    FakeTask task("shell", command.dump());
    task.Follow(one.parent);
    TaskResult result = MakeShellExecutor(Quick())->Run(task);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(Json::parse(result.result())["stdout"], one.stdout_text);
  }
  FakeTask counts("shell", Json{{"argv", {"wc", "-c"}}, {"stdin_from", "parent"}}.dump());
  counts.Follow({.id = id, .state = "succeeded", .passed = true, .result = large});
  EXPECT_EQ(Json::parse(MakeShellExecutor(Quick())->Run(counts).result())["stdout"], "300000\n");
}

TEST_F(ShellTest, WithoutAParentThereIsNothingToBeGiven) {
  const std::string payload = Json{{"argv", {"cat"}}, {"stdin_from", "parent"}}.dump();
  FakeTask alone("shell", payload), untold("shell", payload);
  untold.Follow({.id = MakeId<TaskId>(Epoch(4), 3), .state = "succeeded"});
  for (FakeTask* task : {&alone, &untold}) {
    TaskResult result = MakeShellExecutor(Quick())->Run(*task);
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kInvalidArgument);
    EXPECT_EQ(result.retry(), TaskResult::Retry::kNever);
  }
}

TEST_F(ShellTest, RunsInTheDirectoryGiven) {
  Json output = Output({{"argv", {"pwd"}}, {"cwd", directory.path()}});
  EXPECT_EQ(output["stdout"], directory.path() + "\n");
}

TEST_F(ShellTest, SeesNoDescriptorOfTheWorker) {
  int leaked = open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  int high = fcntl(leaked, F_DUPFD, 500);
  ASSERT_GE(high, 500);
  // ls itself opens the directory: one more than the three.
  Json output = Output({{"argv", {"ls", "/proc/self/fd"}}});
  EXPECT_EQ(output["stdout"], "0\n1\n2\n3\n");
  close(leaked);
  close(high);
}

TEST_F(ShellTest, ResetsSignalsOfTheWorker) {
  signal(SIGPIPE, SIG_IGN);
  sigset_t block, before;
  sigfillset(&block);
  pthread_sigmask(SIG_SETMASK, &block, &before);
  Json output = Output({{"argv", {"grep", "^Sig[BI]", "/proc/self/status"}}});
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  signal(SIGPIPE, SIG_DFL);
  EXPECT_EQ(output["stdout"], "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(ShellTest, IsAProcessGroupOfItsOwn) {
  Json output =
      Output({{"argv", {"sh", "-c", "test $(cut -d' ' -f5 /proc/$$/stat) -eq $$ && echo own"}}});
  EXPECT_EQ(output["stdout"], "own\n");
}

TEST_F(ShellTest, FeedsAndReadsMuchAtOnceWithoutDeadlock) {
  std::string text;
  while (text.size() < 900'000)
    text += "a line of some length, number " + std::to_string(text.size()) + "\n";
  ExecutorOptions options = Quick();
  options.max_output_bytes = 1 << 20;
  Json output = Output({{"argv", {"cat"}}, {"stdin", text}}, options);
  EXPECT_EQ(output["stdout"], text);
}

TEST_F(ShellTest, ReadsBothStreamsInTurn) {
  // Each alone is more than a pipe holds: reading one to its end first would hang.
  const char* script =
      "for i in 1 2 3 4; do head -c 100000 /dev/zero | tr '\\0' o; head -c 100000 /dev/zero | tr "
      "'\\0' e >&2; done";
  ExecutorOptions options = Quick();
  options.max_output_bytes = 400'000;
  Json output = Output({{"argv", {"sh", "-c", script}}}, options);
  EXPECT_EQ(output["stdout"].get<std::string>(), std::string(400'000, 'o'));
  EXPECT_EQ(output["stderr"].get<std::string>(), std::string(400'000, 'e'));
  EXPECT_FALSE(output.contains("stdout_truncated"));
}

// As it comes, all of it, whatever the result keeps.
TEST_F(ShellTest, WhatAProgramWritesIsTheOutputOfItsAttempt) {
  ExecutorOptions options = Quick();
  options.max_output_bytes = 10;
  FakeTask task("shell",
                Json({{"argv", {"sh", "-c", "seq 1 5000; echo problem >&2; exit 3"}}}).dump());
  EXPECT_FALSE(MakeShellExecutor(options)->Run(task).ok());
  std::string expected;
  for (int i = 1; i <= 5000; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(task.written(OutputStream::kStdout), expected);
  EXPECT_EQ(task.written(OutputStream::kStderr), "problem\n");
  EXPECT_EQ(task.written(OutputStream::kLog), "");
}

TEST_F(ShellTest, AProgramNeedNotReadItsInput) {
  EXPECT_EQ(Output({{"argv", {"true"}}, {"stdin", std::string(900'000, 'x')}})["exit_code"], 0);
}

TEST_F(ShellTest, WithoutInputStdinIsEmpty) {
  EXPECT_EQ(Output({{"argv", {"wc", "-c"}}})["stdout"], "0\n");
}

TEST_F(ShellTest, KeepsABoundedStartOfTheOutputAndSaysSo) {
  ExecutorOptions options = Quick();
  options.max_output_bytes = 1000;
  Json output = Output(
      {{"argv", {"sh", "-c", "head -c 50000000 /dev/zero | tr '\\0' x; echo >&2"}}}, options);
  EXPECT_EQ(output["stdout"], std::string(1000, 'x'));
  EXPECT_EQ(output["stdout_truncated"], true);
  EXPECT_FALSE(output.contains("stderr_truncated"));
}

TEST_F(ShellTest, CutsTextBetweenCharacters) {
  ExecutorOptions options = Quick();
  options.max_output_bytes = 10;
  EXPECT_EQ(Output({{"argv", {"printf", "123456789€"}}}, options)["stdout"], "123456789");
}

TEST_F(ShellTest, OtherBytesAreBase64) {
  Json output = Output({{"argv", {"printf", "\\377\\000a"}}});
  EXPECT_EQ(output["stdout"], Json({{"base64", "/wBh"}}));
  EXPECT_EQ(output["stderr"], "");
}

TEST_F(ShellTest, AResultFullOfEscapesStillFits) {
  TaskResult result =
      RunArgv({"sh", "-c",
               "head -c 300000 /dev/zero | tr '\\0' '\\001'; head -c 300000 /dev/zero "
               "| tr '\\0' '\\001' >&2"});
  ASSERT_TRUE(result.ok());
  EXPECT_LE(result.result().size(), kMaxResultBytes);
  EXPECT_EQ(Json::parse(result.result())["stdout_truncated"], true);
}

TEST_F(ShellTest, ATimeoutEndsTheWholeTree) {
  FifoWatch begun(directory / "begun"), alive(directory / "alive");
  // The leader, a child and a grandchild hold `alive`; all of them ignore SIGTERM.
  std::string script = "exec 9>" + (directory / "alive") + "; trap '' TERM; " +
                       "sh -c 'sh -c \"sleep 1000; sleep 1000\" & sleep 1000; sleep 1000' & " +
                       "echo x > " + (directory / "begun") + "; while true; do sleep 1000; done";
  TaskResult result = RunAndCancel(script, &begun);
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kCancelled);
  EXPECT_TRUE(alive.AwaitEnd());
}

TEST_F(ShellTest, SigtermComesFirst) {
  FifoWatch begun(directory / "begun");
  std::string script = "trap 'echo ended > " + (directory / "note") + "; exit 0' TERM; echo x > " +
                       (directory / "begun") + "; while true; do sleep 0.01; done";
  TaskResult result = RunAndCancel(script, &begun, ExecutorOptions{});
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kCancelled);
  std::string note;
  std::ifstream(directory / "note") >> note;
  EXPECT_EQ(note, "ended");
}

TEST_F(ShellTest, AStoppedProcessIsEndedToo) {
  FifoWatch begun(directory / "begun");
  TaskResult result = RunAndCancel("echo x > " + (directory / "begun") + "; kill -STOP $$", &begun);
  EXPECT_EQ(CodeOf(result.status()), ErrorCode::kCancelled);
}

TEST_F(ShellTest, WhatTheLeaderLeavesBehindIsEndedWithIt) {
  FifoWatch alive(directory / "alive");
  // The child holds stdout and the fifo; without the kill, the attempt would wait for it.
  Json output = Output(
      {{"argv", {"sh", "-c", "exec 9>" + (directory / "alive") + "; sleep 1000 & echo done"}}});
  EXPECT_EQ(output["stdout"], "done\n");
  EXPECT_TRUE(alive.AwaitEnd());
}

TEST_F(ShellTest, AnEscapedDescendantDoesNotHangTheAttempt) {
  auto before = std::chrono::steady_clock::now();
  // Field 6 of stat is the session: it has escaped once that is its own.
  const char* script =
      "setsid sleep 1000 & echo $!; "
      "while test $(cut -d' ' -f6 /proc/$!/stat) -ne $!; do :; done";
  Json output = Output({{"argv", {"sh", "-c", script}}});
  auto took = std::chrono::steady_clock::now() - before;
  EXPECT_LT(took, std::chrono::milliseconds(kPatienceMs));
  pid_t escaped = std::stoi(output["stdout"].get<std::string>());
  ASSERT_GT(escaped, 1);
  EXPECT_EQ(kill(escaped, SIGKILL), 0) << "documented: it outlives the attempt";
}

TEST_F(ShellTest, ExitCodesThatAreNamedAreNotTriedAgain) {
  auto retry_after = [](const std::string& script) {
    FakeTask task("shell",
                  Json{{"argv", {"sh", "-c", script}}, {"no_retry_exit_codes", {2, 255}}}.dump());
    return MakeShellExecutor(Quick())->Run(task);
  };
  for (const char* script : {"exit 2", "exit 255"}) {
    TaskResult result = retry_after(script);
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kProcessFailed);
    EXPECT_EQ(result.retry(), TaskResult::Retry::kNever) << script;
  }
  // Another code, a signal of the same number, and a success.
  for (const char* script : {"exit 1", "kill -2 $$", "exit 0"})
    EXPECT_EQ(retry_after(script).retry(), TaskResult::Retry::kDefault) << script;
}

TEST_F(ShellTest, TheChildGoesWithItsWorker) {
  FifoWatch begun(directory / "begun"), alive(directory / "alive");
  std::string payload = Json{{"argv",
                              {"sh", "-c",
                               "exec 9>" + (directory / "alive") + "; echo x > " +
                                   (directory / "begun") + "; exec sleep 1000"}}}
                            .dump();
  pid_t worker = fork();
  if (worker == 0) {
    FakeTask task("shell", payload);
    static_cast<void>(MakeShellExecutor(Quick())->Run(task));
    _exit(0);
  }
  ASSERT_TRUE(begun.AwaitByte());
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  ASSERT_EQ(waitpid(worker, nullptr, 0), worker);
  EXPECT_TRUE(alive.AwaitEnd());
}

TEST_F(ShellTest, EndingAtOnceTakesAllGroupsAlong) {
  FifoWatch begun(directory / "begun"), alive(directory / "alive");
  std::string payload = Json{
      {"argv",
       {"sh", "-c",
        "exec 9>" + (directory / "alive") + "; sleep 1000 & echo x > " + (directory / "begun") +
            "; wait"}}}.dump();
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  // A process of its own: none can be started in one that has been told to end.
  pid_t worker = fork();
  if (worker == 0) {
    FakeTask task("shell", payload), late("shell", R"({"argv":["true"]})");
    TaskResult result = absl::OkStatus();
    std::thread runner([&] { result = MakeShellExecutor(Quick())->Run(task); });
    char byte;
    if (read(pipe_fds[0], &byte, 1) != 1) _exit(3);
    KillAllProcessGroups();
    runner.join();
    TaskResult refused = MakeShellExecutor(Quick())->Run(late);
    bool as_told = MessageOf(result.status()) == "killed by SIGKILL" &&
                   MessageOf(refused.status()) == "the worker ends at once" &&
                   refused.retry() != TaskResult::Retry::kNever;
    _exit(as_told ? 0 : 1);
  }
  EXPECT_TRUE(begun.AwaitByte());
  EXPECT_EQ(write(pipe_fds[1], "x", 1), 1);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  int status = -1;
  EXPECT_EQ(waitpid(worker, &status, 0), worker);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(alive.AwaitEnd());
}

TEST_F(ShellTest, LeavesNoDescriptorAndNoZombieBehind) {
  auto descriptors = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
    return count;
  };
  int before = descriptors();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(RunArgv({"true"}).ok());
    EXPECT_FALSE(RunArgv({"/no/such/program"}).ok());
  }
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace zsched::worker
