// The register at a real witness that fails.
#include "broker/replication/witness_register.h"

#include <gtest/gtest.h>
#include <zmq.h>

#include "broker/server/witness_server.h"
#include "tests/conformance/register_fixture.h"
#include "tests/harness/cluster.h"
#include "tests/support/scratch_directory.h"

namespace zsched::broker {
namespace {

using harness::Cluster;

class Context {
 public:
  ~Context() { zmq_ctx_term(context_); }
  void* get() const { return context_; }

 private:
  void* const context_ = zmq_ctx_new();
};

std::unique_ptr<WitnessServer> StartWitness(const std::string& directory, int port = 0) {
  auto server = WitnessServer::Start({.directory = directory, .listen = {"127.0.0.1", port}});
  ZS_CHECK_OK(server.status());
  return *std::move(server);
}

TEST(WitnessRegister, SaysWhoDoesNotAnswer) {
  const harness::PortRange ports;
  const Context context;
  const auto store = OpenWitnessRegister(
      context.get(), {.address = {"127.0.0.1", ports.first()}, .timeout_ms = 50});
  const auto read = store->Read();
  EXPECT_EQ(CodeOf(read.status()), ErrorCode::kUnavailable);
  EXPECT_NE(MessageOf(read.status()).find(std::to_string(ports.first())), std::string::npos);
  EXPECT_EQ(CodeOf(store->Swap({}, Promoted(1, kPrimary)).status()), ErrorCode::kUnavailable);
}

TEST(WitnessRegister, GoesOnWithAWitnessThatWasStartedAgain) {
  const harness::PortRange ports;
  const ScratchDirectory directory;
  const Context context;
  const auto store = OpenWitnessRegister(
      context.get(), {.address = {"127.0.0.1", ports.first()}, .timeout_ms = 10'000});
  Register stands;
  for (uint64_t promotion = 1; promotion <= 5; ++promotion) {
    const auto server = StartWitness(directory.path(), ports.first());
    std::thread thread([&] { server->Run(); });
    const Register wanted = Promoted(promotion, kBackup);
    // The first request after a restart may still go to the connection that has just ended, and be lost.
    auto swapped = store->Swap(stands, wanted);
    for (int again = 0; again < 3 && !swapped.ok(); ++again) swapped = store->Swap(stands, wanted);
    server->Stop();
    thread.join();
    ASSERT_TRUE(swapped.ok()) << swapped.status();
    EXPECT_EQ(*swapped, wanted);
    stands = wanted;
  }
}

TEST(WitnessServer, DoesNotSettleInABrokersDirectory) {
  Cluster cluster;
  cluster.StartBroker();
  cluster.StopBroker();
  const auto server =
      WitnessServer::Start({.directory = cluster.data(), .listen = {"127.0.0.1", 0}});
  EXPECT_EQ(CodeOf(server.status()), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace zsched::broker
