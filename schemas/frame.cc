#include "schemas/frame.h"

#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "schemas/limits.h"

namespace zsched {
namespace {

constexpr size_t kChecksummedHeaderBytes = offsetof(FrameHeader, checksum);

uint64_t Checksum(const FrameHeader& header, std::string_view body) {
  if (header.flags & kFlagCrc32) {
    uLong crc = crc32(0, reinterpret_cast<const Bytef*>(&header), kChecksummedHeaderBytes);
    return crc32(crc, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  }
  uint64_t seed = XXH3_64bits(&header, kChecksummedHeaderBytes);
  return XXH3_64bits_withSeed(body.data(), body.size(), seed);
}

}  // namespace

absl::StatusOr<FrameView> OpenFrame(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes)
    return Error(ErrorCode::kTruncated, "frame of " + std::to_string(bytes.size()) +
                                            " bytes is shorter than its header of " +
                                            std::to_string(kFrameHeaderBytes));
  FrameView frame;
  std::memcpy(&frame.header, bytes.data(), kFrameHeaderBytes);
  const FrameHeader& header = frame.header;
  if (header.magic != kFrameMagic)
    return Error(ErrorCode::kBadMagic, "not a zsched frame: it does not begin with ZSCH");
  if (header.version != kProtocolVersion)
    return Error(ErrorCode::kUnsupportedVersion,
                 "protocol version " + std::to_string(header.version) +
                     " is not supported; this side speaks " + std::to_string(kProtocolVersion));
  if ((header.flags & ~kKnownFlags) != 0)
    return Error(ErrorCode::kMalformed, "unknown flags in the frame header");
  frame.body = bytes.substr(kFrameHeaderBytes);
  if (header.body_bytes != frame.body.size())
    return Error(ErrorCode::kTruncated,
                 "header announces a body of " + std::to_string(header.body_bytes) +
                     " bytes, the frame carries " + std::to_string(frame.body.size()));
  if (Checksum(header, frame.body) != header.checksum)
    return Error(ErrorCode::kBadChecksum, "frame checksum does not match its bytes");
  return frame;
}

void SealHeader(FrameHeader header, std::string_view body, char* out) {
  header.magic = kFrameMagic;
  header.version = kProtocolVersion;
  header.body_bytes = static_cast<uint32_t>(body.size());
  header.checksum = Checksum(header, body);
  std::memcpy(out, &header, kFrameHeaderBytes);
}

std::string SealFrame(const FrameHeader& header, std::string_view body) {
  std::string frame(kFrameHeaderBytes, '\0');
  frame.append(body);
  SealHeader(header, body, frame.data());
  return frame;
}

std::string_view AlignedCopy::Align(std::string_view bytes) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0) return bytes;
  if (bytes.empty()) return {};  // there may be no words yet, and memcpy takes no null pointer
  size_t words = (bytes.size() + 7) / 8;
  if (words > capacity_) {
    words_ = std::make_unique<uint64_t[]>(words);
    capacity_ = words;
  }
  std::memcpy(words_.get(), bytes.data(), bytes.size());
  return {reinterpret_cast<const char*>(words_.get()), bytes.size()};
}

}  // namespace zsched
