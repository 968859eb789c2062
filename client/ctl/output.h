// Lists on stdout in the form that -o asks for: tables for people, one JSON document, JSON lines,
// bare ids. Owned by zsched-ctl.
//
// Example:
//   TaskWriter writer(context);
//   for (const TaskInfo& task : tasks) writer.Add(task);
//   writer.Finish();
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "client/ctl/context.h"
#include "client/ctl/table.h"

namespace zsched::ctl {

// Writes {"NAME":[item,item…]} as the items come (json), one item a line (jsonl), or its id (id).
// Holds nothing back, so that a million items need no memory. Does nothing with tables.
class ItemStream {
 public:
  ItemStream(Form form, std::string name) : form_(form), name_(std::move(name)) {}
  // `json` is one JSON value; `id` is used with -o id.
  void Add(std::string_view json, std::string_view id);
  // `more` are further fields of the document, such as "\"cursor\":null"; used with json only.
  void Finish(std::string_view more = "");

 private:
  Form form_;
  std::string name_;
  uint64_t count_ = 0;
};

// Tasks: one row each in a table, in full in JSON.
class TaskWriter {
 public:
  explicit TaskWriter(const Context& context);
  void Add(const TaskInfo& task);
  // `more` as for ItemStream. Prints the table; says so when it holds only the first kMaxTableRows.
  void Finish(std::string_view more = "");
  // Hands what was added so far to the reader of stdout; nothing with tables.
  void Flush();
  // False: the next Add would not show more than the id.
  bool needs_details() const;

  // A person does not read more, and the table is held in memory.
  static constexpr uint64_t kMaxTableRows = 1000;

 private:
  const Context& context_;
  ItemStream stream_;
  Table table_;
  uint64_t rows_ = 0, skipped_ = 0;
};

Color ColorOf(TaskState state);

// Prints text that is complete; every write to stdout goes through here, so that a failure (full
// disk) is noticed in the end.
void Print(std::string_view text);
// Flushes stdout. 0, or 1 after an error message when something could not be written.
int FinishOutput();

int64_t WallMs();

}  // namespace zsched::ctl
