#include "base/reload.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace zsched {

ReloadOnHangup::ReloadOnHangup(std::function<void()> reload) : reload_(std::move(reload)) {
  sigset_t hangup;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &hangup, nullptr);
  thread_ = std::thread([this, hangup] {
    pthread_setname_np(pthread_self(), "zsched-reload");
    // Other signals belong to the threads that expect them.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    for (int signal = 0; !stop_.load();)
      if (sigwait(&hangup, &signal) == 0 && !stop_.load()) reload_();
  });
}

ReloadOnHangup::~ReloadOnHangup() {
  stop_.store(true);
  pthread_kill(thread_.native_handle(), SIGHUP);
  thread_.join();
}

}  // namespace zsched
