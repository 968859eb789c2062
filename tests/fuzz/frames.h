// What the frame fuzzers share: bytes become a sequence of frames whose headers are right, so that the fuzzer spends its
// time in bodies and in the order of messages, and not in guessing checksums (fuzz_header.cc does that).
//
// Input: (type u8, length u16 little-endian, body)*. A length beyond the end takes the rest.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "schemas/frame.h"

namespace zsched::fuzz {

struct Input {
  MessageType type;
  std::string_view body;
};

class Inputs {
 public:
  Inputs(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool Next(Input& out) {
    if (rest_.size() < 3) return false;
    out.type = static_cast<MessageType>(static_cast<uint8_t>(rest_[0]));
    uint16_t length;
    std::memcpy(&length, rest_.data() + 1, sizeof length);
    rest_.remove_prefix(3);
    out.body = rest_.substr(0, length);
    rest_.remove_prefix(out.body.size());
    return true;
  }

 private:
  std::string_view rest_;
};

inline std::string Seal(const Input& input, uint64_t session, uint32_t number) {
  FrameHeader header;
  header.type = input.type;
  header.session = session;
  header.number = number;
  return SealFrame(header, input.body);
}

}  // namespace zsched::fuzz
