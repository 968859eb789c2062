/** Queues: what they hold, why they hand nothing out, and their rules. */
import {api} from '../api.js';
import {ask, field, formDialog, input} from '../dialogs.js';
import {h, replace, syncList} from '../dom.js';
import {
  bytes,
  count,
  duration,
  durationText,
  parseDuration,
  parseRate,
  plural,
  rate,
  short,
} from '../format.js';
import {autoRefresh} from '../refresh.js';
import {link} from '../router.js';
import {submitDialog} from '../submit.js';
import {attempt, toast} from '../toast.js';
import {
  badge,
  button,
  code,
  empty,
  gateBadge,
  guarded,
  name,
  number,
  pageFrame,
  stateName,
  table,
} from '../ui.js';

/**
 * The states in the order in which one asks for them; how old the oldest ready task is stands
 * beside the first.
 */
const STATES = ['leased', 'scheduled', 'retry_wait', 'blocked', 'dead', 'succeeded', 'cancelled'];

/** What people see of the rules, and how the values are read and written. */
const RULES = [
  {name: 'max_running', label: 'Most running', hint: 'Held by workers at once.', kind: 'number'},
  {name: 'rate_per_second', label: 'Rate', hint: 'Handed out: 5/s, 100/m, 2/h.', kind: 'rate'},
  {name: 'burst', label: 'Burst', hint: 'At once after a rest.', kind: 'number'},
  {
    name: 'weight',
    label: 'Weight',
    hint: 'Tasks for each of other queues, up to 100.',
    kind: 'number',
  },
  {name: 'max_tasks', label: 'Most tasks', hint: 'Beyond, submits are refused.', kind: 'number'},
  {
    name: 'max_bytes',
    label: 'Most bytes',
    hint: 'Of payloads; beyond, submits are refused.',
    kind: 'bytes',
  },
  {name: 'max_attempts', label: 'Attempts', hint: 'For tasks that do not say.', kind: 'number'},
  {name: 'timeout_ms', label: 'Timeout', hint: 'Of an attempt, such as 90s.', kind: 'duration'},
  {name: 'retry_base_ms', label: 'First retry after', hint: 'Doubled each time.', kind: 'duration'},
  {name: 'retry_cap_ms', label: 'Longest retry wait', hint: 'Such as 10m.', kind: 'duration'},
  {
    name: 'key_max_running',
    label: 'Most running of a key',
    hint: 'Of each concurrency key.',
    kind: 'number',
  },
  {
    name: 'key_rate_per_second',
    label: 'Rate of a key',
    hint: 'Of each concurrency key.',
    kind: 'rate',
  },
  {name: 'key_burst', label: 'Burst of a key', hint: 'At once after a rest.', kind: 'number'},
  {name: 'ageing_ms', label: 'Ageing', hint: 'Waiting worth a step of priority.', kind: 'duration'},
];
/** A whole number, null for an empty field, NaN for what is none. */
function readNumber(text) {
  if (text.trim() === '') return null;
  return /^\d+$/.test(text.trim()) ? Number(text) : NaN;
}
const writeNumber = (value) => value ?? '';
const READ = {number: readNumber, bytes: readNumber, rate: parseRate, duration: parseDuration};
const WRITE = {
  number: writeNumber,
  bytes: writeNumber,
  rate: (value) => (value === null ? '' : rate(value)),
  duration: durationText,
};
const SHOW = {number: count, bytes, rate, duration};

function rulesText(queue) {
  const set = RULES.filter((rule) => queue[rule.name] !== null && queue[rule.name] !== undefined);
  return set.map((rule) =>
    h('span', {class: 'label'}, `${rule.label.toLowerCase()} ${SHOW[rule.kind](queue[rule.name])}`),
  );
}

/** What was changed in the form: a rule that was emptied is null, which takes it away. */
function changedRules(form, queue) {
  const changes = {};
  for (const rule of RULES) {
    const text = form.elements[rule.name].value;
    if (text.trim() === String(WRITE[rule.kind](queue[rule.name]))) continue;
    const value = READ[rule.kind](text);
    if (Number.isNaN(value))
      throw new Error(`${rule.label}: “${text}” cannot be read. ${rule.hint}`);
    changes[rule.name] = value;
  }
  return changes;
}

async function editRules(queue, reload) {
  const fields = h(
    'div',
    {class: 'fields'},
    h(
      'p',
      {class: 'hint'},
      'Rules hold at once, for all workers together. An empty field is no rule.',
    ),
    h(
      'div',
      {class: 'columns'},
      RULES.map((rule) =>
        field(
          rule.label,
          input(rule.name, {value: WRITE[rule.kind](queue[rule.name]), placeholder: 'no rule'}),
          rule.hint,
        ),
      ),
    ),
  );
  const done = await formDialog({
    title: `Rules of ${queue.name}`,
    confirm: 'Set rules',
    wide: true,
    content: fields,
    submit: () => api.setQueue(queue.name, changedRules(fields.closest('form'), queue)),
  });
  if (done) reload();
}

