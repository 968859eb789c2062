// The parts of zsched-ctl that need no broker: JSON, tables, input lines, progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "client/ctl/lines.h"
#include "client/ctl/progress.h"
#include "client/ctl/table.h"
#include "client/json/json.h"

namespace zsched::ctl {
using namespace std::string_literals;
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// --- JSON ------------------------------------------------------------------------------------------

TaskInfo FinishedTask() {
  TaskInfo task;
  task.id = MakeId<TaskId>(Epoch(4), 17);
  task.queue = "mail";
  task.type = "echo";
  task.state = TaskState::kSucceeded;
  task.priority = 9;
  task.attempt = 2;
  task.max_attempts = 25;
  task.submitted_at_ms = 1'795'248'000'000;
  task.started_at_ms = 1'795'248'000'001;
  task.finished_at_ms = 1'795'248'000'002;
  task.worker = "w1";
  task.payload = "h\"i";
  task.result = "ü";
  task.labels = {{"team", "blue"}};
  return task;
}

TEST(TaskJson, HasThePromisedFields) {
  json task = json::parse(TaskJson(FinishedTask()));
  EXPECT_EQ(task["id"], "4-17");
  EXPECT_EQ(task["queue"], "mail");
  EXPECT_EQ(task["type"], "echo");
  EXPECT_EQ(task["state"], "succeeded");
  EXPECT_EQ(task["priority"], 9);
  EXPECT_EQ(task["attempt"], 2);
  EXPECT_EQ(task["max_attempts"], 25);
  EXPECT_EQ(task["submitted_at"], "2026-11-21T08:00:00.000Z");
  EXPECT_EQ(task["started_at"], "2026-11-21T08:00:00.001Z");
  EXPECT_EQ(task["finished_at"], "2026-11-21T08:00:00.002Z");
  EXPECT_EQ(task["worker"], "w1");
  EXPECT_EQ(task["payload"], "h\"i");
  EXPECT_EQ(task["result"], "ü");
  EXPECT_TRUE(task["error"].is_null());
  EXPECT_EQ(task["labels"], json::parse(R"({"team":"blue"})"));
}

TEST(TaskJson, WhatIsNotThereIsNull) {
  TaskInfo task;
  task.id = TaskId(1);
  json parsed = json::parse(TaskJson(task));
  for (const char* field :
       {"submitted_at", "started_at", "finished_at", "worker", "result", "error"})
    EXPECT_TRUE(parsed.at(field).is_null()) << field;
  EXPECT_EQ(parsed["payload"], "");
  EXPECT_EQ(parsed["labels"], json::object());
}

TEST(TaskJson, CancellingIsThereOnlyWhileItIsTrue) {
  TaskInfo task = FinishedTask();
  EXPECT_FALSE(json::parse(TaskJson(task)).contains("cancelling"));
  task.cancelling = true;
  EXPECT_EQ(json::parse(TaskJson(task))["cancelling"], true);
}

TEST(TaskJson, FailuresHaveCodeAndMessage) {
  TaskInfo task = FinishedTask();
  task.state = TaskState::kDead;
  task.error = ErrorCode::kProcessFailed;
  task.error_message = "exit code 3";
  EXPECT_EQ(json::parse(TaskJson(task))["error"],
            json::parse(R"({"code":"PROCESS_FAILED","message":"exit code 3"})"));
}

TEST(TaskJson, BytesThatAreNotTextAreBase64) {
  TaskInfo task = FinishedTask();
  task.payload = "\xFF\x00"s + "a";
  task.result = "\x80";
  task.error = ErrorCode::kHandlerFailed;
  task.error_message = "bad \xFF";
  json parsed = json::parse(TaskJson(task));
  EXPECT_EQ(parsed["payload"], json::parse(R"({"base64":"/wBh"})"));
  EXPECT_EQ(parsed["result"], json::parse(R"({"base64":"gA=="})"));
  EXPECT_EQ(parsed["error"]["message"], "bad \xEF\xBF\xBD");
}

TEST(Json, Base64IsRfc4648) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (auto [plain, coded] : kVectors) EXPECT_EQ(Base64(plain), coded);
  EXPECT_EQ(Base64("\xFB\xFF\xFE"), "+//+");
}

