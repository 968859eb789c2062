#include "client/ctl/items.h"

#include <algorithm>

#include "base/check.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {

int RunItems(const Context& context, const ItemCommand& command,
             const std::vector<std::string>& texts) {
  absl::StatusOr<std::vector<TaskId>> ids = ParseIds(texts);
  if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  ItemStream stream(context.form(), "items");
  absl::Status first_error;
  uint64_t done = 0;
  for (size_t from = 0; from < ids->size(); from += kMaxQueryIds) {
    size_t size = std::min(kMaxQueryIds, ids->size() - from);
    absl::StatusOr<std::vector<ItemResult>> items =
        ((**client).*command.run)(std::span(*ids).subspan(from, size));
    if (!items.ok()) return context.Fail(items.status());
    for (const ItemResult& item : *items) {
      done += item.status.ok();
      if (item.status.ok() || context.form() != Form::kId)
        stream.Add(ItemJson(item), ToString(item.id));
      if (!item.status.ok() && first_error.ok()) first_error = item.status;
    }
  }
  stream.Finish();
  if (context.form() == Form::kTable && done > 0)
    Print(std::to_string(done) + (done == 1 ? command.one_done : command.many_done) + "\n");
  if (int code = FinishOutput(); code != 0) return code;
  return first_error.ok() ? 0 : context.Fail(first_error);
}

}  // namespace zsched::ctl
