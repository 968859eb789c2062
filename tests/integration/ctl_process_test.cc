// zsched-ctl as scripts see it: exit codes, forms of output, standard input, and where settings come from.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using harness::RunOptions;
using harness::WriteFile;
using nlohmann::json;

std::vector<std::string> Lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string Trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Ctl : public testing::Test {
 protected:
  Ctl() { cluster_.StartBroker(); }

  // Runs it and expects this exit code; what it wrote.
  CtlResult Run(int exit_code, const Args& args, const RunOptions& options = {}) {
    CtlResult result = cluster_.Ctl(args, options);
    std::string command;
    for (const std::string& arg : args) command += " " + arg;
    EXPECT_EQ(result.exit_code, exit_code) << "zsched-ctl" << command << "\n"
                                           << result.out << result.err;
    return result;
  }
  std::string SubmitId(Args args) {
    args.insert(args.begin(), {"-o", "id", "submit"});
    return Trimmed(Run(0, args).out);
  }
  json Get(const std::string& id) {
    return json::parse(Run(0, {"-o", "json", "task", "get", id}).out);
  }

  Cluster cluster_;
};

TEST_F(Ctl, ExitCodes) {
  cluster_.StartWorker("w");
  Run(0, {"submit", "--type", "noop", "--wait"});
  Run(1,
      {"submit", "--type", "fail", "--payload", R"({"times":9})", "--max-attempts", "1", "--wait"});
  std::string dead =
      SubmitId({"--type", "fail", "--payload", R"({"times":9})", "--max-attempts", "1"});
  Run(1, {"task", "wait", dead});
  for (const Args& usage : std::vector<Args>{{"submit"},
                                             {"submit", "--type", "noop", "--priority", "10"},
                                             {"submit", "--type", "noop", "--delay", "soon"},
                                             {"task", "get", "not-an-id"},
                                             {"task", "frobnicate"},
                                             {"-o", "yaml", "status"},
                                             {}})
    Run(2, usage);
  Run(3, {"task", "get", "1-999999"});
  Run(3, {"task", "wait", "1-999999"});
  Run(3, {"task", "retry", "1-999999"});
  Run(3, {"worker", "drain", "nobody"});
  std::string done = SubmitId({"--type", "noop"});
  Run(0, {"task", "wait", done});
  CtlResult conflict = Run(4, {"-o", "json", "task", "retry", done});
  EXPECT_EQ(json::parse(conflict.err)["error"]["code"], "CONFLICT");
  Run(5, {"--brokers", "127.0.0.1:9", "--connect-timeout", "300ms", "status"});
  std::string asleep = SubmitId({"--type", "noop", "--delay", "1h"});
  Run(124, {"task", "wait", asleep, "--timeout", "200ms"});
  Run(124, {"--brokers", "127.0.0.1:9", "cluster", "wait", "--timeout", "300ms"});
}