TEST(Json, ErrorsHaveCodeMessageAndRetryable) {
  EXPECT_EQ(json::parse(ErrorJson(Error(ErrorCode::kUnavailable, "no \"broker\""))),
            json::parse(
                R"({"error":{"code":"UNAVAILABLE","message":"no \"broker\"","retryable":true}})"));
}

TEST(Json, StatusCountsEachStateOfEachQueue) {
  StatusInfo status;
  status.role = BrokerRole::kActiveSolo;
  status.epoch = Epoch(4);
  status.lsn = Lsn(99);
  status.queues = {{.name = "mail", .counts = {0, 3, 0, 0, 0, 7, 1, 0}, .bytes = 12}};
  status.brokers = {{.node = "primary",
                     .role = BrokerRole::kActiveSolo,
                     .address = ":1",
                     .worker_address = ":2",
                     .self = true}};
  json parsed = json::parse(StatusJson(status));
  EXPECT_EQ(parsed["role"], "active_solo");
  EXPECT_EQ(parsed["epoch"], 4);
  EXPECT_EQ(parsed["lsn"], 99);
  EXPECT_TRUE(parsed.at("peer").is_null());
  EXPECT_EQ(parsed["queues"][0]["name"], "mail");
  EXPECT_EQ(parsed["queues"][0]["counts"],
            json::parse(R"({"scheduled":0,"ready":3,"leased":0,"retry_wait":0,"blocked":0,)"
                        R"("succeeded":7,"dead":1,"cancelled":0})"));
}

TEST(Json, ShellPayloadsHoldAnyArgument) {
  EXPECT_EQ(ShellPayload({"sha256sum", "a \"b\""}), R"({"argv":["sha256sum","a \"b\""]})");
  EXPECT_EQ(ShellPayload({"cat", "\xFF"}), R"({"argv":["cat",{"base64":"/w=="}]})");
  EXPECT_EQ(ShellPayload({"x"}), R"({"argv":["x"]})");
}

