#include "tests/harness/proxy.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace zsched::harness {
namespace {

// How soon Cut and the destructor are noticed.
constexpr int kPollMs = 5;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

}  // namespace

struct Proxy::Link {
  Link(int c, int b) : client(c), broker(b) {}
  ~Link() {
    close(client);
    close(broker);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  int client, broker;
};

Proxy::Proxy(int target_port) : target_port_(target_port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, SOMAXCONN) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw Failure(std::string("the proxy cannot listen: ") + std::strerror(errno));
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

Proxy::~Proxy() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

void Proxy::Cut() {
  cut_ = true;
  while (cut_) std::this_thread::sleep_for(kLook);
}

void Proxy::Run() {
  while (!stop_) {
    std::vector<pollfd> items = {{listener_, POLLIN, 0}};
    for (const auto& link : links_) {
      items.push_back({link->client, POLLIN, 0});
      items.push_back({link->broker, POLLIN, 0});
    }
    poll(items.data(), items.size(), kPollMs);
    std::vector<std::unique_ptr<Link>> open;
    const bool cut = cut_;
    for (size_t i = 0; i < links_.size(); ++i) {
      Link& link = *links_[i];
      bool alive = !cut;
      if (alive && items[2 * i + 1].revents != 0) alive = Relay(link.client, link.broker, false);
      if (alive && items[2 * i + 2].revents != 0) alive = Relay(link.broker, link.client, swallow_);
      if (alive) open.push_back(std::move(links_[i]));
    }
    links_ = std::move(open);
    if (cut) cut_ = false;  // tells Cut that it is done
    if (items[0].revents != 0) Accept();
  }
}

void Proxy::Accept() {
  int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  int broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(target_port_);
  auto link = std::make_unique<Link>(client, broker);
  // A broker that is down looks like one: the connection ends.
  if (connect(broker, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
    links_.push_back(std::move(link));
}

bool Proxy::Relay(int from, int to, bool drop) {
  char buffer[64 << 10];
  ssize_t size = recv(from, buffer, sizeof buffer, 0);
  if (size <= 0) return false;
  for (ssize_t sent = 0; !drop && sent < size;) {
    ssize_t n = send(to, buffer + sent, static_cast<size_t>(size - sent), MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return true;
}

}  // namespace zsched::harness
