/** Why a task is not running, in sentences (docs/cli.md has the reasons). */
import {h} from './dom.js';
import {count, plural} from './format.js';
import {link} from './router.js';
import {name, since} from './ui.js';
import {visible} from './bytes.js';

const quoted = (text) => `“${visible(String(text ?? ''))}”`;

/** A sentence and what to do, by reason; one that is not known shows itself. */
const SAYS = {
  delay: (one) => ['It is to run later: ', since(one.until), '.'],
  retry_wait: (one) => [`Attempt ${one.count} failed; the next begins `, since(one.until), '.'],
  running: (one) => [
    'It runs',
    one.name ? [' at ', name(one.name)] : null,
    one.since ? [', begun ', since(one.since)] : null,
    '.',
  ],
  at_worker: (one) => [
    'It is at worker ',
    name(one.name),
    `, which has ${plural(one.count, 'task')}; this one is not known to have begun.`,
  ],
  cancelling: () => ['It was cancelled, and its attempt is told to end.'],
  queue_paused: (one) => [
    'Its queue ',
    quoted(one.name),
    ' is paused. ',
    h('a', {href: link('queues')}, 'Resume it'),
    ' to let it run.',
  ],
  queue_full: (one) => [
    'Its queue ',
    quoted(one.name),
    ` is full: ${count(one.count)} run, of ${count(one.limit)}.`,
  ],
  queue_rate: (one) => [
    'Its queue ',
    quoted(one.name),
    ' is at its rate',
    one.until ? [' until ', since(one.until)] : null,
    '.',
  ],
  type_paused: (one) => [
    'Its type ',
    quoted(one.name),
    ' is paused. `zsched-ctl type resume` lets it run.',
  ],
  type_full: (one) => [
    'Of its type ',
    quoted(one.name),
    ` ${count(one.count)} run, of ${count(one.limit)}.`,
  ],
  type_rate: (one) => ['Its type ', quoted(one.name), ' is at its rate.'],
  key_full: (one) => [
    'Of its concurrency key ',
    quoted(one.name),
    ` ${count(one.count)} run, of ${count(one.limit)}.`,
  ],
  key_rate: (one) => ['Its concurrency key ', quoted(one.name), ' is at its rate.'],
  no_worker: (one) => [
    one.count > 0
      ? `None of the ${plural(one.count, 'worker')} takes this queue and type. `
      : 'There is no worker. ',
    'Start one that does: ',
    h('code', {}, 'zsched-worker'),
    '.',
  ],
  no_credit: () => [
    'All workers that could take it are busy; more workers, or more concurrency, would help.',
  ],
};

/** @param answer what GET /tasks/{id}/explain gave */
export function explanation(answer) {
  const reasons = answer.reasons.map((one) =>
    h(
      'li',
      {},
      (SAYS[one.reason] ?? ((other) => [visible(`${other.reason} ${other.name ?? ''}`)]))(one),
    ),
  );
  const waits = Number.isFinite(answer.ahead);
  const atLeast = answer.ahead_exact ? '' : 'At least ';
  const inQueue = plural(answer.ready_in_queue, 'ready task');
  return [
    h('ul', {class: 'reasons'}, reasons),
    reasons.length === 0 && h('p', {}, 'Nothing holds it back: it is about to run.'),
    waits &&
      h(
        'p',
        {class: 'muted'},
        `${atLeast}${plural(answer.ahead, 'task')} before it in line, of ${inQueue} in its queue.`,
      ),
  ];
}