// --- Lines -----------------------------------------------------------------------------------------

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_), 0); }
  ~Pipe() {
    close(ends_[0]);
    Close();
  }
  int reader() const { return ends_[0]; }
  void Write(std::string_view text) {
    EXPECT_EQ(write(ends_[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void Close() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }

 private:
  int ends_[2];
};

std::vector<std::string> AllLines(std::string_view text, absl::Status* status = nullptr,
                                  size_t limit = 100) {
  Pipe input;
  input.Write(text);
  input.Close();
  LineReader reader(input.reader(), limit);
  std::vector<std::string> lines;
  std::string_view line;
  for (LineReader::Got got; (got = reader.Next(&line)) != LineReader::Got::kEnd;)
    if (got == LineReader::Got::kLine) lines.emplace_back(line);
  if (status != nullptr) *status = reader.status();
  return lines;
}

TEST(LineReader, SplitsAtNewlinesOnly) {
  EXPECT_THAT(AllLines("a\nb\n"), ElementsAre("a", "b"));
  EXPECT_THAT(AllLines("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(AllLines(""), ElementsAre());
  EXPECT_THAT(AllLines("\n\n x \n"), ElementsAre("", "", " x "));
  EXPECT_THAT(AllLines("a\r\n\xFF\t"), ElementsAre("a\r", "\xFF\t"));
  EXPECT_THAT(AllLines(std::string_view("a\0b\n", 4)), ElementsAre("a\0b"s));
}

TEST(LineReader, LinesMayBeAsLongAsTheLimit) {
  absl::Status status;
  EXPECT_THAT(AllLines("12345\n123456\n1\n", &status, 5), ElementsAre("12345"));
  EXPECT_EQ(CodeOf(status), ErrorCode::kTooLarge);
  EXPECT_THAT(MessageOf(status), HasSubstr("line 2 "));
  EXPECT_THAT(AllLines("123456", &status, 5), ElementsAre());
  EXPECT_EQ(CodeOf(status), ErrorCode::kTooLarge);
  EXPECT_THAT(AllLines("12345", &status, 5), ElementsAre("12345"));
  EXPECT_TRUE(status.ok());
}

TEST(LineReader, ReadsMoreThanOneBlock) {
  Pipe input;
  std::thread writer([&] {
    for (int i = 0; i < 50'000; ++i) input.Write(std::to_string(i) + "\n");
    input.Close();
  });
  LineReader reader(input.reader(), 100);
  std::string_view line;
  int next = 0;
  for (LineReader::Got got; (got = reader.Next(&line)) != LineReader::Got::kEnd;) {
    if (got != LineReader::Got::kLine) continue;
    EXPECT_EQ(line, std::to_string(next));
    ++next;
  }
  EXPECT_EQ(next, 50'000);
  EXPECT_EQ(reader.line_number(), 50'000u);
  writer.join();
}

TEST(LineReader, PausesBeforeItWouldBlock) {
  Pipe input;
  LineReader reader(input.reader(), 100);
  std::string_view line;
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kPause);
  input.Write("a\nb\nhal");
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kLine);
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kLine);
  EXPECT_EQ(line, "b");
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kPause);
  input.Write("f\n");
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kLine);
  EXPECT_EQ(line, "half");
}

TEST(LineReader, SaysWhenTheInputCannotBeRead) {
  LineReader reader(-1, 100);
  std::string_view line;
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kPause);
  EXPECT_EQ(reader.Next(&line), LineReader::Got::kEnd);
  EXPECT_EQ(CodeOf(reader.status()), ErrorCode::kInvalidArgument);
}

TEST(Substitute, ReplacesEveryPlaceholder) {
  EXPECT_THAT(Substitute({"cp", "{}", "/out/{}.bak{}"}, "a b"),
              ElementsAre("cp", "a b", "/out/a b.baka b"));
  EXPECT_THAT(Substitute({"echo", "{}"}, "{}"), ElementsAre("echo", "{}"));
  EXPECT_THAT(Substitute({"echo", "{", "}", "{ }", "{}"}, "x"),
              ElementsAre("echo", "{", "}", "{ }", "x"));
  EXPECT_THAT(Substitute({"sha256sum"}, "$(rm -rf /)"), ElementsAre("sha256sum", "$(rm -rf /)"));
}

// --- Tables ----------------------------------------------------------------------------------------

TEST(Table, FitsTheWidthByCuttingElasticColumns) {
  Table table({{.title = "ID"},
               {.title = "NAME", .elastic = true},
               {.title = "N", .right = true},
               {.title = "TEXT", .elastic = true}});
  table.Row({{"4-17"}, {std::string(60, 'n')}, {"7"}, {std::string(500, 't')}});
  table.Row({{"4-1234"}, {"short"}, {"1234"}, {""}});
  std::istringstream lines(table.Render(100, false));
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(DisplayWidth(all[1]), 100u) << all[1];
  EXPECT_THAT(all[1], HasSubstr("4-17    nnn"));
  EXPECT_THAT(all[1], HasSubstr("…     7  ttt"));
  EXPECT_THAT(all[2], HasSubstr("  1234"));
  EXPECT_NE(all[2].back(), ' ');
}

TEST(Table, IsAsWideAsItsContentWhenThereIsRoom) {
  Table table({{.title = "A"}, {.title = "B"}});
  table.Row({{"x"}, {"y"}});
  EXPECT_EQ(table.Render(100, false), "A  B\nx  y\n");
}

TEST(Table, ColoursDoNotChangeTheLayout) {
  Table table({{.title = "STATE"}, {.title = "B"}});
  table.Row({{"dead", Color::kRed}, {"y"}});
  std::string colored = table.Render(100, true);
  EXPECT_THAT(colored, HasSubstr("\x1b[31mdead\x1b[0m   y"));
  EXPECT_EQ(table.Render(100, false), "STATE  B\ndead   y\n");
}

TEST(Printable, LeavesNothingThatMovesTheCursor) {
  EXPECT_EQ(Printable("a\nb\tc\rd"), "a b c d");
  EXPECT_EQ(Printable("a\x1b[2J\x7F\xC2\x9B\xFF"
                      "b"),
            "a?[2J???b");
  EXPECT_EQ(Printable("größe 大 😀"), "größe 大 😀");
  EXPECT_EQ(Printable("a\xE2\x80\xAE"
                      "b"),
            "a?b")
      << "right-to-left override";
}

TEST(Printable, LinesStayLines) {
  EXPECT_EQ(PrintableLines("a\x1b[2J\nb\tc\r\n\n"), "a?[2J\nb c \n\n");
  EXPECT_EQ(PrintableLines(""), "");
}

TEST(Json, APieceOfOutputIsTextOrBase64) {
  EXPECT_EQ(OutputPieceJson(2, {OutputStream::kStderr, 1024, "größe\n"}),
            R"({"attempt":2,"stream":"stderr","offset":1024,"text":"größe\n"})");
  EXPECT_EQ(OutputPieceJson(1, {OutputStream::kLog, 0, "\xFF"}),
            R"({"attempt":1,"stream":"log","offset":0,"text":{"base64":"/w=="}})");
}

TEST(Truncate, CountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("größe"), 5u);
  EXPECT_EQ(DisplayWidth("大阪"), 4u);
  EXPECT_EQ(Truncate("größe", 5), "größe");
  EXPECT_EQ(Truncate("größer", 5), "größ…");
  EXPECT_EQ(Truncate("大阪市", 5), "大阪…");
  EXPECT_EQ(Truncate("大阪市", 4), "大…");
  EXPECT_EQ(Truncate("abc", 0), "");
  EXPECT_EQ(Truncate("abc", 1), "…");
}

