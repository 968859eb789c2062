#include "base/config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>

#include "base/check.h"
#include "base/config_file.h"
#include "schemas/errors.h"

namespace zsched {
namespace {

constexpr int kUsageExit = 2;
constexpr size_t kHelpIndent = 30;
constexpr size_t kHelpWidth = 100;
constexpr char kEnvironmentPrefix[] = "ZSCHED_";
constexpr char kConfigVariable[] = "ZSCHED_CONFIG";

// "-o,--output" -> "output".
std::string LongName(const std::string& names) {
  size_t dashes = names.find("--");
  ZS_CHECK(dashes != std::string::npos);
  std::string name = names.substr(dashes + 2);
  return name.substr(0, name.find(','));
}

// "max-attempts" -> "ZSCHED_MAX_ATTEMPTS".
std::string VariableName(const std::string& long_name) {
  std::string name = kEnvironmentPrefix;
  for (char c : long_name)
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// A blank at which a line is not broken.
constexpr char kTie = '\x1f';

// Words of `text` in lines that fit, every line but the first indented.
std::string Wrap(const std::string& text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  std::replace(out.begin(), out.end(), kTie, ' ');
  return out;
}

std::string Entry(std::string head, const std::string& text) {
  head = "  " + head;
  head += head.size() + 2 > kHelpIndent ? "\n" + std::string(kHelpIndent, ' ')
                                        : std::string(kHelpIndent - head.size(), ' ');
  return head + Wrap(text, kHelpIndent, kHelpWidth) + "\n";
}

// CLI11's own layout neither wraps nor knows our variables.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool positional) const override {
    std::string head = make_option_name(option, positional);
    if (!positional) head += option->get_option_text();
    return Entry(head, option->get_description());
  }
  std::string make_subcommand(const CLI::App* command) const override {
    return Entry(command->get_name(), command->get_description());
  }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string path = app->get_name();
    for (const CLI::App* up = app->get_parent(); up != nullptr; up = up->get_parent())
      path = up->get_name() + " " + path;
    std::string usage = CLI::Formatter::make_usage(app, app->get_parent() ? path : name);
    while (!usage.empty() && usage.back() == '\n') usage.pop_back();
    return usage + (rest.contains(app) ? " [-- " + rest.at(app) + "]\n" : "\n");
  }

  std::map<const CLI::App*, std::string> rest;
};

std::string HelpOf(const Flags::Option& option) {
  std::string help = option.help;
  if (!option.choices.empty()) help += ": " + CLI::detail::join(option.choices, ", ");
  if (option.repeated) help += "; may be given several times";
  if (option.required) help += " [required]";
  if (!option.default_text.empty())
    help += std::string(" [default:") + kTie + option.default_text + "]";
  return help + " [env:" + kTie + VariableName(LongName(option.names)) + "]";
}

absl::StatusOr<bool> ParseSwitch(std::string_view text) {
  for (std::string_view yes : {"true", "1", "yes", "on"})
    if (text == yes) return true;
  for (std::string_view no : {"false", "0", "no", "off"})
    if (text == no) return false;
  return Error(ErrorCode::kInvalidArgument,
               "'" + std::string(text) + "' is not a switch; write true or false");
}

absl::Status CheckChoice(const Flags::Option& option, const std::string& text) {
  if (option.choices.empty()) return absl::OkStatus();
  for (const std::string& choice : option.choices)
    if (choice == text) return absl::OkStatus();
  return Error(ErrorCode::kInvalidArgument,
               "'" + text + "' is not one of " + CLI::detail::join(option.choices, ", "));
}

absl::StatusOr<std::string> ReadConfigFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  std::string text;
  char block[4096];
  size_t got = 0;
  while (file != nullptr && (got = std::fread(block, 1, sizeof block, file)) > 0)
    text.append(block, got);
  if (file == nullptr || std::ferror(file) != 0) {
    std::string why = std::strerror(errno);
    if (file != nullptr) std::fclose(file);
    return Error(ErrorCode::kInvalidArgument,
                 "the configuration file '" + path + "' cannot be read: " + why);
  }
  std::fclose(file);
  return text;
}

