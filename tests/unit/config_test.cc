// Flags: the order of the sources, the errors, the file's syntax.
#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/config_file.h"
#include "schemas/errors.h"

namespace zsched {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// A program with one option of each kind and two commands.
struct Program {
  Flags flags{"zsched-test", "Tests."};
  std::string queue = "default";
  std::optional<std::string> type;
  std::vector<std::string> labels, queues;
  uint32_t attempts = 25;
  std::optional<uint64_t> count;
  int64_t timeout_ms = 5000;
  uint64_t map_bytes = 64 << 20;
  HostPort listen{"127.0.0.1", 5570};
  std::vector<HostPort> brokers = {{"127.0.0.1", 5570}};
  bool wait = false;
  std::vector<std::string> ids;
  std::string worker;

  Program() {
    flags.Text("--queue", &queue, "Queue");
    flags.Text("--type", &type, "Type", "TYPE", {"echo", "noop"});
    flags.Texts("--label", &labels, "Label");
    flags.List("--queues", &queues, "Queues");
    flags.Number("-n,--max-attempts", &attempts, "Attempts", 1, 100);
    flags.Number("--count", &count, "Count");
    flags.Duration("--timeout", &timeout_ms, "Timeout", 1);
    flags.Size("--map-size", &map_bytes, "Map", 4096);
    flags.Address("--listen", &listen, "Address");
    flags.Brokers("--brokers", &brokers, "Brokers");
    flags.Switch("--wait", &wait, "Wait");
  }

  void AddCommands() {
    Flags& submit = flags.Command("submit", "Submit");
    submit.AcceptRest("ARGV...");
    Flags& task = flags.Command("task", "Tasks");
    task.Command("get", "Get").Positionals("ID", &ids, "Ids");
    flags.Command("drain", "Drain").Positional("ID", &worker, "Worker");
    flags.Command("status", "Status");
  }

  std::optional<int> Parse(std::vector<const char*> words) {
    words.insert(words.begin(), "zsched-test");
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    std::optional<int> code = flags.Parse(static_cast<int>(words.size()), words.data());
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr();
    return code;
  }

  std::string out, err;
};

class ConfigTest : public testing::Test {
 protected:
  ~ConfigTest() override {
    for (const std::string& name : variables_) unsetenv(name.c_str());
    if (!file_.empty()) unlink(file_.c_str());
  }
  void SetVariable(const std::string& name, const std::string& value) {
    variables_.push_back(name);
    setenv(name.c_str(), value.c_str(), 1);
  }
  const char* WriteFile(const std::string& text) {
    file_ = testing::TempDir() + "zsched-config-XXXXXX";
    close(mkstemp(file_.data()));
    std::ofstream(file_) << text;
    return file_.c_str();
  }

