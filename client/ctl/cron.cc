// `zsched-ctl cron`: time schedules. `next` asks no broker: the arithmetic is a library.
#include "cron/cron.h"

#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"
#include "cron/warnings.h"

namespace zsched::ctl {
namespace {

constexpr int64_t kDefaultCount = 5;
// A person reads fewer, and every one is held in memory.
constexpr int64_t kMaxCount = 10'000;
// The rarest surprises that are worth a warning come once a year.
constexpr int64_t kWarnedMs = int64_t{365} * 24 * 3600 * 1000;

struct NextArgs {
  std::string expression;
  std::string zone = "UTC";
  int64_t count = kDefaultCount;
  std::optional<std::string> from;
};

void PrintTable(const Context& context, const absl::TimeZone& zone,
                const std::vector<int64_t>& times_ms, const std::vector<cron::Warning>& warnings) {
  Table table({{.title = "DAY"}, {.title = "IN " + zone.name()}, {.title = "UTC"}});
  for (int64_t time_ms : times_ms) {
    const absl::Time time = absl::FromUnixMillis(time_ms);
    table.Row({{absl::FormatTime("%a", time, zone)},
               {absl::FormatTime("%Y-%m-%d %H:%M:%E*S %Z", time, zone)},
               {CronTimeText(time_ms)}});
  }
  if (table.empty()) context.Note("it does not fire any more");
  if (!table.empty()) Print(table.Render(context.width(), context.colors()));
  for (const cron::Warning& warning : warnings)
    Print(Colored("warning:", Color::kYellow, context.colors()) + " " + warning.text + "\n");
}

int ShowNext(const Context& context, const NextArgs& args) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  absl::StatusOr<cron::Schedule> schedule = cron::Parse(args.expression);
  if (!schedule.ok()) return context.Fail(schedule.status());
  absl::StatusOr<absl::TimeZone> zone = cron::LoadZone(args.zone);
  if (!zone.ok()) return context.Fail(zone.status());
  absl::StatusOr<int64_t> from_ms = args.from ? ParseTimeMs(*args.from) : WallMs();
  if (!from_ms.ok()) return context.Fail(from_ms.status());

  // Seen from here @every begins now; a schedule that exists counts from when it was made.
  const std::vector<int64_t> times_ms =
      cron::NextTimes(*schedule, *zone, *from_ms, *from_ms, static_cast<size_t>(args.count));
  const std::vector<cron::Warning> warnings = cron::Warnings(*schedule, *zone, *from_ms, kWarnedMs);
  switch (context.form()) {
    case Form::kTable:
      PrintTable(context, *zone, times_ms, warnings);
      break;
    case Form::kJson:
      Print(CronNextJson(times_ms, warnings) + "\n");
      break;
    case Form::kJsonl:
      for (int64_t time_ms : times_ms) Print("{\"next\":" + Quote(CronTimeText(time_ms)) + "}\n");
      for (const cron::Warning& warning : warnings)
        Print("{\"warning\":" + CronWarningJson(warning) + "}\n");
      break;
    case Form::kId:
      break;
  }
  return FinishOutput();
}

}  // namespace

void AddCron(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("cron", "Time schedules: make, see, change, preview");
  family.Example("zsched-ctl cron next \"30 2 * * MON-FRI\" --tz Europe/Berlin");
  AddSchedules(context, family, actions);
  Flags& next = family.Command("next", "Show the coming firings of an expression, and oddities");
  auto args = std::make_shared<NextArgs>();
  next.Positional("EXPR", &args->expression,
                  "\"[SECOND] MINUTE HOUR DAY MONTH WEEKDAY\", @daily and the like, or @every 90s");
  next.Text("--tz", &args->zone, "Time zone, by its IANA name", "ZONE");
  next.Number("--count", &args->count, "How many firings", 1, kMaxCount);
  next.Text("--from", &args->from, "Those after this time; default: now", "RFC3339");
  next.Notes(
      "Needs no broker. Fields take 5, 1,2, 1-5, *, */15, 10-30/5, 5/15, JAN..DEC, SUN..SAT; days\n"
      "also L, L-3, FRIL, FRI#2 and ?. When both day fields are restricted, either suffices.\n"
      "A time that clocks skip fires right after the gap; one that comes twice fires once; when\n"
      "every hour is allowed, firings follow real time. Warnings look a year ahead.");
  next.Example(
      "zsched-ctl cron next \"30 2 * * *\" --tz Europe/Berlin --from 2027-03-26T00:00:00Z");
  next.Example("zsched-ctl cron next \"0 9 L * ?\" --count 12 -o json | jq -r '.next[]'");
  next.Example("zsched-ctl cron next \"@every 90s\"");
  actions["cron next"] = [&context, args] { return ShowNext(context, *args); };
}

}  // namespace zsched::ctl
