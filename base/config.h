// Command line, environment and configuration file of a program, as one set of named options.
// Owned by base.
//
// Every option can be given three ways, the stronger first: as a flag (`--max-attempts 3`), as an
// environment variable (`ZSCHED_MAX_ATTEMPTS=3`, `a,b` for options that repeat; an empty one counts
// as absent), or as a key of the file that `--config FILE` or ZSCHED_CONFIG names:
//
//   # comment
//   max-attempts = 3
//   queue = "with # and \"quotes\""        # 'single quotes' take everything as it is
//   label = ["team=blue", "tier=2"]        # options that repeat
//   wait = true
//
// Example:
//   Flags flags("zsched-worker", "Runs tasks.");
//   flags.Brokers("--brokers", &brokers, "Brokers to ask for work");
//   flags.Duration("--grace", &grace_ms, "Time that a task has to end");
//   flags.Text("--data", &data, "Data directory").Required();
//   flags.Example("zsched-worker --brokers a:5570,b:5570");
//   if (std::optional<int> code = flags.Parse(argc, argv)) return *code;
//
// The targets hold the defaults before Parse and the values in force after it. A target that is a
// std::optional stays empty until somebody gives a value. Options are named as CLI11 does
// ("-o,--output"); the long name makes the variable and the key.
//
// Threads: one thread, at program start.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/text.h"

namespace zsched {

// "0.1.0", the version of this build.
std::string_view Version();

enum class Source : uint8_t { kDefault, kFile, kEnvironment, kFlag };
// "default", "file", "environment", "flag".
std::string_view TextOf(Source source);

// One option as `config show` prints it.
struct Setting {
  std::string command;  // "" for an option of the program, "task wait" for one of that command
  std::string name;     // "max-attempts"
  std::string value;    // as it was typed; values of an option that repeats are joined by ','
  Source source = Source::kDefault;
  std::string where =
      {};  // "--max-attempts", "ZSCHED_MAX_ATTEMPTS", "/etc/z.conf:3", "" for a default
};

class Flags {
 public:
  // How one option is called, shown and set. Made by the methods below; most callers only chain
  // Required() to it.
  struct Option {
    std::string names = {};       // "-o,--output"
    std::string value_name = {};  // "DURATION"; empty for a switch
    std::string help = {};
    std::string default_text = {};  // what an unset option amounts to; empty: not shown
    bool repeated = false;
    bool required = false;
    std::vector<std::string> choices = {};  // empty: anything
    std::function<absl::Status(std::string_view)> set =
        {};                            // once per value; the target is the caller's
    std::function<void()> clear = {};  // before the first value of a repeated one

    Option& Required() {
      required = true;
      return *this;
    }
  };

  // `program` stands in messages and usage; `description` opens --help. Adds --config, --version
  // and -h,--help.
  Flags(std::string program, std::string description);
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // A command ("submit") or a family of commands ("task", with its own Command()s). Once there is
  // one, a command line must name one. The result lives as long as this object; options of the
  // outer levels are taken after the command too.
  Flags& Command(std::string name, std::string description);
  // One line for the examples at the end of --help.
  void Example(std::string line);
  // Paragraphs after the options in --help.
  void Notes(std::string text);
  // Allows `-- ARG…`; what follows stands untouched in rest().
  void AcceptRest(std::string value_name);

  Option& Add(Option option);

  // A switch: `--wait`, ZSCHED_WAIT=true, `wait = true`. Takes true/false, 1/0, yes/no, on/off.
  Option& Switch(std::string names, bool* target, std::string help);
  // T: std::string or std::optional<std::string>. `choices`, when not empty, are the only values.
  template <class T>
  Option& Text(std::string names, T* target, std::string help, std::string value_name = "TEXT",
               std::vector<std::string> choices = {});
  // An option that may be given several times. A stronger source replaces a weaker one's whole
  // list.
  Option& Texts(std::string names, std::vector<std::string>* target, std::string help,
                std::string value_name = "TEXT");
  // Comma-separated words in one value ("a,b"); given several times, the lists are joined.
  Option& List(std::string names, std::vector<std::string>* target, std::string help,
               std::string value_name = "A,B");
  // T: any integer type or std::optional of one. Bounds are inclusive.
  template <class T>
  Option& Number(std::string names, T* target, std::string help, int64_t min = 0,
                 int64_t max = std::numeric_limits<int64_t>::max());
  // T as for Number; milliseconds. Bounds are inclusive.
  template <class T>
  Option& Duration(std::string names, T* target_ms, std::string help, int64_t min_ms = 0,
                   int64_t max_ms = std::numeric_limits<int64_t>::max());
  // T as for Number; bytes, typed as 1048576, 512KiB, 64MiB, 1GiB or 1TiB.
  template <class T>
  Option& Size(std::string names, T* target_bytes, std::string help, int64_t min = 0,
               int64_t max = std::numeric_limits<int64_t>::max());
  // T: HostPort or std::optional<HostPort>.
  template <class T>
  Option& Address(std::string names, T* target, std::string help);
  Option& Brokers(std::string names, std::vector<HostPort>* target, std::string help);

  // Arguments without a flag; only the command line gives them.
  void Positional(std::string name, std::string* target, std::string help, bool required = true);
  void Positionals(std::string name, std::vector<std::string>* target, std::string help,
                   bool required = true);

  // What can be typed: the program itself (path ""), its families and commands ("task wait"), each with
  // what may follow. For shells that complete it. The options live as long as this object.
  struct Level {
    std::string path = {};
    std::vector<std::string> commands = {};
    std::vector<const Option*> options = {};
  };
  std::vector<Level> Levels() const;

