// The log: both forms, escaping, levels, whole lines from many threads.
#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/config.h"
#include "base/text.h"

namespace zsched {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;

template <class Body>
std::string Logged(const std::string& format, const std::string& level, Body body) {
  InitLog({.program = "zsched-test", .format = format, .level = level});
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

TEST(Log, TextIsTimeLevelMessageAndFields) {
  std::string out = Logged("text", "info", [] {
    Log(Level::kWarn, "worker joined",
        {{"worker", "w1"}, {"session", 17u}, {"new", true}, {"load", 0.5}, {"why", "a \"b\" =c"}});
  });
  EXPECT_THAT(out, MatchesRegex("....-..-..T..:..:..\\....Z WARN  worker joined  worker=w1 "
                                "session=17 new=true load=0.5 why=\"a \\\\\"b\\\\\" =c\"\n"));
}

TEST(Log, JsonIsOneObjectALine) {
  std::string out = Logged("json", "info", [] {
    Log(Level::kError, "disk \"full\"",
        {{"path", std::string("/a\\b")},
         {"bytes", std::numeric_limits<uint64_t>::max()},
         {"delta", int64_t{-3}},
         {"ratio", 0.25},
         {"ok", false}});
  });
  ASSERT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  json line = json::parse(out);
  EXPECT_TRUE(ParseTimeMs(line["time"].get<std::string>()).ok());
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["program"], "zsched-test");
  EXPECT_EQ(line["message"], "disk \"full\"");
  EXPECT_EQ(line["path"], "/a\\b");
  EXPECT_EQ(line["bytes"], std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(line["delta"], -3);
  EXPECT_EQ(line["ratio"], 0.25);
  EXPECT_EQ(line["ok"], false);
}

TEST(Log, JsonHasNoInfinity) {
  std::string out = Logged("json", "info", [] {
    Log(Level::kInfo, "x", {{"a", INFINITY}, {"b", std::nan("")}});
  });
  EXPECT_TRUE(json::parse(out)["a"].is_null());
  EXPECT_TRUE(json::parse(out)["b"].is_null());
}

TEST(Log, NothingFromAPeerForgesALineOrMovesTheCursor) {
  const std::string hostile = "a\nb\x1b[2J\r\t\x7F\xC2\x9B\xFF\xC3\xA4\\";
  auto body = [&] { Log(Level::kInfo, hostile, {{"field", hostile}}); };
  std::string text = Logged("text", "info", body);
  EXPECT_THAT(text, HasSubstr("a\\nb\\x1b[2J\\x0d\\t\\x7f\\xc2\\x9b\\xff\xC3\xA4\\\\"));
  std::string as_json = Logged("json", "info", body);
  for (const std::string& out : {text, as_json}) {
    EXPECT_EQ(std::count_if(out.begin(), out.end(),
                            [](unsigned char c) { return c < 0x20 || c == 0x7F; }),
              1)
        << out;
    EXPECT_TRUE(IsUtf8(out));
  }
  EXPECT_EQ(json::parse(as_json)["field"], "a\nb\x1b[2J\r\t\x7F\xC2\x9B\xEF\xBF\xBD\xC3\xA4\\");
}

TEST(Log, EveryByteValueStaysParsable) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string out = Logged("json", "info", [&] { Log(Level::kInfo, all); });
  EXPECT_TRUE(json::accept(out)) << out;
}

TEST(Log, LevelsBelowTheChosenOneAreSilent) {
  auto all = [] {
    Log(Level::kDebug, "d");
    Log(Level::kInfo, "i");
    Log(Level::kWarn, "w");
    Log(Level::kError, "e");
  };
  auto lines = [&](const std::string& level) {
    std::string out = Logged("text", level, all);
    return std::count(out.begin(), out.end(), '\n');
  };
  EXPECT_EQ(lines("debug"), 4);
  EXPECT_EQ(lines("info"), 3);
  EXPECT_EQ(lines("warn"), 2);
  EXPECT_EQ(lines("error"), 1);
  EXPECT_EQ(lines("off"), 0);
  EXPECT_FALSE(LogEnabled(Level::kError));
}

TEST(Log, LinesOfManyThreadsStayWhole) {
  constexpr int kThreads = 8, kLines = 200;
  std::string out = Logged("json", "info", [] {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([t] {
        for (int i = 0; i < kLines; ++i)
          Log(Level::kInfo, "line", {{"thread", t}, {"pad", std::string(200, 'x')}});
      });
    for (std::thread& thread : threads) thread.join();
  });
  std::istringstream lines(out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    ASSERT_TRUE(json::accept(line)) << line;
  EXPECT_EQ(count, kThreads * kLines);
}

TEST(LogDeathTest, TheLastLineBeforeAnAbortIsWritten) {
  EXPECT_DEATH(
      {
        InitLog({.program = "zsched-test"});
        Log(Level::kError, "last words");
        std::abort();
      },
      "last words");
}

// Runs in a child, since colours depend on what stderr is.
std::string LoggedOnTerminal(bool no_color, const std::string& format) {
  int terminal = -1;
  pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    setenv("TERM", "xterm-256color", 1);
    no_color ? setenv("NO_COLOR", "1", 1) : unsetenv("NO_COLOR");
    InitLog({.program = "zsched-test", .format = format});
    Log(Level::kError, "coloured?");
    _exit(0);
  }
  std::string out;
  char block[512];
  for (ssize_t got; (got = read(terminal, block, sizeof block)) > 0;) out.append(block, got);
  close(terminal);
  waitpid(child, nullptr, 0);
  return out;
}

TEST(Log, ColoursOnlyForTextOnATerminalThatWantsThem) {
  EXPECT_THAT(LoggedOnTerminal(false, "text"), HasSubstr("\x1b["));
  EXPECT_THAT(LoggedOnTerminal(true, "text"), testing::Not(HasSubstr("\x1b[")));
  EXPECT_THAT(LoggedOnTerminal(false, "json"), testing::Not(HasSubstr("\x1b[")));
}

TEST(Log, FlagsOfferFormsAndLevels) {
  Flags flags("zsched-test", "Tests.");
  LogOptions options;
  AddLogFlags(flags, &options);
  const char* words[] = {"zsched-test", "--log-format", "json", "--log-level", "debug"};
  ASSERT_EQ(flags.Parse(5, words), std::nullopt);
  EXPECT_EQ(options.format, "json");
  EXPECT_EQ(options.level, "debug");
}

}  // namespace
}  // namespace zsched