const waitingOf = (queue) =>
  queue.counts.scheduled + queue.counts.ready + queue.counts.retry_wait + queue.counts.blocked;

async function purge(queue, reload) {
  const waiting = waitingOf(queue);
  const answer = await ask({
    title: `Purge ${queue.name}?`,
    confirm: `Cancel ${plural(waiting, 'task')}`,
    says: [
      `All that waits in this queue is cancelled: ${plural(waiting, 'task')} by now.`,
      'It cannot be undone.',
      `What runs goes on (${count(queue.counts.leased)}), and dead tasks stay (${count(queue.counts.dead)}).`,
    ],
    submit: () => api.purgeQueue(queue.name),
  });
  if (!answer) return;
  toast(`${plural(answer.cancelled, 'task')} of ${queue.name} cancelled.`);
  reload();
}

function cell(queue, state) {
  const n = queue.counts[state] ?? 0;
  return number(
    n === 0
      ? h('span', {class: 'muted'}, '0')
      : h(
          'a',
          {
            href:
              state === 'dead'
                ? link('dlq', {queue: queue.name})
                : link('tasks', {queue: queue.name, state}),
            dataset: {focus: `${queue.name}-${state}`},
          },
          count(n),
        ),
  );
}

function row(queue, reload) {
  const act = (action, text) => async () => {
    await attempt(action, text);
    reload();
  };
  const toggle =
    queue.paused || queue.draining
      ? button(
          'Resume',
          act(() => api.resumeQueue(queue.name), `${queue.name} hands out tasks again.`),
          {dataset: {focus: `${queue.name}-toggle`}, 'aria-label': `Resume ${queue.name}`},
        )
      : button(
          'Pause',
          act(
            () => api.pauseQueue(queue.name),
            `${queue.name} is paused: submits are taken, what runs goes on.`,
          ),
          {dataset: {focus: `${queue.name}-toggle`}, 'aria-label': `Pause ${queue.name}`},
        );
  return h(
    'tr',
    {dataset: {queue: queue.name}},
    h(
      'th',
      {scope: 'row'},
      h(
        'a',
        {href: link('tasks', {queue: queue.name}), dataset: {focus: queue.name}},
        name(queue.name),
      ),
      h('div', {class: 'labels'}, rulesText(queue)),
      queue.bytes > 0 && h('div', {class: 'sub'}, `${bytes(queue.bytes)} of payload`),
    ),
    h('td', {}, gateBadge(queue.gate), queue.draining && badge('draining', 'amber')),
    cell(queue, 'ready'),
    number(queue.oldest_ready_ms > 0 ? short(queue.oldest_ready_ms) : ''),
    STATES.map((state) => cell(queue, state)),
    h(
      'td',
      {class: 'actions'},
      toggle,
      button('Rules…', () => editRules(queue, reload), {
        dataset: {focus: `${queue.name}-rules`},
        'aria-label': `Rules of ${queue.name}`,
      }),
      button('Purge…', () => purge(queue, reload), {
        dataset: {focus: `${queue.name}-purge`},
        'aria-label': `Purge ${queue.name}`,
        disabled: waitingOf(queue) === 0,
      }),
    ),
  );
}

export default function queues({signal}) {
  const frame = pageFrame('Queues');
  const {frame: box, body} = table('Queues', [
    'Queue',
    'Gate',
    {text: 'Ready', class: 'number'},
    {text: 'Oldest', class: 'number'},
    ...STATES.map((state) => ({text: stateName(state), class: 'number'})),
    {node: h('span', {class: 'unseen'}, 'Actions')},
  ]);
  const none = h('div', {});
  const load = () =>
    guarded(frame, signal, async () => {
      const list = (await api.queues(signal)).queues;
      syncList(
        body,
        list,
        (queue) => queue.name,
        (queue) => row(queue, reload),
      );
      box.hidden = list.length === 0;
      replace(
        none,
        list.length === 0 &&
          empty(
            'There are no queues yet.',
            'A queue comes with its first task: ',
            button('submit one', () => submitDialog()),
            ', or with its first rule: ',
            code('zsched-ctl queue set mail rate=100/m'),
            '.',
          ),
      );
    });
  frame.element.append(box, none);
  const reload = autoRefresh({topics: ['queues', 'tasks'], load, signal});
  return frame;
}
