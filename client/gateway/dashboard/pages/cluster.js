/**
 * The cluster: who serves, who stands by and how far behind, and what has happened between the two.
 */
import {api} from '../api.js';
import {visible} from '../bytes.js';
import {ask} from '../dialogs.js';
import {h, replace, syncList} from '../dom.js';
import {bytes, count, duration} from '../format.js';
import {live} from '../live.js';
import {autoRefresh} from '../refresh.js';
import {toast} from '../toast.js';
import {
  badge,
  button,
  code,
  empty,
  guarded,
  name,
  number,
  pageFrame,
  roleBadge,
  since,
  table,
} from '../ui.js';

const IDLE_MS = 3000;

/** Failovers that are shown, and requests that look for them in the log at once. */
const MOST_SHOWN = 10;
const MOST_REQUESTS = 20;

/**
 * Follows the events of a broker becoming active, from the oldest that the log has on.
 * @returns {(signal) => Promise<Array>} those known by now, the latest first
 */
function epochReader() {
  let after = '';
  let known = [];
  return async (signal) => {
    for (let i = 0; i < MOST_REQUESTS; ++i) {
      const page = await api.events({kind: 'epoch', after, limit: 100}, signal);
      known = [...page.events.toReversed(), ...known].slice(0, MOST_SHOWN);
      after = page.next;
      if (page.complete !== false) break;
    }
    return known;
  };
}

async function switchover(brokers, reload) {
  const [active, standby] = [
    brokers.find((one) => /^active/.test(one.role)),
    brokers.find((one) => one.role === 'standby'),
  ];
  const done = await ask({
    title: 'Switch over?',
    confirm: 'Switch over',
    says: [
      `${active?.node ?? 'The active broker'} hands over to ${standby?.node ?? 'its standby'} and becomes the standby.`,
      'Nothing is lost and running tasks go on; submits wait for about a second meanwhile.',
    ],
    submit: () => api.switchover(),
  });
  if (!done) return;
  toast('The brokers are asked to change places.');
  reload();
}

/** An object of the API field by field, for what has no place of its own: nested ones as "a b". */
function fieldsOf(object, prefix = '') {
  return Object.entries(object ?? {}).flatMap(([key, value]) => {
    const label = `${prefix}${key.replaceAll('_', ' ')}`;
    if (value !== null && typeof value === 'object')
      return Array.isArray(value) ? [] : fieldsOf(value, `${label} `);
    if (value === null) return [];
    const shown = /_ms$/.test(key)
      ? duration(value)
      : /_bytes$/.test(key)
        ? bytes(value)
        : typeof value === 'number'
          ? count(value)
          : /_at$/.test(key)
            ? since(value)
            : visible(String(value));
    return [[label.replace(/ (ms|bytes)$/, '').replace(/lsn/, 'position'), shown]];
  });
}

const list = (rows) =>
  h(
    'dl',
    {class: 'facts-list'},
    rows.map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value))),
  );

function brokerCard(broker) {
  return h(
    'section',
    {class: 'card broker', 'aria-label': `Broker ${broker.node}`},
    h('div', {class: 'card-head'}, h('h2', {}, name(broker.node)), roleBadge(broker.role)),
    list([
      ['Clients at', code(broker.address)],
      ['Workers at', code(broker.worker_address)],
      ...fieldsOf(
        Object.fromEntries(
          Object.entries(broker).filter(
            ([key]) => !['node', 'role', 'address', 'worker_address', 'self'].includes(key),
          ),
        ),
      ),
    ]),
  );
}

function mergeRow(merge) {
  return h(
    'tr',
    {},
    h('th', {scope: 'row'}, count(merge.epoch)),
    h('td', {}, merge.done ? badge('done', 'green') : badge('under way', 'amber')),
    h('td', {class: 'number'}, since(merge.begun_at)),
    h('td', {class: 'number'}, since(merge.decided_at)),
    ['taken', 'finished', 'ended', 'resent', 'voided', 'schedules'].map((field) =>
      number(count(merge[field])),
    ),
  );
}

