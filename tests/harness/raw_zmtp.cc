#include "tests/harness/raw_zmtp.h"

#include <random>

namespace zsched::harness {
namespace {

// RFC 23/ZMTP 3.0.
constexpr size_t kGreetingBytes = 64;
constexpr char kLong = 2, kCommand = 4;
constexpr size_t kMaxShortBytes = 255;

std::string Greeting() {
  std::string greeting("\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL", 16);
  greeting.resize(kGreetingBytes);  // the mechanism's padding, as-server 0, filler
  return greeting;
}

std::string BigEndian(uint64_t value, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    text[i] = static_cast<char>(value >> (8 * (bytes - 1 - i)) & 0xff);
  return text;
}

uint64_t FromBigEndian(std::string_view text) {
  uint64_t value = 0;
  for (char byte : text) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

std::string Framed(char flags, std::string_view body) {
  if (body.size() > kMaxShortBytes)
    return std::string(1, static_cast<char>(flags | kLong)) + BigEndian(body.size(), 8) +
           std::string(body);
  return std::string(1, flags) + BigEndian(body.size(), 1) + std::string(body);
}

std::string Ready() {
  const std::string name = "Socket-Type", value = "DEALER";
  return Framed(kCommand, std::string("\x05READY") + BigEndian(name.size(), 1) + name +
                              BigEndian(value.size(), 4) + value);
}

wire::Uuid RandomUuid() {
  std::random_device device;
  auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return {word(), word()};
}

}  // namespace

RawZmtp::RawZmtp(int port) : tcp_(port) {
  if (!tcp_.Send(Greeting() + Ready())) throw Failure("the broker closed a new connection");
  // A frame that came before its own READY would break the handshake.
  Read(kGreetingBytes);
  ReadPart();
}

bool RawZmtp::Send(std::string_view frame) {
  std::string bytes = std::exchange(unsent_, "") + Framed(0, frame);
  return tcp_.Send(bytes);
}

bool RawZmtp::SayAgain(MessageType type, std::string_view body, int times) {
  std::string bytes = std::exchange(unsent_, "");
  for (int i = 0; i < times; ++i) bytes += Framed(0, Seal(type, body));
  return tcp_.Send(bytes);
}

bool RawZmtp::TrySay(MessageType type, std::string_view body) {
  auto push = [&] { unsent_.erase(0, tcp_.TrySend(unsent_)); };
  if (!unsent_.empty()) push();
  if (!unsent_.empty()) return false;
  unsent_ = Framed(0, Seal(type, body));
  push();
  return true;
}

std::string RawZmtp::Seal(MessageType type, std::string_view body) {
  const uint32_t number = session_ && !IsGreeting(type) ? ++sent_ : 0;
  return SealFrame({.type = type, .number = number, .session = session_.value()}, body);
}

std::string RawZmtp::Read(size_t size) {
  std::string bytes = tcp_.Receive(size);
  if (bytes.size() != size) throw Failure("the broker closed the connection, or says nothing");
  return bytes;
}

std::unique_ptr<Received> RawZmtp::Receive() {
  while (true)
    if (auto [flags, body] = ReadPart(); (flags & kCommand) == 0)
      return std::make_unique<Received>(body);
}

std::pair<char, std::string> RawZmtp::ReadPart() {
  const char flags = Read(1)[0];
  const size_t size = FromBigEndian(Read((flags & kLong) != 0 ? 8 : 1));
  return {flags, Read(size)};
}

void RawZmtp::AwaitWelcome(MessageType type) {
  auto welcome = Receive();
  if (welcome->type() != type) throw Failure("the broker gave no session");
  session_ = SessionId(welcome->header().session);
}

SessionId RawZmtp::HelloAsClient() {
  wire::Uuid id = RandomUuid();
  Say(MessageType::kHello,
      BodyOf([&](auto& b) { return wire::CreateHelloDirect(b, &id, "raw", "0"); }));
  AwaitWelcome(MessageType::kWelcome);
  return session_;
}

SessionId RawZmtp::HelloAsWorker(const std::string& name, const std::string& queue) {
  wire::Uuid id = RandomUuid();
  Say(MessageType::kWorkerHello, BodyOf([&](auto& b) {
        std::vector queues{b.CreateString(queue)};
        return wire::CreateWorkerHelloDirect(b, &id, name.c_str(), "localhost", "0", 1, &queues);
      }));
  AwaitWelcome(MessageType::kWorkerWelcome);
  return session_;
}

}  // namespace zsched::harness