  Program program_;
  std::vector<std::string> variables_;
  std::string file_;
};

TEST_F(ConfigTest, FlagsReachTheirTargets) {
  ASSERT_EQ(
      program_.Parse({"--queue",  "mail",      "--type=echo", "-n",         "3",       "--count",
                      "7",        "--timeout", "1h30m",       "--map-size", "1GiB",    "--listen",
                      "[::1]:99", "--brokers", "a:1,b:2",     "--wait",     "--label", "x=1",
                      "--label",  "[a,b]",     "--queues",    "a, b"}),
      std::nullopt)
      << program_.err;
  EXPECT_EQ(program_.queue, "mail");
  EXPECT_EQ(program_.type, "echo");
  EXPECT_EQ(program_.attempts, 3u);
  EXPECT_EQ(program_.count, 7u);
  EXPECT_EQ(program_.timeout_ms, 5'400'000);
  EXPECT_EQ(program_.map_bytes, 1ull << 30);
  EXPECT_EQ(program_.listen, (HostPort{"::1", 99}));
  EXPECT_EQ(program_.brokers.size(), 2u);
  EXPECT_TRUE(program_.wait);
  EXPECT_THAT(program_.labels, ElementsAre("x=1", "[a,b]"));
  EXPECT_THAT(program_.queues, ElementsAre("a", "b"));
}

TEST_F(ConfigTest, TargetsKeepTheirDefaults) {
  ASSERT_EQ(program_.Parse({}), std::nullopt);
  EXPECT_EQ(program_.queue, "default");
  EXPECT_EQ(program_.type, std::nullopt);
  EXPECT_EQ(program_.count, std::nullopt);
  EXPECT_EQ(program_.timeout_ms, 5000);
  EXPECT_FALSE(program_.wait);
}

TEST_F(ConfigTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const char* file = WriteFile("queue = file\nmax-attempts = 4\ntimeout = 4s\n");
  SetVariable("ZSCHED_QUEUE", "environment");
  SetVariable("ZSCHED_MAX_ATTEMPTS", "5");
  ASSERT_EQ(program_.Parse({"--config", file, "--queue", "flag"}), std::nullopt) << program_.err;
  EXPECT_EQ(program_.queue, "flag");
  EXPECT_EQ(program_.attempts, 5u);
  EXPECT_EQ(program_.timeout_ms, 4000);
  EXPECT_EQ(program_.map_bytes, 64u << 20);
  EXPECT_EQ(program_.flags.SourceOf("queue"), Source::kFlag);
  EXPECT_EQ(program_.flags.SourceOf("max-attempts"), Source::kEnvironment);
  EXPECT_EQ(program_.flags.SourceOf("timeout"), Source::kFile);
  EXPECT_EQ(program_.flags.SourceOf("map-size"), Source::kDefault);
}

TEST_F(ConfigTest, SettingsTellValueAndSource) {
  const char* file = WriteFile("\n# comment\ntimeout = 4s\n");
  SetVariable("ZSCHED_CONFIG", file);
  SetVariable("ZSCHED_LABEL", "a=1,b=2");
  ASSERT_EQ(program_.Parse({"-n", "9"}), std::nullopt);
  std::map<std::string, Setting> settings;
  for (const Setting& setting : program_.flags.Settings()) settings[setting.name] = setting;
  EXPECT_EQ(settings["config"].value, file);
  EXPECT_EQ(settings["config"].where, "ZSCHED_CONFIG");
  EXPECT_EQ(settings["timeout"].where, std::string(file) + ":3");
  EXPECT_EQ(settings["label"].value, "a=1,b=2");
  EXPECT_EQ(settings["label"].where, "ZSCHED_LABEL");
  EXPECT_EQ(settings["max-attempts"].where, "--max-attempts");
  EXPECT_EQ(settings["map-size"].value, "64MiB");
  EXPECT_EQ(settings["wait"].value, "false");
  EXPECT_THAT(program_.labels, ElementsAre("a=1", "b=2"));
}

TEST_F(ConfigTest, AnEmptyVariableCountsAsAbsent) {
  SetVariable("ZSCHED_QUEUE", "");
  ASSERT_EQ(program_.Parse({}), std::nullopt);
  EXPECT_EQ(program_.queue, "default");
}

TEST_F(ConfigTest, SwitchesCanBeTurnedOffAgain) {
  SetVariable("ZSCHED_WAIT", "yes");
  ASSERT_EQ(program_.Parse({"--wait=false"}), std::nullopt);
  EXPECT_FALSE(program_.wait);
}

TEST_F(ConfigTest, AStrongerListReplacesTheWeaker) {
  const char* file = WriteFile("label = [\"a=1\", b=2]\n");
  ASSERT_EQ(program_.Parse({"--config", file, "--label", "c=3"}), std::nullopt);
  EXPECT_THAT(program_.labels, ElementsAre("c=3"));
}

TEST_F(ConfigTest, MalformedValuesNameTheirSource) {
  const char* file = WriteFile("queue = x\ntimeout = soon\n");
  EXPECT_EQ(Program().Parse({"--timeout", "x"}), 2);
  EXPECT_EQ(program_.Parse({"--max-attempts", "0"}), 2);
  EXPECT_THAT(program_.err, StartsWith("zsched-test: --max-attempts: '0' is not within 1..100"));
  Program from_file;
  EXPECT_EQ(from_file.Parse({"--config", file}), 2);
  EXPECT_THAT(from_file.err,
              HasSubstr(std::string(file) + ":2: timeout: 'soon' is not a duration"));
  SetVariable("ZSCHED_LISTEN", "nowhere");
  Program from_environment;
  EXPECT_EQ(from_environment.Parse({}), 2);
  EXPECT_THAT(from_environment.err, HasSubstr("ZSCHED_LISTEN: 'nowhere' is not an address"));
}

TEST_F(ConfigTest, ErrorsAreOneLineThatSaysWhereHelpIs) {
  struct Case {
    std::vector<const char*> words;
    const char* expected;
  };
  const Case kCases[] = {
      {{"--nope", "x"}, "unknown option --nope"},
      {{"status", "x"}, "unexpected argument 'x'"},
      {{"bla"}, "unknown command 'bla'"},
      {{"task"}, "name a command: get"},
      {{}, "name a command: submit, task, drain, status"},
      {{"task", "get"}, "ID is required"},
      {{"status", "--timeout"}, "--timeout needs a value"},
      {{"status", "--type", "bla"}, "--type: 'bla' is not one of echo, noop"},
      {{"status", "--wait=perhaps"}, "'perhaps' is not a switch"},
      {{"status", "--count", "1x"}, "'1x' is not a whole number"},
      {{"status", "--queues", "a,,b"}, "empty word"},
      {{"status", "--config", "/nonexistent"}, "'/nonexistent' cannot be read"},
      {{"status", "--config", "/"}, "'/' cannot be read"},
      {{"status", "--", "x"}, "nothing may follow '--'"},
  };
  for (const Case& c : kCases) {
    Program program;
    program.AddCommands();
    EXPECT_EQ(program.Parse(c.words), 2) << c.expected;
    EXPECT_THAT(program.err,
                AllOf(StartsWith("zsched-test: "), HasSubstr(c.expected), HasSubstr("--help')\n")));
    EXPECT_EQ(std::count(program.err.begin(), program.err.end(), '\n'), 1) << program.err;
    EXPECT_EQ(program.out, "");
  }
}

TEST_F(ConfigTest, UnknownKeysOfTheFileAreErrors) {
  const char* file = WriteFile("queue = a\n\nmax_attempts = 3\n");
  EXPECT_EQ(program_.Parse({"--config", file}), 2);
  EXPECT_THAT(program_.err, HasSubstr(std::string(file) + ":3: unknown key 'max_attempts'"));
}

TEST_F(ConfigTest, AListForASingleValueIsAnError) {
  const char* file = WriteFile("queue = [a, b]\n");
  EXPECT_EQ(program_.Parse({"--config", file}), 2);
  EXPECT_THAT(program_.err, HasSubstr(":1: 'queue' takes one value"));
}

TEST_F(ConfigTest, RequiredOptionsMayComeFromAnywhere) {
  std::string data;
  Program missing;
  missing.flags.Text("--data", &data, "Data").Required();
  EXPECT_EQ(missing.Parse({}), 2);
  EXPECT_THAT(missing.err, HasSubstr("--data is required (or ZSCHED_DATA)"));
  SetVariable("ZSCHED_DATA", "/data");
  Program given;
  given.flags.Text("--data", &data, "Data").Required();
  EXPECT_EQ(given.Parse({}), std::nullopt);
  EXPECT_EQ(data, "/data");
}

TEST_F(ConfigTest, CommandsAndOptionsMixFreely) {
  program_.AddCommands();
  ASSERT_EQ(program_.Parse({"--queue", "a", "task", "get", "1-1", "--timeout", "7s", "1-2"}),
            std::nullopt)
      << program_.err;
  EXPECT_EQ(program_.flags.command(), "task get");
  EXPECT_THAT(program_.ids, ElementsAre("1-1", "1-2"));
  EXPECT_EQ(program_.timeout_ms, 7000);
}

TEST_F(ConfigTest, AnArgumentMayBeCalledLikeACommand) {
  program_.AddCommands();
  ASSERT_EQ(program_.Parse({"drain", "status"}), std::nullopt) << program_.err;
  EXPECT_EQ(program_.worker, "status");
}

TEST_F(ConfigTest, WhatFollowsTwoDashesIsUntouched) {
  program_.AddCommands();
  ASSERT_EQ(program_.Parse({"submit", "--wait", "--", "jq", "[.a,.b]", "--wait", "--", "{}", ""}),
            std::nullopt);
  ASSERT_TRUE(program_.flags.rest().has_value());
  EXPECT_THAT(*program_.flags.rest(), ElementsAre("jq", "[.a,.b]", "--wait", "--", "{}", ""));
}

TEST_F(ConfigTest, ValuesMayLookLikeAnything) {
  for (const char* value : {"{}", "[1,2]", "-", "--queue", "", "a b", "%%", "++", "="}) {
    Program program;
    ASSERT_EQ(program.Parse({"--queue", value}), std::nullopt) << value << program.err;
    EXPECT_EQ(program.queue, value);
  }
}

TEST_F(ConfigTest, AVariableForAnotherCommandDoesNoHarm) {
  uint32_t rate = 0;
  program_.AddCommands();
  program_.flags.Command("limit", "Limit").Number("--rate", &rate, "Rate");
  SetVariable("ZSCHED_RATE", "not a number");
  EXPECT_EQ(program_.Parse({"status"}), std::nullopt) << program_.err;
}

TEST_F(ConfigTest, HelpNamesVariablesDefaultsAndExamples) {
  program_.flags.Example("zsched-test --wait");
  EXPECT_EQ(program_.Parse({"--help"}), 0);
  EXPECT_THAT(program_.out,
              AllOf(HasSubstr("-n,--max-attempts N"), HasSubstr("[env: ZSCHED_MAX_ATTEMPTS]"),
                    HasSubstr("[default: 64MiB]"), HasSubstr("echo, noop"),
                    HasSubstr("Examples:\n  zsched-test --wait")));
  std::istringstream lines(program_.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST_F(ConfigTest, VersionIsPrinted) {
  EXPECT_EQ(program_.Parse({"--version"}), 0);
  EXPECT_EQ(program_.out, "zsched-test " + std::string(Version()) + "\n");
}

TEST_F(ConfigTest, UsageErrorsCanTakeAnotherForm) {
  std::string seen;
  program_.flags.ReportUsageErrors([&](int argc, const char* const*, const std::string& message) {
    seen = message;
    return argc == 2;
  });
  EXPECT_EQ(program_.Parse({"--nope"}), 2);
  EXPECT_EQ(seen, "unknown option --nope");
  EXPECT_EQ(program_.err, "");
}

TEST(ConfigFile, ReadsTheSyntaxItPromises) {
  auto items = ParseConfigText(
      "# comment\r\n"
      "a = plain words # comment\n"
      "b=\"with # \\\"quotes\\\" and \\\\ \\n\"\n"
      "c = 'C:\\path # kept'   # comment\n"
      "d = [x, \"y,z\", 'w']\n"
      "e = []\n"
      "\n"
      "f = a#b");
  ASSERT_TRUE(items.ok()) << items.status();
  ASSERT_EQ(items->size(), 6u);
  EXPECT_THAT((*items)[0].values, ElementsAre("plain words"));
  EXPECT_THAT((*items)[1].values, ElementsAre("with # \"quotes\" and \\ \n"));
  EXPECT_THAT((*items)[2].values, ElementsAre("C:\\path # kept"));
  EXPECT_THAT((*items)[3].values, ElementsAre("x", "y,z", "w"));
  EXPECT_THAT((*items)[4].values, ElementsAre());
  EXPECT_THAT((*items)[5].values, ElementsAre("a#b"));
  EXPECT_EQ((*items)[5].key, "f");
  EXPECT_EQ((*items)[5].line, 8);
}

TEST(ConfigFile, ErrorsBeginWithTheLine) {
  const std::pair<const char*, const char*> kCases[] = {
      {"a = 1\nb", "2: not of the form"},
      {"= 1", "1: not of the form"},
      {"a =", "1: a value is missing"},
      {"a = # x", "1: a value is missing"},
      {"[s]\na = 1", "1: sections are not known"},
      {"a = \"x", "1: the closing \""},
      {"a = 'x", "1: the closing '"},
      {"a = \"\\q\"", "1: unknown escape"},
      {"a = \"x\\", "1: unknown escape"},
      {"a = [x", "1: "},
      {"a = ['x' 'y']", "1: a list needs ','"},
      {"a = \"x\" y", "1: something follows"},
      {"a = 1\n\na = 2", "3: 'a' was given in line 1"},
  };
  for (const auto& [text, expected] : kCases) {
    auto items = ParseConfigText(text);
    ASSERT_FALSE(items.ok()) << text;
    EXPECT_THAT(MessageOf(items.status()), StartsWith(expected)) << text;
  }
}

}  // namespace
}  // namespace zsched
