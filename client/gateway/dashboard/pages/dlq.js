/**
 * Dead letters: what tasks died of, the largest group first; one group looked into; retry and
 * delete of all that the filter takes. What a filter takes is always asked of the broker (dry run)
 * before anything is done to it.
 */
import {api} from '../api.js';
import {bulkDelete, bulkRetry} from '../dead_actions.js';
import {visible} from '../bytes.js';
import {h, replace, setText, syncList} from '../dom.js';
import {count, plural} from '../format.js';
import {autoRefresh} from '../refresh.js';
import {filterForm} from '../filters.js';
import {link} from '../router.js';
import {seenOf, tellItems} from '../task_actions.js';
import {ask} from '../dialogs.js';
import {
  button,
  code,
  empty,
  guarded,
  idLink,
  name,
  number,
  pageFrame,
  since,
  table,
} from '../ui.js';

const PAGE = 50;
const FIELDS = [
  ['queue', 'Queue', 'any'],
  ['type', 'Type', 'any'],
  ['error', 'Error', 'part of it'],
  ['older_than', 'Older than', '24h'],
];
const FILTERS = [...FIELDS.map(([name_]) => name_), 'fingerprint'];

export const filterOf = (query) =>
  Object.fromEntries(
    FILTERS.map((one) => [one, query.get(one) ?? '']).filter(([, value]) => value !== ''),
  );

const errorText = (error) =>
  h('div', {class: 'error-text'}, code(error.code), ' ', visible(error.message));

function groupRow(group, query, reload) {
  const filter = {...filterOf(query), fingerprint: group.fingerprint};
  const here = link('dlq', filter);
  const key = group.fingerprint;
  return h(
    'tr',
    {dataset: {group: key}},
    number(
      h(
        'a',
        {
          href: here,
          dataset: {focus: `n-${key}`},
          'aria-label': `Look into ${plural(group.tasks, 'dead task')} of type ${group.type}`,
        },
        count(group.tasks),
      ),
    ),
    h('td', {}, name(group.type)),
    h(
      'td',
      {class: 'wide-cell'},
      h('a', {class: 'quiet', href: here, dataset: {focus: `e-${key}`}}, errorText(group.error)),
    ),
    h('td', {class: 'number'}, since(group.first_died_at)),
    h('td', {class: 'number'}, since(group.last_died_at)),
    h('td', {}, idLink(group.last_task)),
    h(
      'td',
      {class: 'actions'},
      button('Retry…', async () => (await bulkRetry(filter)) && reload(), {
        dataset: {focus: `r-${key}`},
        'aria-label': `Retry the group ${group.error.code} of ${group.type}`,
      }),
      button('Delete…', async () => (await bulkDelete(filter)) && reload(), {
        dataset: {focus: `d-${key}`},
        'aria-label': `Delete the group ${group.error.code} of ${group.type}`,
      }),
    ),
  );
}

function taskRow(task, reload) {
  const one = async (title, says, confirm, danger, action, done) => {
    const items = await ask({
      title,
      says,
      confirm,
      danger,
      submit: async () => (await action({ids: [task.id]})).items,
    });
    if (!items) return;
    tellItems(items, done);
    reload();
  };
  return h(
    'tr',
    {dataset: {task: task.id}},
    h('th', {scope: 'row'}, idLink(task.id)),
    h('td', {}, name(task.type)),
    h('td', {}, name(task.queue)),
    number(`${task.attempt}/${task.max_attempts}`),
    h('td', {class: 'number'}, since(task.died_at)),
    h('td', {class: 'wide-cell'}, task.error && errorText(task.error)),
    h(
      'td',
      {class: 'actions'},
      button(
        'Retry…',
        () =>
          one(
            `Retry task ${task.id}?`,
            'It gets a new budget of attempts and runs as soon as a worker is free.',
            'Retry task',
            false,
            api.retryDead,
            'retried',
          ),
        {dataset: {focus: `r-${task.id}`}, 'aria-label': `Retry task ${task.id}`},
      ),
      button(
        'Delete…',
        () =>
          one(
            `Delete task ${task.id}?`,
            'The task, its payload, its error and its history are gone for good.',
            'Delete task',
            true,
            api.deleteDead,
            'deleted',
          ),
        {dataset: {focus: `d-${task.id}`}, 'aria-label': `Delete task ${task.id}`},
      ),
    ),
  );
}