export default function cluster({signal}) {
  let brokers = [];
  const switchButton = button('Switch over…', () => switchover(brokers, reload), {disabled: true});
  const frame = pageFrame('Cluster', {actions: [switchButton]});
  const head = h('p', {class: 'facts'});
  const cards = h('div', {class: 'cards'});
  const alone = h('div', {});
  const figures = h(
    'section',
    {class: 'card', 'aria-label': 'Log and replication'},
    h('div', {class: 'card-head'}, h('h2', {}, 'Log and replication')),
    h('div', {}),
  );
  const failovers = h(
    'section',
    {class: 'card', 'aria-label': 'Who was active'},
    h('div', {class: 'card-head'}, h('h2', {}, 'Who was active')),
    h('div', {}),
  );
  const merges = table('Merges', [
    'Epoch',
    'State',
    {text: 'Begun', class: 'number'},
    {text: 'Decided', class: 'number'},
    ...['Taken', 'Finished', 'Ended', 'Resent', 'Voided', 'Schedules'].map((text) => ({
      text,
      class: 'number',
    })),
  ]);
  const mergeCard = h(
    'section',
    {class: 'card', 'aria-label': 'Merges', hidden: true},
    h('div', {class: 'card-head'}, h('h2', {}, 'Merges')),
    h(
      'p',
      {class: 'hint'},
      'Without an arbiter both brokers may have served at once; what they did was brought together.',
    ),
    merges.frame,
  );
  const last = h('div', {class: 'last'});
  failovers.lastElementChild.append(last);

  function drawFigures(health, stats) {
    const lag = Object.entries(stats?.gauges ?? {}).filter(([key]) =>
      key.startsWith('replication_'),
    );
    const rows = [
      health && ['Health', badge(health.status, health.status === 'ok' ? 'green' : 'amber')],
      ...fieldsOf(Object.fromEntries(lag)),
      ...fieldsOf(health?.journal),
    ].filter(Boolean);
    replace(figures.lastElementChild, list(rows));
  }

  function drawFailovers(events) {
    replace(
      last,
      events.length === 0
        ? h('p', {class: 'muted'}, 'The log has none.')
        : h(
            'ul',
            {class: 'plain-list'},
            events.map((event) =>
              h(
                'li',
                {},
                'Epoch ',
                h('strong', {class: 'tabular'}, count(event.count)),
                event.name ? [' at ', name(event.name)] : null,
                ', begun ',
                since(event.at),
              ),
            ),
          ),
    );
  }

  const readEpochs = epochReader();
  const load = () =>
    guarded(frame, signal, async () => {
      const [answer, health, epochs] = await Promise.all([
        api.cluster(signal),
        api.health(signal).catch(() => null),
        readEpochs(signal).catch(() => []),
      ]);
      brokers = answer.brokers;
      replace(
        head,
        h('span', {}, 'Epoch ', h('strong', {class: 'tabular'}, count(answer.epoch))),
        h('span', {class: 'muted'}, ` cluster ${visible(String(answer.cluster))}`),
      );
      syncList(cards, brokers, (one) => one.node, brokerCard);
      const standby = brokers.some((one) => one.role === 'standby');
      switchButton.disabled = !standby;
      switchButton.title = standby ? '' : 'There is no standby in sync that could take over';
      replace(
        alone,
        brokers.length < 2 &&
          empty(
            'This broker is alone.',
            'With a standby the cluster goes on when one broker fails: start a second one with ',
            code('--node backup --peer HOST:PORT'),
            '.',
          ),
      );
      drawFigures(health, live.stats);
      drawFailovers(epochs);
      mergeCard.hidden = answer.merges.length === 0;
      syncList(merges.body, answer.merges, (one) => String(one.epoch), mergeRow);
    });
  frame.element.append(
    head,
    cards,
    alone,
    h('div', {class: 'cards'}, figures, failovers),
    mergeCard,
  );
  const reload = autoRefresh({topics: ['cluster'], load, signal, idleMs: IDLE_MS});
  return frame;
}
