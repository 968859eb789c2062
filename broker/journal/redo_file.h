// The file in which small commits become durable before LMDB has them. Owned by broker/journal.
//
//   slot 0 | slot 1 | … | slot 63      one small commit each: its log segment and the rows it changes
//
// A commit of LMDB costs two flushes, one after the other, and each page that it touches. A small
// commit is one write of its own and one flush. Later ones take further slots, until a commit of LMDB
// takes all of them in; then slot 0 is next. Slots share no page (of up to 16 KiB), so a write that
// power cuts off harms no slot but its own.
//
// The bytes of a slot (the rest of its 16 KiB is whatever was there before):
//   0 | 8 | length of what follows
//   8 | … | a log segment with its rows (codec.h, redo.h)
//
// Reading begins with slot 0 and the LSN after LMDB's last, and ends with the first slot that does not
// go on: one from before, or a write that was cut off and so never acknowledged.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto file, RedoFile::Open(path));
//   ZS_ASSIGN_OR_RETURN(RedoLayers layers, file->Read(last_lsn));
//   ZS_RETURN_IF_ERROR(file->Write(layers.size(), *layer));   // on return it survives a power cut
//
// Threads: one at a time.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/journal/redo.h"

namespace zsched::broker {

inline constexpr char kRedoFileName[] = "redo";

class RedoFile {
 public:
  // Makes the file anew, full of zeros, so that no later write has to allocate anything; its name
  // becomes durable with its directory. What a start that was cut off left of it does not count.
  // INVALID_ARGUMENT: there is one with commits. UNAVAILABLE: the system refused.
  static absl::StatusOr<std::unique_ptr<RedoFile>> Create(const std::string& path);
  // DATA_LOSS: it is missing, or shorter than it was made. UNAVAILABLE: the system refused.
  static absl::StatusOr<std::unique_ptr<RedoFile>> Open(const std::string& path);
  RedoFile(const RedoFile&) = delete;
  RedoFile& operator=(const RedoFile&) = delete;
  ~RedoFile();

  // The commits that LMDB does not have, oldest first. `last`: LMDB's last LSN, 0 when it has none.
  // DATA_LOSS: one of them cannot be read, and there is one behind it.
  absl::StatusOr<RedoLayers> Read(Lsn last);
  // Durable on return. `slot` is the number of commits that LMDB does not have, below kMaxLayers.
  // INTERNAL: nobody knows what the disk holds now.
  absl::Status Write(size_t slot, const RedoLayer& layer);

 private:
  explicit RedoFile(int fd) : fd_(fd) {}
  // As much of it as there is.
  absl::StatusOr<std::string> ReadAll() const;

  const int fd_;
  std::string buffer_;
};

}  // namespace zsched::broker
