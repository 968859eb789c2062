// Expressions of time schedules; what is taken fires in order, in zones of every kind, and can be warned about.
#include <cstdlib>
#include <string_view>

#include "cron/cron.h"
#include "cron/warnings.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched::cron;
  constexpr int64_t kFromMs = 1'710'000'000'000;  // 2024-03-09, the day before New York's gap
  constexpr int64_t kYearMs = int64_t{366} * 24 * 3600 * 1000;
  absl::StatusOr<Schedule> schedule =
      Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!schedule.ok()) return 0;
  for (const char* name : {"UTC", "America/New_York", "Australia/Lord_Howe"}) {
    const absl::TimeZone zone = *LoadZone(name);
    for (int64_t last_ms = kFromMs, end_ms = kFromMs + kYearMs, i = 0; i < 20 && last_ms < end_ms;
         ++i) {
      std::optional<int64_t> next_ms = Next(*schedule, zone, last_ms, kFromMs);
      // Parse refuses what never fires, and each firing lies after the one before.
      if (!next_ms || *next_ms <= last_ms) std::abort();
      last_ms = *next_ms;
    }
    for (const Warning& warning : Warnings(*schedule, zone, kFromMs, kYearMs))
      if (warning.text.empty() || warning.at_ms > kFromMs + kYearMs) std::abort();
  }
  return 0;
}
