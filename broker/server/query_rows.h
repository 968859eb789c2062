// Reading rows for queries, and small pieces of their answers. Private to broker/server's query*.cc.
//
// Threads: pure functions on a view of the caller's.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/check.h"
#include "broker/journal/journal.h"
#include "schemas/errors.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

inline absl::Status BadRow(const char* table, uint64_t key) {
  return Error(ErrorCode::kDataLoss, std::string("row ") + std::to_string(key) + " of table " +
                                         table + " cannot be read; restore a backup");
}

// nullopt: there is no such task.
inline absl::StatusOr<std::optional<TaskRow>> ReadTask(JournalView& view, uint64_t id) {
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kTasks, id));
  if (!bytes) return std::optional<TaskRow>();
  TaskRow row;
  if (RowReader in(*bytes); !in.Read(row) || row.version != kRowVersion) return BadRow("tasks", id);
  return std::optional<TaskRow>(row);
}

// Empty for kNoWorker and for one that left long ago.
inline absl::StatusOr<std::string> NameOfWorker(JournalView& view, uint32_t number) {
  if (number == kNoWorker) return std::string();
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kWorkers, number));
  if (!bytes) return std::string();
  WorkerRow head;
  std::string_view name;
  RowReader in(*bytes);
  if (!in.Read(head) || !in.Take(head.name_bytes, name)) return BadRow("workers", number);
  return std::string(name);
}

// nullopt: the task has none.
inline absl::StatusOr<std::optional<TrailRow>> TrailOf(JournalView& view, uint64_t task) {
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kTrails, task));
  if (!bytes) return std::optional<TrailRow>();
  std::optional<TrailRow> row = ReadTrail(*bytes);
  if (!row) return BadRow("trails", task);
  return row;
}

inline flatbuffers::Offset<flatbuffers::String> Str(flatbuffers::FlatBufferBuilder& b,
                                                    std::string_view s) {
  return s.empty() ? flatbuffers::Offset<flatbuffers::String>()
                   : b.CreateString(s.data(), s.size());
}
inline std::string Body(flatbuffers::FlatBufferBuilder& b) {
  return std::string(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
}

}  // namespace zsched::broker
