/** One task: what it is, what becomes of it, and why it is not running. */
import {api} from '../api.js';
import {views, visible, SHOWN_CHARS, MAX_SHOWN_CHARS, bytesOf, isBinary} from '../bytes.js';
import {h, replace} from '../dom.js';
import {bytes, clock, duration, span} from '../format.js';
import {explanation} from '../explain.js';
import {logView} from '../logs.js';
import {autoRefresh} from '../refresh.js';
import {link} from '../router.js';
import {submitDialog} from '../submit.js';
import {OPEN_STATES} from '../stats.js';
import {timeline} from '../timeline.js';
import {cancelMany, retryMany} from '../task_actions.js';
import {
  button,
  code,
  guarded,
  idLink,
  labels,
  meter,
  name,
  pageFrame,
  since,
  stateBadge,
} from '../ui.js';

/** While it is not over: what no event tells, such as its place in line. */
const OPEN_IDLE_MS = 2000;

const section = (title, ...content) =>
  h(
    'section',
    {class: 'card', 'aria-label': title},
    h('div', {class: 'card-head'}, h('h2', {}, title)),
    content,
  );

/**
 * Payload or result: the best view first, the others by buttons, long ones cut until one asks for
 * more.
 */
function bytesView(title, value, contentType) {
  const offered = views(value);
  if (offered.length === 0) return section(title, h('p', {class: 'muted'}, 'Nothing.'));
  const size = bytesOf(value).length;
  const pre = h('pre', {class: 'bytes', tabindex: '0', 'aria-label': title});
  const more = h('div', {});
  const show = (view, limit = SHOWN_CHARS) => {
    pre.textContent = view.text.slice(0, limit);
    const cut = view.text.length > limit;
    replace(
      more,
      cut &&
        h(
          'p',
          {class: 'hint'},
          'Only the beginning is shown. ',
          limit < MAX_SHOWN_CHARS && button('Show more', () => show(view, MAX_SHOWN_CHARS)),
        ),
    );
    for (const tab of tabs)
      tab.setAttribute('aria-pressed', String(tab.dataset.view === view.name));
  };
  const tabs = offered.map((view) =>
    h(
      'button',
      {type: 'button', class: 'chip', dataset: {view: view.name}, onclick: () => show(view)},
      view.name,
    ),
  );
  const save = button(
    'Save',
    () => {
      const url = URL.createObjectURL(new Blob([bytesOf(value)]));
      h('a', {
        href: url,
        download: `${title.toLowerCase()}${isBinary(value) ? '.bin' : '.txt'}`,
      }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    },
    {'aria-label': `Save the ${title.toLowerCase()} as a file`},
  );
  const element = section(
    title,
    h(
      'div',
      {class: 'bytes-head'},
      h(
        'span',
        {class: 'muted'},
        `${bytes(size)}${contentType ? ` of ${visible(contentType)}` : ''}`,
      ),
      h('span', {class: 'chips'}, tabs.length > 1 && tabs, save),
    ),
    pre,
    more,
  );
  show(offered[0]);
  return element;
}

/** Fields as name and value; what is not there is left out. */
function facts(task) {
  const exact = (iso) => iso && [since(iso), h('span', {class: 'exact'}, clock(iso))];
  const rows = [
    ['Queue', h('a', {href: link('tasks', {queue: task.queue})}, name(task.queue))],
    ['Type', h('a', {href: link('tasks', {type: task.type})}, name(task.type))],
    ['Priority', String(task.priority)],
    ['Attempt', `${task.attempt} of ${task.max_attempts}`],
    ['Timeout', duration(task.timeout_ms)],
    ['Submitted', exact(task.submitted_at)],
    ['Not before', exact(task.run_at)],
    ['Start by', exact(task.start_by)],
    ['Started', exact(task.started_at)],
    ['Finished', exact(task.finished_at)],
    ['Ran for', task.started_at && task.finished_at && span(task.started_at, task.finished_at)],
    ['Worker', task.worker && name(task.worker)],
    ['Follows', task.parent && idLink(task.parent)],
    [
      'Labels',
      Object.keys(task.labels).length > 0 &&
        labels(task.labels, (key, value) => link('tasks', {label: `${key}=${value}`})),
    ],
    ['Durability', task.durability],
    ['Delivery', task.delivery?.replaceAll('_', ' ')],
    ...[
      ['Key', 'key'],
      ['Concurrency key', 'concurrency_key'],
      ['Fairness key', 'fairness_key'],
      ['Correlation id', 'correlation_id'],
      ['Trace', 'traceparent'],
    ].map(([label, field]) => [label, task[field] && name(task[field])]),
    [
      'Fingerprint',
      task.fingerprint &&
        h('a', {href: link('dlq', {fingerprint: task.fingerprint})}, code(task.fingerprint)),
    ],
  ];
  return h(
    'dl',
    {class: 'facts-list'},
    rows
      .filter(([, value]) => value)
      .map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value))),
  );
}