TEST_F(Ctl, ErrorsInJsonAreDocuments) {
  struct Case {
    Args args;
    int exit_code;
    std::string code;
    bool retryable;
  };
  const Case cases[] = {
      {{"-o", "json", "task", "get", "1-999999"}, 3, "NOT_FOUND", false},
      {{"-o", "json", "submit", "--no-such-flag"}, 2, "INVALID_ARGUMENT", false},
      {{"-o", "jsonl", "--brokers", "127.0.0.1:9", "--connect-timeout", "200ms", "status"},
       5,
       "UNAVAILABLE",
       true},
  };
  for (const Case& c : cases) {
    CtlResult result = Run(c.exit_code, c.args);
    json error = json::parse(result.err, nullptr, false);
    ASSERT_FALSE(error.is_discarded()) << result.err;
    EXPECT_EQ(error["error"]["code"], c.code);
    EXPECT_EQ(error["error"]["retryable"], c.retryable);
    EXPECT_FALSE(error["error"]["message"].get<std::string>().empty());
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(Ctl, FormsOfOutput) {
  cluster_.StartWorker("w");
  json ids =
      json::parse(Run(0, {"-o", "json", "submit", "--type", "noop", "--count", "3"}).out)["ids"];
  ASSERT_EQ(ids.size(), 3u);
  std::vector<std::string> bare =
      Lines(Run(0, {"-o", "id", "submit", "--type", "noop", "--count", "2"}).out);
  EXPECT_EQ(bare.size(), 2u);
  for (const std::string& id : bare) EXPECT_TRUE(ParseId<TaskId>(id)) << id;

  json waited = json::parse(Run(0, {"-o", "json", "submit", "--type", "echo", "--payload", "hello",
                                    "--label", "team=blue", "--wait"})
                                .out);
  json task = waited["tasks"][0];
  for (const char* field :
       {"id", "queue", "type", "state", "priority", "attempt", "max_attempts", "submitted_at",
        "started_at", "finished_at", "worker", "payload", "result", "error", "labels"})
    EXPECT_TRUE(task.contains(field)) << field;
  EXPECT_EQ(task["state"], "succeeded");
  EXPECT_EQ(task["result"], "hello");
  EXPECT_EQ(task["worker"], "w");
  EXPECT_EQ(task["labels"]["team"], "blue");
  EXPECT_EQ(task["error"], nullptr);
  EXPECT_EQ(Get(task["id"]), task);

  std::vector<std::string> lines =
      Lines(Run(0, {"-o", "jsonl", "submit", "--type", "noop", "--count", "5", "--wait"}).out);
  ASSERT_EQ(lines.size(), 5u);
  for (const std::string& line : lines) EXPECT_EQ(json::parse(line)["state"], "succeeded");

  std::string table = Run(0, {"task", "list", "--label", "team=blue"}).out;
  EXPECT_NE(table.find(task["id"].get<std::string>()), std::string::npos) << table;
  EXPECT_EQ(table.find('\x1b'), std::string::npos) << "colours in a pipe";
  EXPECT_EQ(Lines(Run(0, {"-o", "id", "task", "list", "--label", "team=blue"}).out),
            std::vector<std::string>{task["id"]});
  json page =
      json::parse(Run(0, {"-o", "json", "task", "list", "--type", "noop", "--limit", "4"}).out);
  EXPECT_EQ(page["tasks"].size(), 4u);
  json rest = json::parse(Run(0, {"-o", "json", "task", "list", "--type", "noop", "--limit", "0",
                                  "--cursor", page["cursor"]})
                              .out);
  EXPECT_EQ(rest["tasks"].size(), 6u);
  EXPECT_EQ(rest["cursor"], nullptr);
}

TEST_F(Ctl, BytesThatAreNotTextAreBase64) {
  cluster_.StartWorker("w");
  json task =
      json::parse(Run(0, {"-o", "jsonl", "submit", "--type", "echo", "--payload", "-", "--wait"},
                      {.standard_input = std::string("\xFF\x00\x01", 3)})
                      .out);
  EXPECT_EQ(task["payload"], (json{{"base64", "/wAB"}}));
  EXPECT_EQ(task["result"], (json{{"base64", "/wAB"}}));
}

TEST_F(Ctl, PayloadsFromStandardInputAndFiles) {
  cluster_.StartWorker("w", {"--enable", "shell"});
  RunOptions text{.standard_input = "from stdin\n"};
  json task = json::parse(
      Run(0, {"-o", "jsonl", "submit", "--type", "echo", "--payload", "-", "--wait"}, text).out);
  EXPECT_EQ(task["result"], "from stdin\n");
  WriteFile(cluster_.dir() + "/payload", "from a file");
  task = json::parse(Run(0, {"-o", "jsonl", "submit", "--type", "echo", "--payload",
                             "@" + cluster_.dir() + "/payload", "--wait"})
                         .out);
  EXPECT_EQ(task["result"], "from a file");
  Run(2, {"submit", "--type", "echo", "--payload", "@" + cluster_.dir() + "/missing"});

  // One task a line, from standard input and from a file; empty lines make none.
  RunOptions three{.standard_input = "one\n\ntwo\nthree"};
  std::vector<std::string> payloads;
  for (const std::string& line : Lines(
           Run(0, {"-o", "jsonl", "submit", "--type", "echo", "--each-line", "-", "--wait"}, three)
               .out))
    payloads.push_back(json::parse(line)["result"]);
  std::sort(payloads.begin(), payloads.end());
  EXPECT_EQ(payloads, (std::vector<std::string>{"one", "three", "two"}));
  WriteFile(cluster_.dir() + "/lines", "a b\n$HOME\n");
  std::vector<std::string> outputs;
  for (const std::string& line :
       Lines(Run(0, {"-o", "jsonl", "submit", "--each-line", cluster_.dir() + "/lines", "--wait",
                     "--", "echo", "<{}>", "{}"})
                 .out))
    outputs.push_back(json::parse(json::parse(line)["result"].get<std::string>())["stdout"]);
  std::sort(outputs.begin(), outputs.end());
  EXPECT_EQ(outputs, (std::vector<std::string>{"<$HOME> $HOME\n", "<a b> a b\n"}));
}

TEST_F(Ctl, ADeadTaskIsRetriedAndSucceeds) {
  cluster_.StartWorker("w");
  std::string id = SubmitId(
      {"--type", "fail", "--payload", R"({"times":2,"message":"not yet"})", "--max-attempts", "2"});
  Run(1, {"task", "wait", id});
  json dead = Get(id);
  EXPECT_EQ(dead["state"], "dead");
  EXPECT_EQ(dead["attempt"], 2);
  EXPECT_EQ(dead["error"]["code"], "HANDLER_FAILED");
  EXPECT_EQ(dead["error"]["message"], "not yet");
  EXPECT_EQ(Lines(Run(0, {"-o", "id", "task", "list", "--state", "dead"}).out),
            std::vector<std::string>{id});
  Run(0, {"task", "retry", id});
  Run(0, {"task", "wait", id});
  EXPECT_EQ(Get(id)["state"], "succeeded");
  EXPECT_EQ(Get(id)["attempt"], 3);
}

TEST_F(Ctl, AKeyNamesOneTask) {
  const Args args = {"-o",        "json", "submit", "--type",  "echo",
                     "--payload", "17",   "--key",  "order-17"};
  const json first = json::parse(Run(0, args).out);
  EXPECT_EQ(first["repeated"], 0);
  json again = json::parse(Run(0, args).out);
  EXPECT_EQ(again["ids"], first["ids"]);
  EXPECT_EQ(again["repeated"], 1);
  const std::string id = first["ids"][0];
  EXPECT_EQ(Get(id)["key"], "order-17");
  const std::string error =
      Run(4, {"submit", "--type", "echo", "--payload", "18", "--key", "order-17"}).err;
  EXPECT_NE(error.find("'order-17' belongs to task " + id), std::string::npos) << error;
  EXPECT_EQ(Run(0, {"submit", "--type", "echo", "--payload", "17", "--key", "order-17"}).out,
            "task " + id + " was submitted before with this key\n");
  Run(2, {"submit", "--type", "noop", "--key", "k", "--count", "2"});

  // The outcome is that of the first, also for one that waits for it, and after a restart.
  cluster_.StartWorker("w");
  Args wait = args;
  wait.push_back("--wait");
  EXPECT_EQ(json::parse(Run(0, wait).out)["tasks"][0]["result"], "17");
  cluster_.KillBroker();
  cluster_.StartBroker();
  EXPECT_EQ(json::parse(Run(0, wait).out)["tasks"][0]["id"], id);
}

TEST_F(Ctl, AQueueIsDrained) {
  Run(0, {"submit", "--type", "noop", "--queue", "old", "--count", "3"});
  EXPECT_EQ(Run(124, {"queue", "drain", "old", "--wait", "--timeout", "300ms"}).out, "");
  EXPECT_NE(Run(0, {"queue", "list"}).out.find("old    draining"), std::string::npos);
  const std::string error = Run(7, {"submit", "--type", "noop", "--queue", "old"}).err;
  EXPECT_NE(error.find("queue 'old' is draining"), std::string::npos) << error;
  cluster_.StartWorker("w");
  const json queue = json::parse(Run(0, {"-o", "json", "queue", "drain", "old", "--wait"}).out);
  EXPECT_EQ(queue["counts"]["succeeded"], 3);
  EXPECT_EQ(queue["draining"], true);
  EXPECT_NE(Run(0, {"queue", "show", "old"}).out.find("drained"), std::string::npos);
  Run(0, {"queue", "resume", "old"});
  Run(0, {"submit", "--type", "noop", "--queue", "old", "--wait"});
}

TEST_F(Ctl, QueuesArePausedAndRuled) {
  json queue = json::parse(
      Run(0, {"-o", "json", "queue", "set", "mail", "rate=90/m", "burst=2", "timeout=5s"}).out);
  EXPECT_EQ(queue["name"], "mail");
  EXPECT_EQ(queue["rate_per_second"], 1.5);
  EXPECT_EQ(queue["burst"], 2);
  EXPECT_EQ(queue["max_running"], nullptr);
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "queue", "pause", "mail"}).out)["gate"], "paused");
  cluster_.StartWorker("w");
  Run(0, {"submit", "--type", "noop", "--queue", "mail", "--count", "3"});
  const std::string list = Run(0, {"queue", "list"}).out;
  EXPECT_NE(list.find("mail   paused"), std::string::npos) << list;
  EXPECT_NE(list.find("rate=1.5/s burst=2 timeout=5s"), std::string::npos) << list;
  Run(0, {"queue", "set", "mail", "rate=none"});
  Run(0, {"queue", "resume", "mail"});
  EXPECT_TRUE(harness::Await([&] {
    json shown = json::parse(Run(0, {"-o", "json", "queue", "show", "mail"}).out);
    return shown["counts"]["succeeded"] == 3 && shown["rate_per_second"].is_null();
  }));

  Run(3, {"queue", "show", "nothing"});
  Run(2, {"queue", "set", "mail", "speed=3"});
  const std::string error = Run(2, {"queue", "set", "mail", "timeout=never"}).err;
  EXPECT_NE(error.find("timeout: 'never' is not a duration"), std::string::npos) << error;
}

