#include "tests/conformance/etcd_process.h"

#include <absl/strings/escaping.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/check.h"
#include "broker/replication/http_connection.h"
#include "tests/harness/await.h"

namespace zsched::broker {
namespace {

using harness::Failure;
using nlohmann::json;

constexpr char kUser[] = "zsched", kPassword[] = "päss \"word\"";
constexpr char kRootPassword[] = "root";
constexpr size_t kShownLogBytes = 3000;

// The program's file; empty when there is none.
std::string FindProgram(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream directories(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string directory; std::getline(directories, directory, ':');)
    if (std::string file = directory + "/" + name; access(file.c_str(), X_OK) == 0) return file;
  return "";
}

}  // namespace

bool EtcdProcess::IsInstalled() { return !FindProgram("etcd").empty(); }

EtcdProcess::EtcdProcess(EtcdKind kind) : kind_(kind) {
  if (kind_.tls) MakeCertificates();
  Start();
  if (kind_.auth) EnableAuth();
}

EtcdProcess::~EtcdProcess() { Kill(); }

std::string EtcdProcess::Url(int port) const {
  return (kind_.tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port);
}

EtcdOptions EtcdProcess::Options(const std::string& key) const {
  EtcdOptions options{.urls = {Url(ports_.first())}, .key = key};
  options.timeout_ms = harness::kPatience.count();
  if (kind_.auth) {
    options.user = kUser;
    options.password = kPassword;
  }
  if (kind_.tls) options.ca_file = File("ca.pem");
  if (kind_.client_certs) {
    options.cert_file = File("client.pem");
    options.key_file = File("client.key");
  }
  return options;
}

void EtcdProcess::Start() {
  const std::string clients = Url(ports_.first());
  const std::string peers = "http://127.0.0.1:" + std::to_string(ports_.first() + 1);
  std::vector<std::string> argv = {
      FindProgram("etcd"), "--data-dir", File("data"), "--listen-client-urls", clients,
      "--advertise-client-urls", clients, "--listen-peer-urls", peers,
      "--initial-advertise-peer-urls", peers, "--initial-cluster", "default=" + peers,
      // A cluster of one has nobody to wait for.
      "--heartbeat-interval", "10", "--election-timeout", "100"};
  if (kind_.tls)
    for (const char* word : {"--cert-file", "server.pem", "--key-file", "server.key"})
      argv.push_back(word[0] == '-' ? word : File(word));
  if (kind_.client_certs)
    for (const std::string& word :
         {std::string("--client-cert-auth"), std::string("--trusted-ca-file"), File("ca.pem")})
      argv.push_back(word);
  process_ = std::make_unique<harness::Process>(
      argv, harness::ProcessOptions{.stdout_path = File("etcd.log")});
  EtcdOptions options = Options("/zsched/is-it-there");
  options.user = options.password = "";  // there is no user before EnableAuth
  Await(options);
}

void EtcdProcess::Await(const EtcdOptions& options) {
  auto store = OpenEtcdRegister(options);
  ZS_CHECK_OK(store.status());
  const auto answers = [&] {
    if (!process_->running()) return true;
    absl::Status status = (*store)->Read().status();
    // With authentication on it answers that it wants a user.
    return status.ok() || CodeOf(status) == ErrorCode::kPermissionDenied;
  };
  if (harness::Await(answers) && process_->running()) return;
  std::string log = harness::ReadFile(File("etcd.log"));
  throw Failure("etcd does not answer; its log ends with:\n" +
                log.substr(log.size() - std::min(log.size(), kShownLogBytes)));
}

void EtcdProcess::EnableAuth() {
  auto gateway = HttpConnection::Make(Url(ports_.first()), {.ca_file = File("ca.pem")});
  ZS_CHECK_OK(gateway.status());
  const auto post = [&](const std::string& path, const json& body) {
    HttpAnswer answer = (*gateway)->Post("/v3/auth/" + path, "", body.dump(),
                                         HttpClock::now() + harness::kPatience);
    if (answer.status != 200) throw Failure(path + ": " + answer.why + answer.body);
  };
  post("user/add", {{"name", "root"}, {"password", kRootPassword}});
  post("role/add", {{"name", "root"}});
  post("user/grant", {{"user", "root"}, {"role", "root"}});
  post("user/add", {{"name", kUser}, {"password", kPassword}});
  post("role/add", {{"name", "register"}});
  post("role/grant", {{"name", "register"},
                      {"perm",
                       {{"permType", "READWRITE"},
                        {"key", absl::Base64Escape("/zsched/")},
                        {"range_end", absl::Base64Escape("/zsched0")}}}});
  post("user/grant", {{"user", kUser}, {"role", "register"}});
  post("enable", json::object());
}

void EtcdProcess::Openssl(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {FindProgram("openssl")};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  harness::Process process(argv, harness::ProcessOptions{.stdout_path = File("openssl.log")});
  if (process.WaitExit() != 0) throw Failure("openssl: " + harness::ReadFile(File("openssl.log")));
}

// An authority, a certificate of 127.0.0.1, one of a client; and an authority that nobody trusts.
void EtcdProcess::MakeCertificates() {
  const std::vector<std::string> new_key = {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                            "-nodes"};
  const auto make = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    Openssl(words);
  };
  for (const char* name : {"ca", "other-ca"})
    make({"req", "-x509", "-days", "2", "-subj", std::string("/CN=") + name, "-out",
          File(std::string(name) + ".pem"), "-keyout", File(std::string(name) + ".key")},
         new_key);
  // No extended key usage: etcd's gateway is a client of etcd, with the server's certificate.
  harness::WriteFile(File("server.ext"), "subjectAltName=IP:127.0.0.1\n");
  harness::WriteFile(File("client.ext"), "extendedKeyUsage=clientAuth\n");
  for (const std::string name : {"server", "client"}) {
    make({"req", "-new", "-subj", "/O=zsched", "-out", File(name + ".csr"), "-keyout",
          File(name + ".key")},
         new_key);
    Openssl({"x509", "-req", "-days", "2", "-in", File(name + ".csr"), "-CA", File("ca.pem"),
             "-CAkey", File("ca.key"), "-CAcreateserial", "-extfile", File(name + ".ext"), "-out",
             File(name + ".pem")});
  }
}

}  // namespace zsched::broker