TEST(RelativeTime, SaysHowLongAgo) {
  constexpr int64_t kNow = 1'000'000'000;
  EXPECT_EQ(RelativeTime(0, kNow), "-");
  EXPECT_EQ(RelativeTime(kNow - 500, kNow), "now");
  EXPECT_EQ(RelativeTime(kNow - 12'345, kNow), "12s ago");
  EXPECT_EQ(RelativeTime(kNow - 3'600'000, kNow), "1h ago");
  EXPECT_EQ(RelativeTime(kNow + 180'000, kNow), "in 3m");
  EXPECT_EQ(ShortDuration(250), "250ms");
  EXPECT_EQ(ShortDuration(47 * 3'600'000), "47h");
  EXPECT_EQ(ShortDuration(48 * 3'600'000), "2d");
}

// --- Progress --------------------------------------------------------------------------------------

TEST(ProgressLine, ShowsBarRateAndEnd) {
  EXPECT_EQ(
      ProgressLine({.done = 1200, .total = 4000, .total_known = true, .elapsed_ms = 3000}, 100),
      "[######--------------]  1,200/4,000  30 %  400/s  7s left");
  EXPECT_EQ(
      ProgressLine(
          {.done = 4000, .failed = 2, .total = 4000, .total_known = true, .elapsed_ms = 10'000},
          100),
      "[####################]  4,000/4,000  100 %  2 failed  400/s");
}

TEST(ProgressLine, WithoutAKnownTotalThereIsNoBar) {
  EXPECT_EQ(ProgressLine({.done = 3, .total = 10, .elapsed_ms = 2000}, 100), "3/10  1.5/s");
  EXPECT_EQ(ProgressLine({}, 100), "0/0");
  EXPECT_EQ(ProgressLine({.total_known = true}, 100), "0/0");
}

TEST(ProgressLine, NeverWiderThanTheTerminal) {
  std::string line =
      ProgressLine({.done = 1200, .total = 4000, .total_known = true, .elapsed_ms = 3000}, 30);
  EXPECT_EQ(DisplayWidth(line), 30u);
}

}  // namespace
}  // namespace zsched::ctl