// Of what workers hold: each test task runs for as long as the test wants.
TEST_F(Ctl, TypesAndConcurrencyKeysAreBoundAlsoAfterAKill) {
  Run(0, {"queue", "set", "mail", "key-max-running=1", "ageing=10m"});
  json type = json::parse(
      Run(0, {"-o", "json", "type", "set", "shell", "max-running=2", "rate=100/s"}).out);
  EXPECT_EQ(type["name"], "shell");
  EXPECT_EQ(type["max_running"], 2);
  EXPECT_EQ(type["rate_per_second"], 100);
  cluster_.KillBroker();
  cluster_.StartBroker();
  cluster_.StartWorker("w", {"--concurrency", "8", "--enable", "shell"});
  const std::string release = cluster_.dir() + "/release";
  const std::string script = "while ! [ -e '" + release + "' ]; do sleep 0.02; done";
  for (const char* key : {"a", "a", "b", "c"})
    Run(0, {"submit", "--queue", "mail", "--concurrency-key", key, "--fairness-key", "x",
            "--correlation-id", "run-1", "--", "sh", "-c", script});
  auto leased = [&] {
    return json::parse(Run(0, {"-o", "json", "task", "list", "--state", "leased"}).out)["tasks"];
  };
  ASSERT_TRUE(Await([&] { return leased().size() == 2; }));
  std::set<std::string> keys;
  for (const json& task : leased()) {
    keys.insert(task["concurrency_key"]);
    EXPECT_EQ(task["fairness_key"], "x");
    EXPECT_EQ(task["correlation_id"], "run-1");
  }
  EXPECT_EQ(keys.size(), 2u) << "two tasks of one key run";
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "type", "show", "shell"}).out)["gate"], "full");
  const std::string list = Run(0, {"type", "list"}).out;
  EXPECT_NE(list.find("at max-running"), std::string::npos) << list;
  EXPECT_NE(list.find("max-running=2 rate=100/s"), std::string::npos) << list;
  WriteFile(release, "");
  EXPECT_TRUE(Await([&] {
    return json::parse(
               Run(0, {"-o", "json", "queue", "show", "mail"}).out)["counts"]["succeeded"] == 4;
  }));
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "queue", "show", "mail"}).out)["key_max_running"], 1);

  Run(3, {"type", "show", "nothing"});
  Run(2, {"type", "set", "shell", "weight=3"});
  const std::string error = Run(2, {"submit", "--type", "noop", "--traceparent", "00-1-2-3"}).err;
  EXPECT_NE(error.find("traceparent"), std::string::npos) << error;
}

