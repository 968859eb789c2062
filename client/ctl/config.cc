// `zsched-ctl config`: what is in force and where it came from.
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

int Show(const Context& context, const Flags& flags) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  ItemStream stream(context.form(), "settings");
  Table table({{.title = "COMMAND"},
               {.title = "NAME"},
               {.title = "VALUE", .elastic = true},
               {.title = "SOURCE"},
               {.title = "WHERE", .elastic = true}});
  for (const Setting& setting : flags.Settings()) {
    stream.Add(SettingJson(setting), setting.name);
    Color color = setting.source == Source::kDefault ? Color::kGray : Color::kGreen;
    table.Row({{setting.command.empty() ? "(all)" : setting.command},
               {setting.name},
               {setting.value},
               {std::string(TextOf(setting.source)), color},
               {setting.where}});
  }
  stream.Finish();
  if (context.form() == Form::kTable) Print(table.Render(context.width(), context.colors()));
  return FinishOutput();
}

}  // namespace

void AddConfig(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("config", "See the configuration");
  family.Example("zsched-ctl config show");
  Flags& show = family.Command("show", "Show every setting, its value, and where that came from");
  show.Notes("Needs no broker.");
  show.Example("ZSCHED_QUEUE=mail zsched-ctl --config z.conf config show");
  actions["config show"] = [&context] { return Show(context, context.flags()); };
}

}  // namespace zsched::ctl