std::string OneLine(std::string text) {
  for (char& c : text)
    if (c == '\n') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace

std::string_view Version() { return ZSCHED_VERSION; }

std::string_view TextOf(Source source) {
  switch (source) {
    case Source::kFile:
      return "file";
    case Source::kEnvironment:
      return "environment";
    case Source::kFlag:
      return "flag";
    case Source::kDefault:
      break;
  }
  return "default";
}

// One object a level; the outermost owns what all share.
struct Flags::Impl {
  struct Slot {
    Option option;
    CLI::Option* cli = nullptr;
    Source source = Source::kDefault;
    std::string where = {};
    std::string value = {};
  };
  struct PositionalSlot {
    CLI::Option* cli;
    std::function<void(const std::vector<std::string>&)> set;
  };

  Impl* root = nullptr;
  CLI::App* app = nullptr;
  std::string name;
  std::string path;  // "" or "task wait"
  std::deque<Slot> slots;
  std::vector<PositionalSlot> positionals;
  std::vector<std::unique_ptr<Flags>> commands;
  std::string examples, notes;
  bool accepts_rest = false;

  // Of the outermost only.
  std::unique_ptr<CLI::App> owned_app;
  std::shared_ptr<HelpFormatter> formatter;
  CLI::Option* config_option = nullptr;
  std::string config_path;
  std::vector<ConfigItem> file_items;
  std::string command;
  std::optional<std::vector<std::string>> rest;
  UsageReporter usage_reporter;
  int argc = 0;
  const char* const* argv = nullptr;

  void UpdateFooter();
  void ForEachLevel(const std::function<void(Impl&)>& visit);
  std::vector<Impl*> Chosen();
  absl::Status LoadFile();
  absl::Status CheckFileKeys();
  const ConfigItem* FindItem(const std::string& key) const;
  std::vector<std::string> Find(Slot& slot);
  absl::Status Set(Slot& slot, const std::vector<std::string>& values);
  absl::Status Resolve();
  std::string Explain(const CLI::Error& error) const;
};

void Flags::Impl::UpdateFooter() {
  std::string footer;
  if (!notes.empty()) footer += notes + "\n\n";
  if (!examples.empty()) footer += "Examples:\n" + examples + "\n";
  footer +=
      "Every flag is also an environment variable and a key of the file that --config names\n"
      "(`max-attempts = 3`); a flag beats the environment, which beats the file.";
  if (this != root) footer += "\nFlags that every command takes: " + root->name + " --help";
  app->footer(footer);
}

void Flags::Impl::ForEachLevel(const std::function<void(Impl&)>& visit) {
  visit(*this);
  for (auto& command_flags : commands) command_flags->impl_->ForEachLevel(visit);
}

// The outermost level, and below it what the command line named.
std::vector<Flags::Impl*> Flags::Impl::Chosen() {
  std::vector<Impl*> chosen = {this};
  for (size_t i = 0; i < chosen.size(); ++i)
    for (auto& next : chosen[i]->commands)
      if (next->impl_->app->parsed()) {
        chosen.push_back(next->impl_.get());
        break;
      }
  return chosen;
}

absl::Status Flags::Impl::LoadFile() {
  if (config_option->count() > 0) {
    config_path = config_option->results().back();
  } else if (const char* variable = std::getenv(kConfigVariable)) {
    config_path = variable;
  }
  if (config_path.empty()) return absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(std::string text, ReadConfigFile(config_path));
  absl::StatusOr<std::vector<ConfigItem>> items = ParseConfigText(text);
  if (!items.ok())
    return Error(ErrorCode::kInvalidArgument, config_path + ":" + MessageOf(items.status()));
  file_items = *std::move(items);
  return CheckFileKeys();
}

absl::Status Flags::Impl::CheckFileKeys() {
  for (const ConfigItem& item : file_items) {
    bool known = false, repeated = false;
    ForEachLevel([&](Impl& level) {
      for (const Slot& slot : level.slots)
        if (LongName(slot.option.names) == item.key) {
          known = true;
          repeated |= slot.option.repeated;
        }
    });
    std::string where = config_path + ":" + std::to_string(item.line) + ": ";
    if (!known) return Error(ErrorCode::kInvalidArgument, where + "unknown key '" + item.key + "'");
    if (!repeated && item.values.size() != 1)
      return Error(ErrorCode::kInvalidArgument, where + "'" + item.key + "' takes one value");
  }
  return absl::OkStatus();
}

const ConfigItem* Flags::Impl::FindItem(const std::string& key) const {
  for (const ConfigItem& item : file_items)
    if (item.key == key) return &item;
  return nullptr;
}

// The values from the strongest source that has any; notes the source in the slot.
std::vector<std::string> Flags::Impl::Find(Slot& slot) {
  const std::string name_in_file = LongName(slot.option.names);
  const std::string variable = VariableName(name_in_file);
  std::vector<std::string> values;
  if (slot.cli->count() > 0) {
    slot.source = Source::kFlag;
    slot.where = "--" + name_in_file;
    values = slot.cli->results();
  } else if (const char* text = std::getenv(variable.c_str()); text != nullptr && *text != '\0') {
    slot.source = Source::kEnvironment;
    slot.where = variable;
    values = slot.option.repeated ? CLI::detail::split(text, ',') : std::vector<std::string>{text};
  } else if (const ConfigItem* item = root->FindItem(name_in_file)) {
    slot.source = Source::kFile;
    slot.where = root->config_path + ":" + std::to_string(item->line);
    values = item->values;
  }
  if (!slot.option.repeated && values.size() > 1) values = {values.back()};
  slot.value = CLI::detail::join(values, ",");
  return values;
}

absl::Status Flags::Impl::Set(Slot& slot, const std::vector<std::string>& values) {
  if (!values.empty() && slot.option.clear) slot.option.clear();
  for (const std::string& value : values) {
    absl::Status status = CheckChoice(slot.option, value);
    if (status.ok()) status = slot.option.set(value);
    if (status.ok()) continue;
    std::string where = slot.where;
    if (slot.source == Source::kFile) where += ": " + LongName(slot.option.names);
    return Error(ErrorCode::kInvalidArgument, where + ": " + MessageOf(status));
  }
  if (slot.option.required && slot.source == Source::kDefault)
    return Error(ErrorCode::kInvalidArgument, "--" + LongName(slot.option.names) +
                                                  " is required (or " +
                                                  VariableName(LongName(slot.option.names)) + ")");
  return absl::OkStatus();
}

// Options of commands that were not named are looked up for Settings() but not set, so that a
// variable meant for one command cannot break another.
absl::Status Flags::Impl::Resolve() {
  ZS_RETURN_IF_ERROR(LoadFile());
  std::vector<Impl*> chosen = Chosen();
  absl::Status first_error;
  ForEachLevel([&](Impl& level) {
    bool in_force = std::find(chosen.begin(), chosen.end(), &level) != chosen.end();
    for (Slot& slot : level.slots) {
      std::vector<std::string> values = level.Find(slot);
      if (in_force && first_error.ok()) first_error = level.Set(slot, values);
    }
    if (!in_force) return;
    for (PositionalSlot& slot : level.positionals)
      if (slot.cli->count() > 0) slot.set(slot.cli->results());
  });
  return first_error;
}

// CLI11's messages, the common ones in plainer words.
std::string Flags::Impl::Explain(const CLI::Error& error) const {
  const bool required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (required || dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    // The value of an unknown option is left over too; the option is what the user wants to hear
    // of.
    std::vector<std::string> extras;
    for (const Impl* level : root->Chosen())
      for (std::string& extra : level->app->remaining()) extras.push_back(std::move(extra));
    for (const std::string& extra : extras)
      if (extra.size() > 1 && extra[0] == '-') return "unknown option " + extra;
    if (!extras.empty())
      return (commands.empty() ? "unexpected argument '" : "unknown command '") + extras.front() +
             "'";
  }
  if (required && !commands.empty()) {
    std::string names;
    for (const auto& next : commands) names += (names.empty() ? "" : ", ") + next->impl_->name;
    return "name a command: " + names;
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    std::string text = error.what();
    return text.substr(0, text.find(':')) + " needs a value";
  }
  return OneLine(error.what());
}

Flags::Flags(std::string program, std::string description) : impl_(std::make_unique<Impl>()) {
  impl_->owned_app = std::make_unique<CLI::App>(std::move(description), program);
  impl_->app = impl_->owned_app.get();
  impl_->root = impl_.get();
  impl_->name = program;
  impl_->formatter = std::make_shared<HelpFormatter>();
  impl_->formatter->label("SUBCOMMAND", "COMMAND");
  impl_->formatter->label("OPTIONS", "FLAGS");
  impl_->app->formatter(impl_->formatter);
  impl_->app->set_help_flag("-h,--help", "Print this help and end");
  impl_->app->set_version_flag("--version", program + " " + std::string(Version()),
                               "Print the version and end");
  impl_->config_option = impl_->app->add_option("--config", CLI::callback_t(),
                                                "Configuration file [env: ZSCHED_CONFIG]");
  impl_->config_option->option_text(" FILE")->take_last();
  impl_->UpdateFooter();
}

Flags::Flags(Impl* root, Flags* parent, std::string name, std::string description)
    : impl_(std::make_unique<Impl>()) {
  Impl& outer = *parent->impl_;
  impl_->root = root;
  impl_->name = name;
  impl_->path = outer.path.empty() ? name : outer.path + " " + name;
  outer.app->require_subcommand(1);
  impl_->app = outer.app->add_subcommand(name, std::move(description));
  impl_->app->fallthrough()->group("Commands");
  impl_->UpdateFooter();
}

Flags::~Flags() = default;

std::vector<Flags::Level> Flags::Levels() const {
  std::vector<Level> levels;
  impl_->ForEachLevel([&levels](Impl& impl) {
    Level& level = levels.emplace_back(Level{.path = impl.path});
    for (const auto& command : impl.commands) level.commands.push_back(command->impl_->name);
    for (const Impl::Slot& slot : impl.slots) level.options.push_back(&slot.option);
  });
  return levels;
}

Flags& Flags::Command(std::string name, std::string description) {
  impl_->commands.push_back(std::unique_ptr<Flags>(
      new Flags(impl_->root, this, std::move(name), std::move(description))));
  return *impl_->commands.back();
}

void Flags::Example(std::string line) {
  impl_->examples += "  " + line + "\n";
  impl_->UpdateFooter();
}

void Flags::Notes(std::string text) {
  impl_->notes = std::move(text);
  impl_->UpdateFooter();
}

void Flags::AcceptRest(std::string value_name) {
  impl_->accepts_rest = true;
  impl_->root->formatter->rest[impl_->app] = std::move(value_name);
}

Flags::Option& Flags::Add(Option option) {
  ZS_CHECK(option.set != nullptr);
  CLI::Option* cli = nullptr;
  if (option.value_name.empty()) {
    cli = impl_->app->add_flag(option.names)->take_last();
  } else {
    cli = impl_->app->add_option(option.names, CLI::callback_t())->expected(1);
    // Without this CLI11 would take "[a,b]" apart.
    cli->take_all()->allow_extra_args(false)->option_text(" " + option.value_name);
  }
  impl_->slots.push_back({.option = std::move(option), .cli = cli});
  return impl_->slots.back().option;
}

Flags::Option& Flags::Switch(std::string names, bool* target, std::string help) {
  return Add({.names = std::move(names),
              .help = std::move(help),
              .set = [target](std::string_view text) -> absl::Status {
                ZS_ASSIGN_OR_RETURN(*target, ParseSwitch(text));
                return absl::OkStatus();
              }});
}

Flags::Option& Flags::Texts(std::string names, std::vector<std::string>* target, std::string help,
                            std::string value_name) {
  return Add({.names = std::move(names),
              .value_name = std::move(value_name),
              .help = std::move(help),
              .default_text = CLI::detail::join(*target, ","),
              .repeated = true,
              .set =
                  [target](std::string_view text) {
                    target->emplace_back(text);
                    return absl::OkStatus();
                  },
              .clear = [target] { target->clear(); }});
}

Flags::Option& Flags::List(std::string names, std::vector<std::string>* target, std::string help,
                           std::string value_name) {
  Option& option = Texts(std::move(names), target, std::move(help), std::move(value_name));
  option.set = [target](std::string_view text) -> absl::Status {
    for (std::string& word : CLI::detail::split(std::string(text), ',')) {
      CLI::detail::trim(word);
      if (word.empty())
        return Error(ErrorCode::kInvalidArgument,
                     "'" + std::string(text) + "' has an empty word; write it like a,b");
      target->push_back(std::move(word));
    }
    return absl::OkStatus();
  };
  return option;
}

Flags::Option& Flags::Brokers(std::string names, std::vector<HostPort>* target, std::string help) {
  std::string default_text;
  for (const HostPort& address : *target)
    default_text += (default_text.empty() ? "" : ",") + ToString(address);
  return Add({.names = std::move(names),
              .value_name = "HOST:PORT[,HOST:PORT]",
              .help = std::move(help),
              .default_text = std::move(default_text),
              .set = [target](std::string_view text) -> absl::Status {
                ZS_ASSIGN_OR_RETURN(*target, ParseBrokerList(text));
                return absl::OkStatus();
              }});
}

void Flags::ReportUsageErrors(UsageReporter reporter) {
  impl_->root->usage_reporter = std::move(reporter);
}

void Flags::Positional(std::string name, std::string* target, std::string help, bool required) {
  CLI::Option* cli = impl_->app->add_option(std::move(name), CLI::callback_t(), std::move(help));
  cli->required(required)->expected(1)->allow_extra_args(false);
  impl_->positionals.push_back({cli, [target](const auto& values) { *target = values.front(); }});
}

void Flags::Positionals(std::string name, std::vector<std::string>* target, std::string help,
                        bool required) {
  CLI::Option* cli = impl_->app->add_option(std::move(name), CLI::callback_t(), std::move(help));
  cli->required(required)->expected(-1)->take_all();
  impl_->positionals.push_back({cli, [target](const auto& values) { *target = values; }});
}

std::optional<int> Flags::Parse(int argc, const char* const* argv) {
  Impl& impl = *impl_;
  impl.argc = argc;
  impl.argv = argv;
  impl.ForEachLevel([](Impl& level) {
    for (Impl::Slot& slot : level.slots) slot.cli->description(HelpOf(slot.option));
  });
  // CLI11 would take words after `--` for positionals and split "[a,b]" among them.
  int end = 1;
  while (end < argc && std::string_view(argv[end]) != "--") ++end;
  if (end < argc) impl.rest.emplace(argv + end + 1, argv + argc);
  std::vector<std::string> arguments;  // CLI11 wants them last first
  for (int i = end; i-- > 1;) arguments.emplace_back(argv[i]);
  try {
    impl.app->parse(std::move(arguments));
  } catch (const CLI::Success& done) {  // help, version
    return impl.app->exit(done);
  } catch (const CLI::Error& error) {
    Impl& level = *impl.Chosen().back();
    impl.command = level.path;
    return UsageError(level.Explain(error));
  }
  std::vector<Impl*> chosen = impl.Chosen();
  impl.command = chosen.back()->path;
  if (impl.rest && !chosen.back()->accepts_rest) return UsageError("nothing may follow '--' here");
  if (absl::Status status = impl.Resolve(); !status.ok()) return UsageError(MessageOf(status));
  return std::nullopt;
}

const std::string& Flags::command() const { return impl_->root->command; }

const std::optional<std::vector<std::string>>& Flags::rest() const { return impl_->root->rest; }

std::vector<Setting> Flags::Settings() const {
  const Impl& root = *impl_->root;
  std::vector<Setting> settings = {{.command = "", .name = "config", .value = root.config_path}};
  if (!root.config_path.empty()) {
    bool flag = root.config_option->count() > 0;
    settings[0].source = flag ? Source::kFlag : Source::kEnvironment;
    settings[0].where = flag ? "--config" : kConfigVariable;
  }
  impl_->root->ForEachLevel([&](Impl& level) {
    for (const Impl::Slot& slot : level.slots) {
      bool unset = slot.source == Source::kDefault;
      std::string text = unset ? slot.option.default_text : slot.value;
      if (unset && slot.option.value_name.empty()) text = "false";
      settings.push_back(
          {level.path, LongName(slot.option.names), std::move(text), slot.source, slot.where});
    }
  });
  return settings;
}

int Flags::PrintSettings() const {
  for (const Setting& setting : Settings()) {
    std::string name = (setting.command.empty() ? "" : setting.command + " ") + setting.name;
    std::string from = setting.where.empty() ? std::string(TextOf(setting.source)) : setting.where;
    std::printf("%-24s %-28s %s\n", name.c_str(), setting.value.c_str(), from.c_str());
  }
  return 0;
}

Source Flags::SourceOf(std::string_view name) const {
  for (Impl* level : impl_->root->Chosen())
    for (const Impl::Slot& slot : level->slots)
      if (LongName(slot.option.names) == name) return slot.source;
  return Source::kDefault;
}

int Flags::UsageError(std::string_view message) const {
  const Impl& root = *impl_->root;
  if (root.usage_reporter && root.usage_reporter(root.argc, root.argv, std::string(message)))
    return kUsageExit;
  std::string path = root.command.empty() ? root.name : root.name + " " + root.command;
  std::string line = root.name + ": " + std::string(message) + " (see '" + path + " --help')\n";
  std::cerr << line << std::flush;
  return kUsageExit;
}

namespace internal {

absl::StatusOr<int64_t> ParseNumber(std::string_view text) {
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    return Error(ErrorCode::kInvalidArgument, "'" + std::string(text) + "' is not a whole number");
  return number;
}

std::string FormatNumber(int64_t value) { return std::to_string(value); }

absl::Status CheckRange(std::string_view text, int64_t value, int64_t min, int64_t max,
                        std::string (*format)(int64_t)) {
  if (value >= min && value <= max) return absl::OkStatus();
  std::string bounds = max == std::numeric_limits<int64_t>::max()
                           ? "less than " + format(min)
                           : "not within " + format(min) + ".." + format(max);
  return Error(ErrorCode::kInvalidArgument, "'" + std::string(text) + "' is " + bounds);
}

}  // namespace internal

}  // namespace zsched
