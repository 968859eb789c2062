#include "tests/crash/recorder.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"

namespace zsched::crash {

namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPagedFile = "data.mdb";

// How each page of LMDB 0.9 begins (MDB_page in its mdb.c).
struct PageHead {
  uint64_t number;
  uint16_t pad, flags;
  uint16_t lower, upper;  // offsets of the unused middle
};
static_assert(sizeof(PageHead) == 16);
constexpr uint16_t kBranchFlag = 1, kLeafFlag = 2, kDirtyFlag = 16;

}  // namespace

Tree ReadTree(const std::string& root) {
  Tree tree;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    std::optional<std::string>& bytes = tree[fs::relative(entry.path(), root).string()];
    if (entry.is_directory()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    bytes.emplace(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return tree;
}

void WriteTree(const Tree& tree, const std::string& root) {
  for (const auto& entry : fs::directory_iterator(root)) fs::remove_all(entry.path());
  for (const auto& [path, bytes] : tree) {  // directories sort before what they hold
    std::string name = root + "/" + path;
    if (!bytes) {
      fs::create_directory(name);
      continue;
    }
    std::ofstream out(name, std::ios::binary);
    out.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
    ZS_CHECK(out.flush().good());
  }
}

void BlankUnused(std::string& bytes, uint64_t offset) {
  const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));  // LMDB takes the system's
  if (offset % page_bytes != 0) return;                                  // a meta page
  for (size_t at = 0; at + page_bytes <= bytes.size(); at += page_bytes) {
    PageHead head;
    std::memcpy(&head, bytes.data() + at, sizeof head);
    bool has_nodes =
        (head.flags & ~kDirtyFlag) == kBranchFlag || (head.flags & ~kDirtyFlag) == kLeafFlag;
    if (!has_nodes || head.number != (offset + at) / page_bytes || head.lower > head.upper ||
        head.upper > page_bytes)
      continue;  // an overflow page, which is used up to its end, or a part of one
    std::fill(bytes.begin() + static_cast<int64_t>(at + head.lower),
              bytes.begin() + static_cast<int64_t>(at + head.upper), '\0');
  }
}

Recorder::Recorder(const std::string& root, std::optional<Fault> fault)
    : root_(fs::canonical(root).string()), faults_(fault) {
  recording_.base = ReadTree(root_);
  ObserveFiles(this, root_);
}

Recorder::~Recorder() { ObserveFiles(nullptr, ""); }

void Recorder::Note(NoteKind note, size_t state) {
  Event event;
  event.note = note;
  event.state = state;
  recording_.events.push_back(std::move(event));
}

Recording Recorder::Stop() {
  ObserveFiles(nullptr, "");
  return std::move(recording_);
}

std::string Recorder::Relative(const std::string& path) const {
  return path.size() <= root_.size() ? "" : path.substr(root_.size() + 1);
}

Verdict Recorder::Before(const FileCall& call) { return faults_.Next(call.kind); }

void Recorder::After(const FileCall& call) {
  recording_.events.push_back({.kind = call.kind,
                               .path = Relative(call.path),
                               .target = Relative(call.target),
                               .offset = call.offset,
                               .bytes = std::string(call.bytes),
                               .synchronous = call.synchronous});
  if (call.kind == CallKind::kWrite && call.path.ends_with(kPagedFile))
    BlankUnused(recording_.events.back().bytes, call.offset);
}

}  // namespace zsched::crash