TEST_F(Ctl, AnErrorThatATypeDoesNotRetryEndsATaskAtOnceAlsoAfterAKill) {
  auto set = [&](const std::string& rule) {
    return json::parse(Run(0, {"-o", "json", "type", "set", "fail", rule}).out)["no_retry"];
  };
  auto submit = [&](int exit_code, const std::string& type, const std::string& payload) -> json {
    return json::parse(
        Run(exit_code, {"-o", "json", "submit", "--wait", "--type", type, "--payload", payload})
            .out)["tasks"][0];
  };
  EXPECT_EQ(set("no-retry=WORKER_LOST,HANDLER_FAILED"), (json{"HANDLER_FAILED", "WORKER_LOST"}));
  const std::string list = Run(0, {"type", "list"}).out;
  EXPECT_NE(list.find("no-retry=HANDLER_FAILED,WORKER_LOST"), std::string::npos) << list;
  std::string error = Run(2, {"type", "set", "fail", "no-retry=DATA_LOSS,BAD_MAGIC"}).err;
  EXPECT_NE(error.find("no attempt ends with BAD_MAGIC"), std::string::npos) << error;
  error = Run(2, {"type", "set", "fail", "no-retry=NO_SUCH_CODE"}).err;
  EXPECT_NE(error.find("'NO_SUCH_CODE' is not a list of error codes"), std::string::npos) << error;
  cluster_.KillBroker();
  cluster_.StartBroker();
  cluster_.StartWorker("w", {"--enable", "shell"});
  const std::string fails_once = R"({"times":1})";
  json task = submit(1, "fail", fails_once);
  EXPECT_EQ(task["state"], "dead");
  EXPECT_EQ(task["attempt"], 1);
  EXPECT_EQ(task["error"]["code"], "HANDLER_FAILED");
  EXPECT_EQ(set("no-retry=none"), json::array());
  EXPECT_EQ(submit(0, "fail", fails_once)["attempt"], 2);

  // Of a program: by its exit code, whatever the rules are.
  task = submit(1, "shell", R"({"argv":["sh","-c","exit 64"],"no_retry_exit_codes":[2,64]})");
  EXPECT_EQ(task["state"], "dead");
  EXPECT_EQ(task["attempt"], 1);
}

