/** Tasks: filters in the address, the newest first, and actions on many. */
import {api} from '../api.js';
import {h, replace, setText, syncList} from '../dom.js';
import {plural, span} from '../format.js';
import {autoRefresh} from '../refresh.js';
import {filterForm} from '../filters.js';
import {link} from '../router.js';
import {submitDialog} from '../submit.js';
import {visible} from '../bytes.js';
import {
  button,
  empty,
  guarded,
  idLink,
  labels,
  meter,
  name,
  number,
  pageFrame,
  since,
  stateBadge,
  table,
} from '../ui.js';
import {cancelMany, retryMany, seenOf} from '../task_actions.js';

const PAGE = 50;
/**
 * Pages may come empty before the end (docs/rest.md): so many are passed over before a person is
 * asked.
 */
const MAX_EMPTY_PAGES = 5;
const FIELDS = [
  ['queue', 'Queue', 'any'],
  ['type', 'Type', 'any'],
  ['label', 'Label', 'key=value'],
];
const FILTERS = FIELDS.map(([name_]) => name_);

/** How long it ran, runs, or nothing. */
function ran(task) {
  if (!task.started_at) return '';
  if (task.state === 'leased') return since(task.started_at);
  return task.finished_at ? span(task.started_at, task.finished_at) : '';
}

function says(task) {
  if (task.state === 'leased' && task.progress)
    return meter(task.progress.percent, 100, `${task.progress.percent} %`);
  if (task.error && task.state !== 'succeeded')
    return h(
      'span',
      {class: 'clip', title: visible(task.error.message)},
      visible(`${task.error.code}: ${task.error.message}`),
    );
  return labels(task.labels, (key, value) => link('tasks', {label: `${key}=${value}`}));
}

function row(task, selected, onSelect) {
  return h(
    'tr',
    {dataset: {task: task.id}},
    h(
      'td',
      {class: 'tick'},
      h('input', {
        type: 'checkbox',
        checked: selected,
        'aria-label': `Select task ${task.id}`,
        dataset: {focus: `tick-${task.id}`},
        onchange: (event) => onSelect(task, event.target.checked),
      }),
    ),
    h('th', {scope: 'row'}, idLink(task.id)),
    h('td', {}, stateBadge(task.cancelling ? 'cancelling' : task.state)),
    h(
      'td',
      {},
      h(
        'a',
        {href: link('tasks', {type: task.type}), dataset: {focus: `type-${task.id}`}},
        name(task.type),
      ),
    ),
    h(
      'td',
      {},
      h(
        'a',
        {href: link('tasks', {queue: task.queue}), dataset: {focus: `queue-${task.id}`}},
        name(task.queue),
      ),
    ),
    number(`${task.attempt}/${task.max_attempts}`),
    h('td', {class: 'number'}, since(task.submitted_at)),
    h('td', {class: 'number'}, ran(task)),
    h('td', {class: 'wide-cell'}, says(task)),
  );
}

