// A real etcd of one member, on free ports of 127.0.0.1 and in a directory of its own. Owned by
// tests/conformance.
//
// Example:
//   if (!EtcdProcess::IsInstalled()) GTEST_SKIP() << EtcdProcess::kNotInstalled;
//   EtcdProcess etcd({.auth = true});
//   auto store = OpenEtcdRegister(etcd.Options("/key"));
//
// The process and the directory are gone when the destructor returns.
//
// Threads: the test's main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/replication/etcd_register.h"
#include "tests/harness/cluster.h"
#include "tests/harness/process.h"
#include "tests/support/scratch_directory.h"

namespace zsched::broker {

struct EtcdKind {
  bool auth = false;  // a user that may use keys below /zsched/ only
  bool tls = false;
  bool client_certs = false;  // with tls: nobody gets in without one of the authority
};

class EtcdProcess {
 public:
  static constexpr char kNotInstalled[] =
      "there is no etcd in PATH: scripts/install-deps test installs it";
  static bool IsInstalled();

  // Returns when it answers. Throws harness::Failure, with the end of its log, when it does not.
  explicit EtcdProcess(EtcdKind kind = {});
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;
  ~EtcdProcess();

  // How to reach it, with all it wants. Patient: only a broken etcd is late.
  EtcdOptions Options(const std::string& key) const;
  std::string File(const std::string& name) const { return directory_.path() + "/" + name; }
  // kill -9, and the same data again.
  void Kill() { process_->Kill(); }
  void Start();

 private:
  std::string Url(int port) const;
  void MakeCertificates();
  void Openssl(const std::vector<std::string>& arguments);
  void EnableAuth();
  void Await(const EtcdOptions& options);

  const EtcdKind kind_;
  ScratchDirectory directory_;
  harness::PortRange ports_;
  std::unique_ptr<harness::Process> process_;
};

}  // namespace zsched::broker