export default function dlq({query, signal}) {
  let filter = query;
  const frame = pageFrame('Dead letters', {
    intro: 'Tasks whose attempts are spent. They stay until they are retried or deleted.',
    actions: [
      button('Retry all…', async () => (await bulkRetry(filterOf(filter))) && reload()),
      button('Delete all…', async () => (await bulkDelete(filterOf(filter))) && reload()),
    ],
  });
  const groups = table('Dead tasks by what they died of', [
    {text: 'Tasks', class: 'number'},
    'Type',
    'Error',
    {text: 'First', class: 'number'},
    {text: 'Last', class: 'number'},
    'Last task',
    {node: h('span', {class: 'unseen'}, 'Actions')},
  ]);
  const list = table('Dead tasks of this group', [
    'Id',
    'Type',
    'Queue',
    {text: 'Attempt', class: 'number'},
    {text: 'Died', class: 'number'},
    'Error',
    {node: h('span', {class: 'unseen'}, 'Actions')},
  ]);
  const form = filterForm('dlq', FIELDS, {kept: ['fingerprint']});
  const crumb = h(
    'p',
    {class: 'crumb', hidden: true},
    h('a', {href: '#/dlq'}, 'All groups'),
    h('span', {}, ''),
  );
  const none = h('div', {});
  const pager = h('div', {class: 'pager'});
  const summary = h('p', {class: 'muted', role: 'status'});

  async function loadGroups() {
    const found = (await api.deadGroups(filterOf(filter), signal)).groups;
    syncList(
      groups.body,
      found,
      (group) => group.fingerprint,
      (group) => groupRow(group, filter, reload),
    );
    setText(
      summary,
      found.length === 0
        ? ''
        : `${plural(
            found.reduce((sum, group) => sum + group.tasks, 0),
            'dead task',
          )} in ${plural(found.length, 'group')}`,
    );
    replace(pager);
    return found.length;
  }

  async function loadTasks() {
    const answer = await api.dead(
      {...filterOf(filter), limit: PAGE, cursor: filter.get('cursor')},
      signal,
    );
    syncList(
      list.body,
      answer.tasks,
      (task) => task.id,
      (task) => taskRow(task, reload),
      seenOf,
    );
    setText(summary, '');
    const to = (cursor) => link('dlq', {...filterOf(filter), cursor});
    replace(
      pager,
      filter.get('cursor') && h('a', {class: 'button small', href: to('')}, 'Oldest'),
      answer.next_cursor !== null &&
        h('a', {class: 'button small', href: to(answer.next_cursor)}, 'Later'),
    );
    return answer.tasks.length;
  }

  const load = () =>
    guarded(frame, signal, async () => {
      const inside = filter.get('fingerprint');
      crumb.hidden = !inside;
      setText(crumb.lastElementChild, inside ? ` / group ${visible(inside)}` : '');
      const mine = filter;
      const shown = await (inside ? loadTasks() : loadGroups());
      if (mine !== filter) return;
      groups.frame.hidden = Boolean(inside) || shown === 0;
      list.frame.hidden = !inside || shown === 0;
      const filtered = Object.keys(filterOf(filter)).length > 0;
      replace(
        none,
        shown > 0
          ? null
          : filtered
            ? empty('No dead task matches.', h('a', {href: '#/dlq'}, 'Show all dead letters'), '.')
            : empty('No dead letters.', 'A task comes here when its last attempt has failed.'),
      );
    });

  form.show(query);
  groups.frame.hidden = list.frame.hidden = true;
  frame.element.append(form.element, crumb, summary, groups.frame, list.frame, none, pager);
  const reload = autoRefresh({topics: ['tasks'], load, signal});
  return {
    ...frame,
    update(now) {
      filter = now;
      form.show(now);
      reload();
    },
  };
}