function failure(task) {
  if (!task.error) return null;
  return h(
    'div',
    {class: task.state === 'dead' ? 'problem' : 'problem mild'},
    h(
      'p',
      {class: 'problem-title'},
      task.state === 'dead'
        ? 'It is dead'
        : task.state === 'cancelled'
          ? 'It was cancelled'
          : 'The last attempt failed',
      ' ',
      code(task.error.code),
    ),
    h('pre', {class: 'message'}, visible(task.error.message)),
  );
}

export default function task({rest: id, signal}) {
  let current = null;
  const acts = {
    retry: button('Retry…', async () => (await retryMany([current])) && reload(), {hidden: true}),
    cancel: button('Cancel…', async () => (await cancelMany([current])) && reload(), {
      hidden: true,
    }),
    again: button('Submit again…', () => submitDialog(current), {hidden: true}),
  };
  const frame = pageFrame(`Task ${visible(id)}`, {actions: Object.values(acts)});
  const status = h('div', {class: 'status-line', 'aria-live': 'polite'});
  const error = h('div', {});
  const why = h('div', {});
  const details = h('div', {});
  const attempts = h('div', {});
  const payload = h('div', {});
  const result = h('div', {});
  const logs = logView(id, signal);
  const drawn = new Map();

  /**
   * Draws a part again only when what it shows is another: a text that one is about to copy stays.
   */
  function draw(place, value, render) {
    const signature = JSON.stringify(value) ?? '';
    if (drawn.get(place) === signature) return;
    drawn.set(place, signature);
    replace(place, render());
  }

  function drawTask() {
    acts.retry.hidden = current.state !== 'dead';
    acts.cancel.hidden = !OPEN_STATES.includes(current.state);
    acts.again.hidden = false;
    const progress = current.state === 'leased' ? current.progress : null;
    draw(status, [current.state, current.cancelling, progress], () => [
      stateBadge(current.state),
      current.cancelling && stateBadge('cancelling'),
      progress && meter(progress.percent, 100, `${progress.percent} %`),
      progress?.message && h('span', {}, visible(progress.message)),
    ]);
    draw(error, [current.error, current.state], () => failure(current));
    const {payload: sent, result: got, ...fields} = current;
    draw(details, fields, () => section('Task', facts(current)));
    draw(payload, [sent, current.content_type], () =>
      bytesView('Payload', sent, current.content_type),
    );
    draw(result, [got, current.result_content_type, current.state], () =>
      current.state === 'succeeded' || got !== null
        ? bytesView('Result', got, current.result_content_type)
        : null,
    );
  }

  const load = () =>
    guarded(frame, signal, async () => {
      const before = current?.state;
      current = await api.task(id, signal);
      drawTask();
      const open = OPEN_STATES.includes(current.state);
      const [history, reasons] = await Promise.all([
        api.history(id, signal),
        open ? api.explain(id, signal) : null,
      ]);
      draw(attempts, [history, current.state === 'leased' && Date.now()], () =>
        section('Attempts', timeline(current, history)),
      );
      draw(why, reasons, () => reasons && section('Why it is not over', explanation(reasons)));
      logs.element.hidden = current.attempt === 0;
      if (current.attempt > 0) logs.follow(open || before !== current.state);
    });

  frame.element.append(
    status,
    error,
    h(
      'div',
      {class: 'two'},
      h('div', {class: 'stack'}, why, attempts, logs.element, result, payload),
      details,
    ),
  );
  const reload = autoRefresh({topics: ['tasks'], load, signal, idleMs: OPEN_IDLE_MS});
  return frame;
}
