// `zsched-ctl completion bash`: a script by which bash completes commands, flags and their values. It is
// made from the flags themselves, so it knows what this program knows.
#include <set>

#include "client/ctl/context.h"
#include "client/ctl/output.h"

namespace zsched::ctl {
namespace {

std::vector<std::string> NamesOf(const Flags::Option& option) {
  std::vector<std::string> names;
  for (size_t at = 0; at <= option.names.size();) {
    const size_t comma = std::min(option.names.find(',', at), option.names.size());
    names.push_back(option.names.substr(at, comma - at));
    at = comma + 1;
  }
  return names;
}

std::string Joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

// A line of a `case`: what stands there for `pattern`.
std::string Case(const std::string& pattern, const std::string& then) {
  return "      " + pattern + ") " + then + " ;;\n";
}

struct Parts {
  std::string paths;   // which command a word leads to
  std::string words;   // what may follow each command
  std::string values;  // of flags that have only so many
  std::set<std::string> takes_value;
};

void AddOptions(const Flags::Level& level, Parts& parts, std::vector<std::string>& words) {
  for (const Flags::Option* option : level.options) {
    const std::vector<std::string> names = NamesOf(*option);
    words.insert(words.end(), names.begin(), names.end());
    if (option->value_name.empty()) continue;
    parts.takes_value.insert(names.begin(), names.end());
    if (!option->choices.empty())
      parts.values += Case(Joined(names, "|"), "words=\"" + Joined(option->choices, " ") + "\"");
    else if (option->value_name.find("FILE") != std::string::npos)
      parts.values += Case(Joined(names, "|"), "compopt -o default; return");
  }
}

Parts Describe(const Flags& flags) {
  Parts parts;
  parts.takes_value = {"--config"};
  parts.values = Case("--config", "compopt -o default; return");
  std::vector<std::string> general = {"--help", "--config"};
  for (const Flags::Level& level : flags.Levels()) {
    std::vector<std::string> words = level.commands;
    for (const std::string& command : level.commands)
      parts.paths +=
          Case("\"" + level.path + ":" + command + "\"",
               "path=\"" + (level.path.empty() ? "" : level.path + " ") + command + "\"");
    AddOptions(level, parts, level.path.empty() ? general : words);
    parts.words += Case("\"" + level.path + "\"", "words=\"" + Joined(words, " ") + "\"");
  }
  parts.words += "    esac\n    words=\"$words " + Joined(general, " ") + "\"\n";
  return parts;
}

std::string BashScript(const Flags& flags) {
  const Parts parts = Describe(flags);
  const std::string takes_value = Joined({parts.takes_value.begin(), parts.takes_value.end()}, "|");
  return "# Completion of zsched-ctl for bash: source <(zsched-ctl completion bash)\n"
         "_zsched_ctl() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local path= words= word i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    case $word in\n"
         "      --) compopt -o default; return ;;\n" +
         Case(takes_value, "((++i)); continue") +
         "    esac\n"
         "    case $path:$word in\n" +
         parts.paths +
         "    esac\n"
         "  done\n"
         "  case $previous in\n" +
         parts.values + Case(takes_value, "return") +
         "  esac\n"
         "  if [[ -z $words ]]; then\n"
         "    case $path in\n" +
         parts.words +
         "  fi\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -F _zsched_ctl zsched-ctl\n";
}

}  // namespace

void AddCompletion(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("completion", "Have a shell complete command lines");
  Flags& bash = family.Command("bash", "Print the script for bash");
  bash.Notes("Needs no broker. For every shell to come: add the line of the example to ~/.bashrc.");
  bash.Example("source <(zsched-ctl completion bash)");
  actions["completion bash"] = [&context] {
    Print(BashScript(context.flags()));
    return FinishOutput();
  };
}

}  // namespace zsched::ctl