  // Called with each usage error instead of printing it; false: it is to be printed after all.
  // `argc` and `argv` are Parse's. For programs whose errors have another form on demand.
  using UsageReporter =
      std::function<bool(int argc, const char* const* argv, const std::string& message)>;
  void ReportUsageErrors(UsageReporter reporter);

  // Reads the three sources and sets the targets. nullopt: go on. Otherwise the program ends with
  // this code: 0 after --help or --version (printed on stdout), 2 after a usage error (one line on
  // stderr that names the flag, variable or file and line at fault). Call once, on the outermost.
  [[nodiscard]] std::optional<int> Parse(int argc, const char* const* argv);

  // After Parse: the command that was named, "task wait"; "" without commands.
  const std::string& command() const;
  // After Parse: what stood after `--`; nullopt when there was no `--`.
  const std::optional<std::vector<std::string>>& rest() const;
  // After Parse: every option of the program and of all its commands, in the order they were added.
  std::vector<Setting> Settings() const;
  // After Parse: prints every option in force with its value and source as a table on stdout;
  // returns 0. For
  // --check-config, after the program's own rules held.
  int PrintSettings() const;
  // Where the value of the option with this long name came from, among the options in force.
  Source SourceOf(std::string_view name) const;
  // Prints `message` and where to find help on stderr as one line; returns 2. For rules between
  // options that the program checks after Parse.
  int UsageError(std::string_view message) const;

 private:
  struct Impl;
  Flags(Impl* root, Flags* parent, std::string name, std::string description);

  std::unique_ptr<Impl> impl_;
};

// --- Implementation of the templates -------------------------------------------------------------

namespace internal {

template <class T>
struct Unwrapped {
  using Type = T;
};
template <class T>
struct Unwrapped<std::optional<T>> {
  using Type = T;
};
template <class T>
using UnwrappedType = typename Unwrapped<T>::Type;

// The value that an option has before anybody sets it; nullptr for an empty optional.
template <class T>
const T* DefaultOf(const T* target) {
  return target;
}
template <class T>
const T* DefaultOf(const std::optional<T>* target) {
  return target->has_value() ? &**target : nullptr;
}

absl::StatusOr<int64_t> ParseNumber(std::string_view text);
// OK, or INVALID_ARGUMENT that shows the bounds through `format`.
absl::Status CheckRange(std::string_view text, int64_t value, int64_t min, int64_t max,
                        std::string (*format)(int64_t));
std::string FormatNumber(int64_t value);

template <class T>
Flags::Option IntegerOption(std::string names, std::string value_name, T* target, std::string help,
                            int64_t min, int64_t max,
                            absl::StatusOr<int64_t> (*parse)(std::string_view),
                            std::string (*format)(int64_t)) {
  using Integer = UnwrappedType<T>;
  static_assert(std::is_integral_v<Integer>);
  if (!std::in_range<Integer>(max)) max = static_cast<int64_t>(std::numeric_limits<Integer>::max());
  Flags::Option option{
      .names = std::move(names), .value_name = std::move(value_name), .help = std::move(help)};
  if (const Integer* value = DefaultOf(target))
    option.default_text = format(static_cast<int64_t>(*value));
  option.set = [=](std::string_view text) -> absl::Status {
    absl::StatusOr<int64_t> value = parse(text);
    if (!value.ok()) return value.status();
    if (absl::Status range = CheckRange(text, *value, min, max, format); !range.ok()) return range;
    *target = static_cast<Integer>(*value);
    return absl::OkStatus();
  };
  return option;
}

}  // namespace internal

template <class T>
Flags::Option& Flags::Text(std::string names, T* target, std::string help, std::string value_name,
                           std::vector<std::string> choices) {
  Option option{.names = std::move(names),
                .value_name = std::move(value_name),
                .help = std::move(help),
                .choices = std::move(choices)};
  if (const std::string* value = internal::DefaultOf(target)) option.default_text = *value;
  option.set = [target](std::string_view text) {
    *target = std::string(text);
    return absl::OkStatus();
  };
  return Add(std::move(option));
}

template <class T>
Flags::Option& Flags::Number(std::string names, T* target, std::string help, int64_t min,
                             int64_t max) {
  return Add(internal::IntegerOption(std::move(names), "N", target, std::move(help), min, max,
                                     internal::ParseNumber, internal::FormatNumber));
}

template <class T>
Flags::Option& Flags::Duration(std::string names, T* target_ms, std::string help, int64_t min_ms,
                               int64_t max_ms) {
  return Add(internal::IntegerOption(std::move(names), "DURATION", target_ms, std::move(help),
                                     min_ms, max_ms, ParseDurationMs, FormatDurationMs));
}

template <class T>
Flags::Option& Flags::Size(std::string names, T* target_bytes, std::string help, int64_t min,
                           int64_t max) {
  return Add(internal::IntegerOption(std::move(names), "SIZE", target_bytes, std::move(help), min,
                                     max, ParseSizeBytes, FormatSizeBytes));
}

template <class T>
Flags::Option& Flags::Address(std::string names, T* target, std::string help) {
  Option option{.names = std::move(names), .value_name = "HOST:PORT", .help = std::move(help)};
  if (const HostPort* value = internal::DefaultOf(target); value != nullptr && !value->host.empty())
    option.default_text = ToString(*value);
  option.set = [target](std::string_view text) -> absl::Status {
    absl::StatusOr<HostPort> address = ParseHostPort(text);
    if (!address.ok()) return address.status();
    *target = *std::move(address);
    return absl::OkStatus();
  };
  return Add(std::move(option));
}

}  // namespace zsched