TEST_F(Ctl, APurgedQueueHasNothingThatWaits) {
  Run(0, {"queue", "pause", "mail"});
  Run(0, {"submit", "--type", "noop", "--queue", "mail", "--count", "2500"});
  Run(0, {"submit", "--type", "noop", "--queue", "mail", "--delay", "1h"});
  const std::string other = SubmitId({"--type", "noop", "--queue", "other"});
  const std::string told = Run(2, {"queue", "purge", "mail"}).err;
  EXPECT_NE(told.find("would cancel the 2501 tasks"), std::string::npos) << told;
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "queue", "purge", "mail", "--yes"}).out)["cancelled"],
            2501);
  json queue = json::parse(Run(0, {"-o", "json", "queue", "show", "mail"}).out);
  EXPECT_EQ(queue["counts"]["cancelled"], 2501);
  EXPECT_EQ(queue["counts"]["ready"], 0);
  EXPECT_EQ(queue["counts"]["scheduled"], 0);
  EXPECT_EQ(Get(other)["state"], "ready");
  Run(3, {"queue", "purge", "nothing", "--yes"});
}

TEST_F(Ctl, ATaskThatRunsAtMostOnceIsNotRunAgainWhenItsWorkerIsKilled) {
  harness::Process& worker = cluster_.StartWorker("w", {"--enable", "shell"});
  const std::string runs = cluster_.dir() + "/runs";
  const std::string id =
      SubmitId({"--at-most-once", "--", "sh", "-c", "echo run >> '" + runs + "'; exec sleep 30"});
  // Not its file alone, which is there before the word is.
  ASSERT_TRUE(Await([&] { return harness::ReadFile(runs) == "run\n"; }));
  worker.Kill();
  cluster_.StartWorker("w2", {"--enable", "shell"});
  ASSERT_TRUE(Await([&] { return Get(id)["state"] == "dead"; }));
  json task = Get(id);
  EXPECT_EQ(task["delivery"], "at_most_once");
  EXPECT_EQ(task["error"]["code"], "WORKER_LOST");
  EXPECT_EQ(task["attempt"], 1);
  EXPECT_EQ(harness::ReadFile(runs), "run\n");
}

