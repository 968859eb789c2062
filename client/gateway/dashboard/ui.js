/** The small parts that all pages are made of. */
import {h, replace} from './dom.js';
import {visible} from './bytes.js';
import {ago, clock} from './format.js';
import {taskLink} from './router.js';

const TONE_OF_STATE = {
  scheduled: 'violet',
  ready: 'blue',
  leased: 'teal',
  retry_wait: 'amber',
  blocked: 'amber',
  succeeded: 'green',
  dead: 'red',
  cancelled: 'grey',
  running: 'teal',
  retried: 'amber',
  returned: 'grey',
};
const NAME_OF_STATE = {leased: 'running', retry_wait: 'to retry'};
const TONE_OF_GATE = {open: 'green', paused: 'amber', full: 'violet', dry: 'violet'};
const GATE_SAYS = {
  open: 'hands out tasks',
  paused: 'paused: nothing is handed out',
  full: 'as many run as may',
  dry: 'at its rate',
};

/** A status: a dot for those who see colours, and always its name. */
export const badge = (text, tone = 'grey', title) =>
  h('span', {class: `badge ${tone}`, title}, visible(String(text)));
export const stateName = (state) => NAME_OF_STATE[state] ?? String(state).replace('_', ' ');
export const stateTone = (state) => TONE_OF_STATE[state] ?? 'grey';
export const stateBadge = (state) => badge(stateName(state), stateTone(state), state);
export const gateBadge = (gate) => badge(gate, TONE_OF_GATE[gate], GATE_SAYS[gate]);
export const roleBadge = (role) =>
  badge(
    String(role).replace('_', ' '),
    /^active/.test(role)
      ? 'green'
      : role === 'standby'
        ? 'blue'
        : role === 'fenced'
          ? 'red'
          : 'amber',
  );

/** A name from outside, as it is; what cannot be seen in it is written out. */
export const name = (text) =>
  h('span', {class: 'name', title: visible(String(text ?? ''))}, visible(String(text ?? '–')));
export const idLink = (id, props = {}) =>
  h('a', {class: 'id', href: taskLink(id), dataset: {focus: `id-${id}`}, ...props}, id);

/** "5 s ago", kept true by tickTimes; the exact time on hover. */
export function since(iso, none = '–') {
  if (!iso) return h('span', {class: 'muted'}, none);
  return h('time', {datetime: iso, title: clock(iso), dataset: {ago: ''}}, ago(iso));
}

/** Once a second: relative times that are to be seen say what is so now. */
export function tickTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll('time[data-ago]')) {
    const text = ago(element.dateTime, now);
    if (element.textContent !== text) element.textContent = text;
  }
}

export const button = (text, onclick, props = {}) =>
  h('button', {type: 'button', class: 'button small', onclick, ...props}, text);

/** What the task labels of a task or worker are. */
export function labels(map, linkOf) {
  return h(
    'span',
    {class: 'labels'},
    Object.entries(map ?? {}).map(([key, value]) => {
      const text = visible(`${key}=${value}`);
      return linkOf
        ? h('a', {class: 'label', href: linkOf(key, value)}, text)
        : h('span', {class: 'label'}, text);
    }),
  );
}

/** An error for people: what is wrong, and what to do. */
export function problem(error) {
  const title = error.title ?? error.message;
  const code = error.code ? h('code', {}, error.code) : null;
  const advice =
    error.status === 0 || !error.retryable
      ? null
      : error.retryAfter
        ? `Try again in ${error.retryAfter} s.`
        : 'It may work in a moment; try again.';
  const detail = error.detail && error.detail !== title ? h('p', {}, visible(error.detail)) : null;
  return h(
    'div',
    {class: 'problem'},
    h('p', {class: 'problem-title'}, visible(String(title)), ' ', code),
    detail,
    advice && h('p', {}, advice),
  );
}

/** Nothing to show, and the step that leads on. */
export const empty = (title, ...next) =>
  h('div', {class: 'empty'}, h('p', {class: 'empty-title'}, title), h('p', {}, next));
export const code = (text) => h('code', {}, text);

/** A share of a whole, as a bar with its numbers. */
export function meter(value, max, text, tone = 'teal') {
  const share = max > 0 ? Math.min(1, value / max) : 0;
  return h(
    'span',
    {class: 'meter'},
    h(
      'span',
      {class: 'meter-bar', 'aria-hidden': 'true'},
      h('span', {class: `meter-fill ${tone}`, style: {width: `${share * 100}%`}}),
    ),
    h('span', {class: 'meter-text'}, text),
  );
}

/**
 * A table that scrolls inside its frame when the screen is narrow. The frame takes the focus, so
 * that it scrolls by keyboard.
 * @param {Array<string|{text, class, label}>} columns
 */
export function table(caption, columns) {
  const body = h('tbody', {});
  const head = columns.map((column) =>
    typeof column === 'string'
      ? h('th', {scope: 'col'}, column)
      : h('th', {scope: 'col', class: column.class}, column.node ?? column.text),
  );
  const frame = h(
    'div',
    {class: 'frame', tabindex: '0', role: 'region', 'aria-label': caption},
    h(
      'table',
      {},
      h('caption', {class: 'unseen'}, caption),
      h('thead', {}, h('tr', {}, head)),
      body,
    ),
  );
  return {frame, body};
}

export const number = (text, props = {}) => h('td', {class: 'number', ...props}, text);

/**
 * The frame of a page: a title that takes the focus when one comes here, actions beside it, and a
 * place for errors.
 */
export function pageFrame(title, {actions = [], intro} = {}) {
  const errors = h('div', {role: 'alert'});
  const heading = h('h1', {tabindex: '-1'}, title);
  const element = h(
    'div',
    {class: 'page'},
    h('div', {class: 'page-head'}, heading, h('div', {class: 'page-actions'}, actions)),
    intro && h('p', {class: 'intro'}, intro),
    errors,
  );
  let shown = '';
  return {
    element,
    heading,
    /**
     * Shows what went wrong with loading, once; null: all is well. What was loaded before stays.
     */
    fail(error) {
      const text = error ? `${error.title} ${error.detail} ${error.code} ${error.message}` : '';
      if (text === shown) return;
      shown = text;
      replace(errors, error && problem(error));
    },
  };
}

/** Runs `load`, and shows in `frame` when that fails; an ended page shows nothing any more. */
export async function guarded(frame, signal, load) {
  try {
    await load();
    frame.fail(null);
  } catch (error) {
    if (!signal.aborted) frame.fail(error);
  }
}
