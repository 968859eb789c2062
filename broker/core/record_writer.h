// How Step writes records: opened with placeholders at the end of the batch, filled by appending
// entries, closed with the final counts. Private to broker/core's on_*.cc files.
#pragma once

#include "broker/core/core.h"

namespace zsched::broker {

template <class Record>
Core::OpenedRecord Core::OpenRecord(RecordKind kind, const Record& placeholder) {
  std::string& records = batch_.OpenRecord();
  OpenedRecord opened{records.size(), kind};
  AppendStruct(records, RecordHead{});
  AppendStruct(records, placeholder);
  return opened;
}

template <class Record>
Lsn Core::CloseRecord(const OpenedRecord& opened, const Record& record, Now now) {
  std::string& records = batch_.OpenRecord();
  if (!state_.told().empty()) Tell(opened.kind);
  RecordHead head;
  head.bytes = static_cast<uint32_t>(records.size() - opened.start);
  head.kind = opened.kind;
  head.time_ms = now.wall_ms;
  std::memcpy(records.data() + opened.start, &head, sizeof head);
  std::memcpy(records.data() + opened.start + sizeof head, &record, sizeof record);
  const Lsn lsn = batch_.CloseRecord();
  ready_times_.Note(lsn.value(), now.mono_ms);
  return lsn;
}

inline void Core::DropRecord(const OpenedRecord& opened) {
  batch_.OpenRecord().resize(opened.start);
}

}  // namespace zsched::broker
