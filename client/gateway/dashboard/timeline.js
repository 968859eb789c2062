/** The attempts of a task as bars on one axis of time, each with its facts beside it. */
import {h} from './dom.js';
import {clock, duration, plural} from './format.js';
import {badge, name, stateBadge} from './ui.js';
import {visible} from './bytes.js';

/** A bar that is thinner is not to be seen, percent. */
const MIN_WIDTH = 0.8;
const TONE = {
  succeeded: 'green',
  running: 'teal',
  retried: 'amber',
  dead: 'red',
  cancelled: 'grey',
  returned: 'grey',
};

export function timeline(task, history) {
  const attempts = history.attempts;
  if (attempts.length === 0) return h('p', {class: 'muted'}, 'No attempt has begun.');
  const start = Math.min(
    Date.parse(task.submitted_at),
    ...attempts.map((one) => Date.parse(one.leased_at)),
  );
  const endOf = (one) => (one.ended_at ? Date.parse(one.ended_at) : Date.now());
  const end = Math.max(start + 1, ...attempts.map(endOf));
  const percent = (at) => (100 * (at - start)) / (end - start);
  const rows = attempts.map((one) => {
    const from = Math.min(percent(Date.parse(one.leased_at)), 100 - MIN_WIDTH);
    const took = one.ended_at
      ? one.run_us > 0
        ? one.run_us / 1000
        : endOf(one) - Date.parse(one.leased_at)
      : Date.now() - Date.parse(one.leased_at);
    return h(
      'li',
      {class: 'attempt'},
      h(
        'div',
        {class: 'attempt-facts'},
        h('strong', {}, `#${one.attempt}`),
        one.end === 'running' ? badge('running', 'teal') : stateBadge(one.end),
        h('span', {class: 'tabular'}, duration(took)),
        one.worker && name(one.worker),
        h('span', {class: 'muted tabular'}, clock(one.leased_at)),
      ),
      h(
        'div',
        {class: 'track', 'aria-hidden': 'true'},
        h('span', {
          class: `track-bar ${TONE[one.end] ?? 'grey'}`,
          style: {left: `${from}%`, width: `${Math.max(MIN_WIDTH, percent(endOf(one)) - from)}%`},
        }),
      ),
      one.error &&
        h('p', {class: 'attempt-error'}, visible(`${one.error.code}: ${one.error.message}`)),
    );
  });
  return [
    h('ol', {class: 'attempts'}, rows),
    h(
      'p',
      {class: 'muted axis'},
      h('span', {}, 'submitted'),
      h('span', {}, `+${duration(end - start)}`),
    ),
    history.missing > 0 &&
      h(
        'p',
        {class: 'hint'},
        `${plural(history.missing, 'attempt')} between the first and these are not kept.`,
      ),
  ];
}