TEST_F(Ctl, WorkersAreListedAndDrained) {
  harness::Process& leaving = cluster_.StartWorker(
      "leaving",
      {"--concurrency", "3", "--queues", "a,b", "--label", "zone=x", "--enable", "shell"});
  cluster_.StartWorker("staying", {"--queues", "c"});
  json workers = json::parse(Run(0, {"-o", "json", "worker", "list"}).out)["workers"];
  ASSERT_EQ(workers.size(), 2u);
  json worker = workers[0]["name"] == "leaving" ? workers[0] : workers[1];
  EXPECT_EQ(worker["concurrency"], 3);
  EXPECT_EQ(worker["queues"], (json{"a", "b"}));
  EXPECT_EQ(worker["labels"]["zone"], "x");
  EXPECT_EQ(worker["pid"], leaving.pid());
  // It ends what it runs first.
  std::string began = cluster_.dir() + "/began", release = cluster_.dir() + "/release";
  std::string script =
      "touch '" + began + "'; while ! [ -e '" + release + "' ]; do sleep 0.02; done";
  std::string id = SubmitId({"--queue", "b", "--", "sh", "-c", script});
  ASSERT_TRUE(Await([&] { return access(began.c_str(), F_OK) == 0; }));
  Run(0, {"worker", "drain", worker["id"].get<std::string>().substr(0, 8)});
  ASSERT_TRUE(cluster_.AwaitLog("leaving", "draining"));
  EXPECT_TRUE(leaving.running());
  WriteFile(release, "");
  EXPECT_EQ(leaving.WaitExit(), 0);
  json task = Get(id);
  EXPECT_EQ(task["state"], "succeeded");
  EXPECT_EQ(task["worker"], "leaving");
  EXPECT_EQ(task["attempt"], 1);
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "worker", "list"}).out)["workers"].size(), 1u);
}

TEST_F(Ctl, ClusterAndStatus) {
  json status = json::parse(Run(0, {"-o", "json", "status"}).out);
  EXPECT_EQ(status["role"], "active_solo");
  EXPECT_EQ(status["peer"], nullptr);
  EXPECT_GT(status["epoch"].get<uint64_t>(), 0u);
  EXPECT_GT(status["lsn"].get<uint64_t>(), 0u);
  SubmitId({"--type", "noop", "--queue", "mail", "--count", "2"});
  SubmitId({"--type", "noop", "--queue", "mail", "--delay", "1h"});
  json queue = json::parse(Run(0, {"-o", "json", "status"}).out)["queues"][0];
  EXPECT_EQ(queue["name"], "mail");
  EXPECT_EQ(queue["counts"]["ready"], 2);
  EXPECT_EQ(queue["counts"]["scheduled"], 1);
  EXPECT_EQ(json::parse(Run(0, {"-o", "json", "cluster", "status"}).out)["brokers"][0]["role"],
            "active_solo");
  Run(0, {"cluster", "wait", "--timeout", "10s"});
  Run(124, {"cluster", "wait", "--role", "standby", "--timeout", "300ms"});
  // Also when the broker comes only later: asked for while it is down.
  cluster_.KillBroker();
  std::string out = cluster_.dir() + "/wait.out";
  harness::Process waiting({harness::ProgramPath("zsched-ctl"), "--brokers", cluster_.brokers(),
                            "-o", "json", "cluster", "wait"},
                           {.stdout_path = out});
  cluster_.StartBroker();
  EXPECT_EQ(waiting.WaitExit(), 0);
  EXPECT_EQ(json::parse(harness::ReadFile(out))["brokers"].size(), 1u);
}

// The settings of `config show`, by command and name: value and source.
std::map<std::string, std::pair<std::string, std::string>> Settings(const std::string& out) {
  std::map<std::string, std::pair<std::string, std::string>> settings;
  json document = json::parse(out);
  for (const json& entry : document["settings"]) {
    std::string command =
        entry["command"].is_null() ? "" : entry["command"].get<std::string>() + " ";
    settings[command + entry["name"].get<std::string>()] = {entry["value"], entry["source"]};
  }
  return settings;
}

