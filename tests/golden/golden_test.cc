// Each file of dialogues/ is a conversation with a broker: lines that begin with "#" explain, other lines are commands
// (dialogue.h), and what the broker answers stands below each, indented. ZSCHED_REWRITE=1 writes the files anew; read the
// difference before it is committed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/golden/dialogue.h"

namespace zsched::golden {
namespace {

std::filesystem::path Folder() {
  return std::filesystem::path(ZSCHED_SOURCE_DIR) / "tests/golden/dialogues";
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The file as it should be: its comments and commands, with today's answers.
std::string Replay(const std::string& script) {
  Dialogue dialogue;
  std::istringstream in(script);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("    ")) continue;  // yesterday's answer
    out += line + "\n";
    if (line.empty() || line.starts_with("#")) continue;
    std::istringstream answers(dialogue.Run(line));
    for (std::string answer; std::getline(answers, answer);) out += "    " + answer + "\n";
  }
  return out;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Folder()))
    names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class DialogueTest : public testing::TestWithParam<std::string> {};

TEST_P(DialogueTest, IsAnsweredAsWritten) {
  std::filesystem::path path = Folder() / (GetParam() + ".txt");
  std::string script = ReadFile(path), today = Replay(script);
  if (std::getenv("ZSCHED_REWRITE") != nullptr)
    std::ofstream(path) << today;
  else
    EXPECT_EQ(script, today) << "ZSCHED_REWRITE=1 writes " << path;
}

INSTANTIATE_TEST_SUITE_P(Golden, DialogueTest, testing::ValuesIn(Names()),
                         [](const auto& dialogue) { return dialogue.param; });

}  // namespace
}  // namespace zsched::golden
