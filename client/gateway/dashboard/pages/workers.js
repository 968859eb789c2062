/** Workers: what they have and can take, and which of them are silent. */
import {api} from '../api.js';
import {ask} from '../dialogs.js';
import {h, replace, syncList} from '../dom.js';
import {count, duration, plural} from '../format.js';
import {autoRefresh} from '../refresh.js';
import {toast} from '../toast.js';
import {visible} from '../bytes.js';
import {
  badge,
  button,
  code,
  empty,
  guarded,
  labels,
  meter,
  name,
  number,
  pageFrame,
  table,
} from '../ui.js';

/** Heartbeats come every second; a worker silent for six loses its tasks (docs/scheduling.md). */
const SILENT_MS = 2500;
const IDLE_MS = 3000;
const NAMES_SHOWN = 6;

async function drain(worker, reload) {
  const done = await ask({
    title: `Drain ${worker.name}?`,
    confirm: 'Drain worker',
    says: [
      'It takes no new tasks, gives back those that have not begun, finishes what runs, and ends.',
      `Now it holds ${plural(worker.outstanding, 'task')}, of which ${count(worker.running)} run.`,
      'It does not come back by itself unless something starts it again.',
    ],
    submit: () => api.drainWorker(worker.id),
  });
  if (!done) return;
  toast(`${visible(worker.name)} is asked to drain.`);
  reload();
}

function some(list, all) {
  if (list.length === 0) return h('span', {class: 'muted'}, all);
  const more = list.length - NAMES_SHOWN;
  return h(
    'span',
    {class: 'labels', title: visible(list.join(', '))},
    list.slice(0, NAMES_SHOWN).map((one) => h('span', {class: 'label'}, visible(one))),
    more > 0 && h('span', {class: 'muted'}, `and ${more} more`),
  );
}

function row(worker, reload) {
  const silent = worker.silent_ms > SILENT_MS;
  return h(
    'tr',
    {dataset: {worker: worker.id}},
    h(
      'th',
      {scope: 'row'},
      name(worker.name),
      h('div', {class: 'sub'}, visible(`${worker.host} · ${worker.pid} · ${worker.version}`)),
    ),
    h(
      'td',
      {},
      worker.draining
        ? badge('draining', 'amber')
        : silent
          ? badge('silent', 'red')
          : badge('serving', 'green'),
    ),
    h(
      'td',
      {},
      meter(
        worker.running,
        worker.concurrency,
        `${count(worker.running)} of ${count(worker.concurrency)}`,
      ),
    ),
    number(count(worker.outstanding)),
    number(count(worker.credit_tasks)),
    number(duration(Math.floor(worker.silent_ms / 100) * 100)),
    number(count(worker.finished)),
    h('td', {}, some(worker.queues, 'all')),
    h('td', {}, some(worker.types, 'all')),
    h('td', {}, labels(worker.labels)),
    h(
      'td',
      {class: 'actions'},
      button('Drain…', () => drain(worker, reload), {
        disabled: worker.draining,
        'aria-label': `Drain ${worker.name}`,
        dataset: {focus: worker.id},
      }),
    ),
  );
}

export default function workers({signal}) {
  const frame = pageFrame('Workers');
  const summary = h('p', {class: 'intro'});
  const {frame: box, body} = table('Workers', [
    'Worker',
    'State',
    'Running',
    {text: 'Held', class: 'number'},
    {text: 'Credit', class: 'number'},
    {text: 'Silent', class: 'number'},
    {text: 'Finished', class: 'number'},
    'Queues',
    'Types',
    'Labels',
    {node: h('span', {class: 'unseen'}, 'Actions')},
  ]);
  const none = h('div', {});

  const load = () =>
    guarded(frame, signal, async () => {
      const list = (await api.workers(signal)).workers;
      const sum = (field) => list.reduce((total, worker) => total + worker[field], 0);
      replace(
        summary,
        list.length > 0 &&
          `${plural(list.length, 'worker')} with room for ${plural(sum('concurrency'), 'task')}; ${count(sum('running'))} run.`,
      );
      // A silence of a fraction of a second is none: the row is drawn again only when what it shows
      // is another.
      const seen = (worker) =>
        JSON.stringify({...worker, silent_ms: Math.floor(worker.silent_ms / 1000)});
      syncList(
        body,
        list,
        (worker) => worker.id,
        (worker) => row(worker, reload),
        seen,
      );
      box.hidden = list.length === 0;
      replace(
        none,
        list.length === 0 &&
          empty(
            'No worker is connected, so no task runs.',
            'Start one on any machine that reaches the brokers: ',
            code('zsched-worker --brokers HOST:PORT'),
            '.',
          ),
      );
    });
  frame.element.append(summary, box, none);
  const reload = autoRefresh({topics: ['workers'], load, signal, idleMs: IDLE_MS});
  return frame;
}