TEST_F(Ctl, FlagBeatsEnvironmentBeatsFile) {
  std::string file = cluster_.dir() + "/zsched.conf";
  WriteFile(file, "queue = \"from-file\"\npriority = 7\nconnect-timeout = \"7s\"\n");
  RunOptions environment{
      .environment = {{"ZSCHED_QUEUE", "from-env"}, {"ZSCHED_CONNECT_TIMEOUT", "8s"}}};
  auto settings =
      Settings(Run(0, {"--config", file, "--connect-timeout", "9s", "-o", "json", "config", "show"},
                   environment)
                   .out);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(settings["connect-timeout"].first, "9s");
  EXPECT_EQ(settings["connect-timeout"].second, "flag");
  EXPECT_EQ(settings["submit queue"], (Pair{"from-env", "environment"}));
  EXPECT_EQ(settings["submit priority"], (Pair{"7", "file"}));
  EXPECT_EQ(settings["submit delay"].second, "default");
  EXPECT_EQ(settings["brokers"], (Pair{cluster_.brokers(), "environment"}));

  // And so it is when a task is submitted.
  auto submitted = [&](Args extra, const RunOptions& options) {
    Args args = {"--config", file, "-o", "id", "submit", "--type", "noop"};
    args.insert(args.end(), extra.begin(), extra.end());
    return Get(Trimmed(Run(0, args, options).out));
  };
  EXPECT_EQ(submitted({}, {})["queue"], "from-file");
  EXPECT_EQ(submitted({}, {})["priority"], 7);
  EXPECT_EQ(submitted({}, environment)["queue"], "from-env");
  EXPECT_EQ(submitted({"--queue", "from-flag"}, environment)["queue"], "from-flag");
  WriteFile(file, "no-such-setting = 1\n");
  CtlResult bad = Run(2, {"--config", file, "status"});
  EXPECT_NE(bad.err.find("no-such-setting"), std::string::npos) << bad.err;
}

// The broker and the worker take their settings the same way.
TEST(Configuration, ABrokerTakesItsFileAndItsEnvironment) {
  Cluster cluster;
  std::string file = cluster.dir() + "/broker.conf";
  WriteFile(file, "max-queue-tasks = 3\n");
  cluster.StartBroker({"--config", file});
  auto client = cluster.NewClient({.retry_exhausted = false});
  BatchAck ack = client->SubmitBatch(std::vector<TaskSpec>(5, TaskSpec{.type = "noop"})).get();
  EXPECT_EQ(ack.rejected.size(), 2u);
  cluster.StartWorker("w", {}, {{"ZSCHED_CONCURRENCY", "5"}, {"ZSCHED_QUEUES", "x,y"}});
  WorkerSummary worker = client->Workers()->front();
  EXPECT_EQ(worker.concurrency, 5u);
  EXPECT_EQ(worker.queues, (std::vector<std::string>{"x", "y"}));
}

// The main job in small: hash files as shell tasks, and compare with what sha256sum says itself.
TEST_F(Ctl, HashesFilesAsSha256sumDoes) {
  constexpr int kFiles = 100;
  std::string tree = cluster_.dir() + "/tree";
  ASSERT_EQ(mkdir(tree.c_str(), 0700), 0);
  std::string names;
  Args plain = {"/usr/bin/sha256sum"};
  for (int i = 0; i < kFiles; ++i) {
    std::string name =
        tree + "/a file 'no' " + std::to_string(i) + (i % 3 == 0 ? " $(x) {}" : " ünï;&");
    WriteFile(name, std::string(static_cast<size_t>(i) * 37, static_cast<char>('a' + i % 26)));
    names += name + "\n";
    plain.push_back(name);
  }
  cluster_.StartWorker("w1", {"--enable", "shell"});
  cluster_.StartWorker("w2", {"--enable", "shell"});
  CtlResult result =
      Run(0, {"submit", "--each-line", "-", "--wait", "-o", "jsonl", "--", "sha256sum", "{}"},
          {.standard_input = names});
  std::vector<std::string> hashed;
  for (const std::string& line : Lines(result.out)) {
    json task = json::parse(line);
    EXPECT_EQ(task["state"], "succeeded");
    json output = json::parse(task["result"].get<std::string>());
    EXPECT_EQ(output["exit_code"], 0);
    hashed.push_back(Trimmed(output["stdout"]));
  }
  std::vector<std::string> expected = Lines(cluster_.Run(plain).out);
  ASSERT_EQ(expected.size(), size_t{kFiles});
  std::sort(hashed.begin(), hashed.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(hashed, expected);
}

}  // namespace
}  // namespace zsched::integration