export default function tasks({query, signal}) {
  const frame = pageFrame('Tasks');
  const all = h('input', {
    type: 'checkbox',
    'aria-label': 'Select all on this page',
    onchange: () => selectAll(all.checked),
  });
  const {frame: box, body} = table('Tasks', [
    {node: all, class: 'tick'},
    'Id',
    'State',
    'Type',
    'Queue',
    {text: 'Attempt', class: 'number'},
    {text: 'Submitted', class: 'number'},
    {text: 'Ran', class: 'number'},
    'Labels, progress or error',
  ]);
  const form = filterForm('tasks', FIELDS, {states: true});
  const none = h('div', {});
  const pager = h('div', {class: 'pager'});
  const fresh = h('div', {class: 'fresh', role: 'status'});
  const chosenText = h('span', {role: 'status'});
  const chosenBar = h(
    'div',
    {class: 'selection', hidden: true},
    chosenText,
    button('Retry…', () => act(retryMany)),
    button('Cancel…', () => act(cancelMany)),
    button('Clear selection', () => select(new Map())),
  );
  /** What is ticked: tasks by id. While there are some, rows keep their places. */
  let chosen = new Map();
  let shown = [];
  let filter = query;

  function select(now) {
    chosen = now;
    chosenBar.hidden = chosen.size === 0;
    setText(chosenText, `${plural(chosen.size, 'task')} selected`);
    for (const tick of body.querySelectorAll('input[type=checkbox]'))
      tick.checked = chosen.has(tick.closest('tr').dataset.task);
    all.checked = shown.length > 0 && shown.every((task) => chosen.has(task.id));
    all.indeterminate = !all.checked && chosen.size > 0;
    if (chosen.size === 0) {
      replace(fresh);
      reload();
    }
  }
  const selectAll = (on) => select(new Map(on ? shown.map((task) => [task.id, task]) : []));
  const onSelect = (task, on) => {
    if (on) chosen.set(task.id, task);
    else chosen.delete(task.id);
    select(chosen);
  };
  async function act(action) {
    if (await action([...chosen.values()])) select(new Map());
  }

  async function page() {
    let cursor = filter.get('cursor');
    for (let tries = 0; ; ++tries) {
      const answer = await api.tasks(
        {
          limit: PAGE,
          order: 'desc',
          state: filter.get('state'),
          cursor,
          ...Object.fromEntries(FILTERS.map((one) => [one, filter.get(one)])),
        },
        signal,
      );
      if (answer.tasks.length > 0 || answer.next_cursor === null || tries === MAX_EMPTY_PAGES)
        return answer;
      cursor = answer.next_cursor;
    }
  }

  /** Rows of tasks that are ticked stay where they are; what came since waits behind a button. */
  function merged(list) {
    if (chosen.size === 0) return list;
    const now = new Map(list.map((task) => [task.id, task]));
    const added = list.filter((task) => !shown.some((old) => old.id === task.id)).length;
    replace(
      fresh,
      added > 0 && [
        `The list has changed (${plural(added, 'other task')}); it stands still while you select. `,
        button('Show', () => select(new Map())),
      ],
    );
    return shown.map((task) => now.get(task.id) ?? task);
  }

  function drawPager(answer) {
    const to = (cursor) => link('tasks', {...Object.fromEntries(filter), cursor});
    replace(
      pager,
      filter.get('cursor') &&
        h('a', {class: 'button small', href: to(''), dataset: {focus: 'newest'}}, 'Newest'),
      answer.next_cursor !== null &&
        h(
          'a',
          {class: 'button small', href: to(answer.next_cursor), dataset: {focus: 'older'}},
          'Older',
        ),
    );
  }

  function drawEmpty(answer) {
    const filtered = [...FILTERS, 'state', 'cursor'].some((one) => filter.get(one));
    box.hidden = shown.length === 0;
    replace(
      none,
      shown.length > 0
        ? null
        : answer.next_cursor !== null
          ? empty('Nothing found so far.', '“Older” looks further.')
          : filtered
            ? empty(
                'No task matches.',
                h('a', {href: '#/tasks'}, 'Clear the filter'),
                ' to see all.',
              )
            : empty(
                'There are no tasks yet.',
                button('Submit the first', () => submitDialog()),
              ),
    );
  }

  const load = () =>
    guarded(frame, signal, async () => {
      const mine = filter;
      const answer = await page();
      if (mine !== filter) return; // The filter has changed meanwhile: that answer comes next.
      shown = merged(answer.tasks);
      syncList(
        body,
        shown,
        (task) => task.id,
        (task) => row(task, chosen.has(task.id), onSelect),
        seenOf,
      );
      all.checked = shown.length > 0 && shown.every((task) => chosen.has(task.id));
      drawPager(answer);
      drawEmpty(answer);
    });

  form.show(query);
  frame.element.append(form.element, chosenBar, fresh, box, none, pager);
  const reload = autoRefresh({topics: ['tasks'], load, signal});
  return {
    ...frame,
    update(now) {
      filter = now;
      chosen = new Map();
      shown = [];
      chosenBar.hidden = true;
      replace(fresh);
      form.show(now);
      reload();
    },
  };
}
