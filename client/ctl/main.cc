// zsched-ctl: the command line for users and operators. An ordinary client of a zsched cluster.
#include "base/check.h"
#include "client/ctl/context.h"

int main(int argc, char** argv) {
  using namespace zsched::ctl;
  zsched::Flags flags("zsched-ctl", "Submits tasks to a zsched cluster and shows what they do.");
  Context context(flags);
  Actions actions;
  AddSubmit(context, actions);
  AddTask(context, actions);
  AddDlq(context, actions);
  AddQueue(context, actions);
  AddType(context, actions);
  AddWorker(context, actions);
  AddCluster(context, actions);
  AddEvents(context, actions);
  AddCron(context, actions);
  AddConfig(context, actions);
  AddCompletion(context, actions);
  flags.Notes(
      "Exit codes: 0 done, 1 a task waited for did not succeed, 2 usage, 3 not found, 4 conflict,\n"
      "5 no broker, 6 not allowed, 7 resource exhausted, 124 timed out, 130 interrupted.");
  flags.Example("zsched-ctl submit --type echo --payload hello --wait");
  flags.Example("zsched-ctl dlq groups");
  flags.Example("zsched-ctl cron next \"0 9 * * MON-FRI\" --tz Europe/Berlin");
  flags.Example("zsched-ctl status -o json");
  if (std::optional<int> code = flags.Parse(argc, argv)) return *code;
  auto action = actions.find(flags.command());
  ZS_CHECK(action != actions.end());
  return action->second();
}
