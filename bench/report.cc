#include "bench/report.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/stats.h"

namespace zsched::bench {
namespace {

constexpr char kSpread[] = "spread", kRuns[] = "runs";

std::vector<double> NumbersOf(const std::vector<const Json*>& runs) {
  std::vector<double> numbers;
  for (const Json* run : runs)
    if (run->is_number()) numbers.push_back(run->get<double>());
  return numbers;
}

std::vector<const Json*> Members(const std::vector<const Json*>& runs, const std::string& key) {
  std::vector<const Json*> members;
  for (const Json* run : runs)
    if (run->contains(key)) members.push_back(&(*run)[key]);
  return members;
}

Json Median(const std::vector<const Json*>& runs);

// null: the rows cannot be laid side by side.
Json MedianRows(const std::vector<const Json*>& runs) {
  Json rows = Json::array();
  for (size_t i = 0; i < runs[0]->size(); ++i) {
    std::vector<const Json*> row;
    for (const Json* run : runs) {
      if (run->size() != runs[0]->size()) return nullptr;
      row.push_back(&(*run)[i]);
    }
    rows.push_back(Median(row));
  }
  return rows;
}

Json Median(const std::vector<const Json*>& runs) {
  const Json& first = *runs[0];
  if (first.is_array()) return MedianRows(runs);
  if (first.is_number_float()) return SpreadOf(NumbersOf(runs)).median;
  if (!first.is_object()) return first;
  Json medians = Json::object();
  for (const auto& [key, value] : first.items()) medians[key] = Median(Members(runs, key));
  return medians;
}

Json Spreads(const std::vector<const Json*>& runs) {
  Json spreads = Json::object();
  for (const auto& [key, value] : runs[0]->items()) {
    std::vector<const Json*> members = Members(runs, key);
    if (value.is_object()) {
      spreads[key] = Spreads(members);
    } else if (value.is_number_float()) {
      Spread spread = SpreadOf(NumbersOf(members));
      spreads[key] = {{"min", spread.min}, {"max", spread.max}, {"relative", spread.relative()}};
    }
  }
  return spreads;
}

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof text, format, args...);
  return text;
}

// Few digits behind the point where there are many before it.
std::string NumberText(const Json& value) {
  if (value.is_null()) return "-";
  if (!value.is_number_float()) return value.dump();
  double number = value.get<double>();
  return Format("%.*f", number >= 10'000 || number <= -10'000 ? 0 : 3, number);
}

std::string SpreadText(const Json& spread) {
  std::string text =
      Format("   %s .. %s", NumberText(spread["min"]).c_str(), NumberText(spread["max"]).c_str());
  double relative = spread["relative"].get<double>();
  return std::isfinite(relative) ? text + Format(" (%.1f %%)", relative * 100) : text;
}

// One line a figure: a nested object becomes "name p50".
std::string FigureLines(const Json& figures, const Json& spreads, const std::string& prefix) {
  std::string text;
  for (const auto& [key, value] : figures.items()) {
    if (value.is_array() || (prefix.empty() && key == kSpread)) continue;
    const Json spread = spreads.is_object() ? spreads.value(key, Json()) : Json();
    if (value.is_object()) {
      text += FigureLines(value, spread, prefix + key + " ");
      continue;
    }
    text += Format("%-38s %14s", (prefix + key).c_str(), NumberText(value).c_str());
    if (spread.is_object()) text += SpreadText(spread);
    text += "\n";
  }
  return text;
}

std::string RowsText(const std::string& name, const Json& rows) {
  std::string text = "\n" + name + "\n";
  for (const auto& [key, value] : rows[0].items()) text += Format("%18s", key.c_str());
  text += "\n";
  for (const Json& row : rows) {
    for (const auto& [key, value] : row.items()) text += Format("%18s", NumberText(value).c_str());
    text += "\n";
  }
  return text;
}

}  // namespace

Json Summarise(const std::vector<Json>& runs) {
  std::vector<const Json*> all;
  for (const Json& run : runs) all.push_back(&run);
  Json result = Median(all);
  if (runs.size() == 1) return result;
  result[kSpread] = Spreads(all);
  result[kRuns] = runs;
  return result;
}

std::string TableText(const Json& result) {
  std::string text = FigureLines(result, result.contains(kSpread) ? result[kSpread] : Json(), "");
  for (const auto& [key, value] : result.items())
    if (value.is_array() && !value.empty() && key != kRuns) text += RowsText(key, value);
  return text;
}

}  // namespace zsched::bench
