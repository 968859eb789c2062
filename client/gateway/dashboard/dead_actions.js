/**
 * Retry and delete of all dead tasks that a filter takes. First a dry run says how many those are
 * and what they died of; then the request is sent again until it is complete, since each works for
 * a bounded time (docs/rest.md).
 */
import {api} from './api.js';
import {field, formDialog, input} from './dialogs.js';
import {h} from './dom.js';
import {count, plural} from './format.js';
import {attempt, toast} from './toast.js';
import {code} from './ui.js';
import {visible} from './bytes.js';

const GROUPS_SHOWN = 8;
const FILTER_SAYS = {
  queue: 'of queue',
  type: 'of type',
  error: 'with the error',
  fingerprint: 'of group',
  older_than: 'older than',
};

const filterText = (filter) =>
  Object.entries(filter)
    .map(([field_, value]) => ` ${FILTER_SAYS[field_]} “${visible(value)}”`)
    .join(',');

function groupList(groups) {
  const more = groups.length - GROUPS_SHOWN;
  return h(
    'ul',
    {class: 'group-list'},
    groups
      .slice(0, GROUPS_SHOWN)
      .map((group) =>
        h(
          'li',
          {},
          h('strong', {}, count(group.tasks)),
          ' ',
          visible(group.type),
          ' ',
          code(group.error.code),
          ' ',
          visible(group.error.message),
        ),
      ),
    more > 0 && h('li', {class: 'muted'}, `and ${plural(more, 'more group')}`),
  );
}

/**
 * Sends the request until it is complete. @returns how many in all, counted by `field` of the
 * answers
 */
async function untilComplete(send, body, field_, total, {say, signal}) {
  let done = 0;
  for (;;) {
    const answer = await send(body, signal);
    done += answer[field_];
    if (answer.complete !== false) return done;
    say(
      `${count(done)} of about ${count(total)} so far. Closing this dialog stops after the present step.`,
    );
  }
}

async function previewOf(send, filter) {
  let preview = null;
  await attempt(async () => {
    preview = await send({all: true, dry_run: true, ...filter});
  });
  if (preview && preview.matched === 0) toast('No dead task matches; there is nothing to do.');
  return preview && preview.matched > 0 ? preview : null;
}

/** @returns {Promise<boolean>} whether anything may have changed */
export async function bulkRetry(filter) {
  const preview = await previewOf(api.retryDead, filter);
  if (!preview) return false;
  const rate = input('rate', {type: 'number', min: 1, placeholder: 'as fast as it goes'});
  const done = await formDialog({
    title: `Retry ${plural(preview.matched, 'dead task')}?`,
    confirm: `Retry ${plural(preview.matched, 'task')}`,
    wide: true,
    content: [
      h(
        'p',
        {},
        `Each dead task${filterText(filter)} gets a new budget of attempts. These match now:`,
      ),
      groupList(preview.groups),
      field('At most so many a second', rate, 'Lets what they failed at come back gently.'),
    ],
    submit: (controls) =>
      untilComplete(
        api.retryDead,
        {all: true, ...filter, ...(rate.value === '' ? {} : {rate: Number(rate.value)})},
        'retried',
        preview.matched,
        controls,
      ),
  });
  if (done !== undefined) toast(`${plural(done, 'task')} retried.`);
  return true;
}

/** @returns {Promise<boolean>} whether anything may have changed */
export async function bulkDelete(filter) {
  const preview = await previewOf(api.deleteDead, filter);
  if (!preview) return false;
  const done = await formDialog({
    title: `Delete ${plural(preview.matched, 'dead task')}?`,
    confirm: `Delete ${plural(preview.matched, 'task')} for good`,
    danger: true,
    wide: true,
    content: [
      h(
        'p',
        {},
        `Each dead task${filterText(filter)} is deleted with its payload, its error and its history. It cannot be undone. These match now:`,
      ),
      groupList(preview.groups),
    ],
    submit: (controls) =>
      untilComplete(api.deleteDead, {all: true, ...filter}, 'deleted', preview.matched, controls),
  });
  if (done !== undefined) toast(`${plural(done, 'task')} deleted.`);
  return true;
}
