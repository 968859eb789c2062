/** The overview: what the cluster does now, as numbers and as lines over the last minutes. */
import {history, lineChart} from '../charts.js';
import {h, replace, setText, syncList} from '../dom.js';
import {compact, count, duration} from '../format.js';
import {live} from '../live.js';
import {link} from '../router.js';
import {submitDialog} from '../submit.js';
import {comparable, observed, quantileMs, ratePerSecond, totals} from '../stats.js';
import {button, code, empty, pageFrame, roleBadge} from '../ui.js';

/** Rates over so many milliseconds: shorter ones flicker, longer ones hide what happens. */
const RATE_WINDOW_MS = 3000;
const LATENCY_WINDOW_MS = 10_000;
const BUSIEST = 6;
/** The axis of times goes up to here at least: less is noise. */
const LEAST_MS = 0.1;

const THROUGHPUT = [
  {label: 'submitted', color: '--blue', counter: 'tasks_submitted_total'},
  {label: 'succeeded', color: '--green', counter: 'tasks_succeeded_total'},
  {label: 'failed', color: '--amber', counter: 'attempts_failed_total'},
  {label: 'dead', color: '--red', counter: 'tasks_dead_total'},
];
const DEPTH = [
  {label: 'running', color: '--teal', state: 'leased'},
  {label: 'ready', color: '--blue', state: 'ready'},
  {label: 'waiting to retry', color: '--amber', state: 'retry_wait'},
  {label: 'scheduled', color: '--violet', state: 'scheduled'},
];
const QUANTILES = [
  ['p50', 0.5, '--teal'],
  ['p90', 0.9, '--blue'],
  ['p99', 0.99, '--violet'],
];
const TIMES = {
  task_wait: 'from ready to started',
  task_run: 'of a run',
  commit: 'of a commit',
  fsync: 'of a flush to disk',
};
/** Without histograms, what counters give: the mean time of a commit. */
const COMMIT = 'commit';

/** The sample some time before number `i`; samples come about once a second. */
function earlier(samples, i, ms) {
  let k = i;
  while (k > 0 && samples[i].at - samples[k].at < ms) --k;
  return k === i ? null : samples[k];
}

const lines = (series, valueOf) =>
  series.map((one) =>
    history.samples.map((sample, i) => ({x: sample.at, y: valueOf(one, sample, i)})),
  );

function latency(name, q) {
  return history.samples.map((sample, i) => {
    const before = earlier(history.samples, i, LATENCY_WINDOW_MS);
    return {
      x: sample.at,
      y:
        name === COMMIT
          ? q === 0.5
            ? meanCommitMs(before, sample)
            : null
          : quantileMs(observed(before, sample, name), q),
    };
  });
}

function meanCommitMs(before, sample) {
  if (!comparable(before?.stats, sample.stats)) return null;
  const grown = (counter) => sample.stats.counters?.[counter] - before.stats.counters?.[counter];
  const commits = grown('commits_total');
  return commits > 0 ? grown('commit_microseconds_total') / commits / 1000 : null;
}

function tile(label, href) {
  const value = h('span', {class: 'tile-value'}, '–');
  const element = h(
    href ? 'a' : 'div',
    {class: 'tile', href},
    h('span', {class: 'tile-label'}, label),
    value,
  );
  return {element, value};
}

export default function overview({signal}) {
  const frame = pageFrame('Overview');
  const tiles = {
    ready: tile('Ready', link('tasks', {state: 'ready'})),
    leased: tile('Running', link('tasks', {state: 'leased'})),
    waiting: tile('Waiting', link('tasks', {state: 'scheduled,retry_wait,blocked'})),
    dead: tile('Dead', link('dlq')),
    rate: tile('Finished a second'),
    workers: tile('Workers', link('workers')),
  };
  const cluster = h(
    'p',
    {class: 'facts'},
    h('span', {class: 'muted'}, 'Waiting for the first figures…'),
  );
  const throughput = lineChart({
    title: 'Throughput, tasks a second',
    series: THROUGHPUT,
    format: compact,
    signal,
  });
  const depth = lineChart({
    title: 'Unfinished tasks',
    series: DEPTH,
    format: compact,
    stacked: true,
    signal,
  });
  const choice = h('select', {'aria-label': 'Which time', onchange: () => draw()});
  const latencyChart = lineChart({
    title: 'Time',
    signal,
    controls: choice,
    format: duration,
    least: LEAST_MS,
    series: QUANTILES.map(([label, , color]) => ({label, color})),
  });
  const busiest = h('div', {class: 'bars'});
  const none = h('div', {});

  function drawChoice() {
    const names = Object.keys(live.stats.histograms ?? {});
    const wanted = names.length > 0 ? names : [COMMIT];
    if (wanted.join() === [...choice.options].map((option) => option.value).join()) return;
    const kept = choice.value;
    replace(
      choice,
      wanted.map((one) => h('option', {value: one}, TIMES[one] ?? one.replaceAll('_', ' '))),
    );
    choice.value = wanted.includes(kept)
      ? kept
      : (wanted.find((one) => /wait/.test(one)) ?? wanted[0]);
  }

  function drawTiles(stats) {
    const sums = totals(stats);
    const last = history.samples.at(-1);
    const ends = ['tasks_succeeded_total', 'tasks_dead_total', 'tasks_cancelled_total'].map(
      (counter) => ratePerSecond(history.before(RATE_WINDOW_MS), last, counter),
    );
    setText(tiles.ready.value, count(sums.ready));
    setText(tiles.leased.value, count(sums.leased));
    setText(tiles.waiting.value, count(sums.scheduled + sums.retry_wait + sums.blocked));
    setText(tiles.dead.value, count(sums.dead));
    tiles.dead.element.classList.toggle('bad', sums.dead > 0);
    setText(
      tiles.rate.value,
      ends[0] === null ? '–' : compact(ends.reduce((sum, rate) => sum + (rate ?? 0), 0)),
    );
    setText(tiles.workers.value, count(stats.workers));
    tiles.workers.element.classList.toggle('bad', stats.workers === 0);
  }

  function drawFacts(stats) {
    const signature = JSON.stringify([
      stats.node,
      stats.role,
      stats.epoch,
      stats.peer,
      stats.version,
    ]);
    if (cluster.dataset.signature !== signature) {
      cluster.dataset.signature = signature;
      replace(
        cluster,
        h('strong', {}, String(stats.node)),
        ' ',
        roleBadge(stats.role),
        h('span', {}, ` epoch ${stats.epoch}`),
        h(
          'span',
          {},
          stats.peer ? [`peer ${stats.peer.node} `, roleBadge(stats.peer.role)] : 'no standby',
        ),
        h('span', {class: 'uptime'}),
      );
    }
    setText(cluster.querySelector('.uptime'), `up ${duration(stats.uptime_ms)}`);
  }

  function drawBusiest(stats) {
    const open = (queue) =>
      queue.counts.ready +
      queue.counts.leased +
      queue.counts.scheduled +
      queue.counts.retry_wait +
      queue.counts.blocked;
    const rows = stats.queues
      .map((queue) => ({name: queue.name, open: open(queue), running: queue.counts.leased}))
      .filter((row) => row.open > 0)
      .sort((a, b) => b.open - a.open || (a.name < b.name ? -1 : 1))
      .slice(0, BUSIEST);
    const most = Math.max(1, ...rows.map((row) => row.open));
    syncList(
      busiest,
      rows.map((row) => ({...row, most})),
      (row) => row.name,
      (row) =>
        h(
          'a',
          {class: 'bar-row', href: link('tasks', {queue: row.name}), dataset: {focus: row.name}},
          h('span', {class: 'name'}, row.name),
          h(
            'span',
            {class: 'meter-bar', 'aria-hidden': 'true'},
            h('span', {class: 'meter-fill blue', style: {width: `${(row.open / most) * 100}%`}}),
          ),
          h(
            'span',
            {class: 'bar-value'},
            `${compact(row.open)} open, ${compact(row.running)} running`,
          ),
        ),
    );
    replace(
      none,
      rows.length > 0
        ? null
        : stats.queues.length > 0
          ? h('p', {class: 'muted'}, 'No task waits or runs.')
          : empty(
              'Nothing was submitted yet.',
              button('Submit a task', () => submitDialog()),
              ' or run ',
              code('zsched-ctl submit --type echo --payload hello'),
              '.',
            ),
    );
  }

  function draw() {
    const stats = live.stats;
    if (!stats) return;
    drawChoice();
    drawTiles(stats);
    drawFacts(stats);
    drawBusiest(stats);
    throughput.update(
      lines(THROUGHPUT, (one, sample, i) =>
        ratePerSecond(earlier(history.samples, i, RATE_WINDOW_MS), sample, one.counter),
      ),
    );
    depth.update(lines(DEPTH, (one, sample) => sample.stats.totals[one.state]));
    latencyChart.update(
      QUANTILES.map(([, q]) => latency(choice.value, q)),
      choice.value === COMMIT ? ['mean', '', ''] : QUANTILES.map(([label]) => label),
    );
  }

  frame.element.append(
    cluster,
    h(
      'div',
      {class: 'tiles'},
      Object.values(tiles).map((one) => one.element),
    ),
    h(
      'div',
      {class: 'charts'},
      throughput.element,
      depth.element,
      latencyChart.element,
      h(
        'section',
        {class: 'card', 'aria-label': 'Busiest queues'},
        h('div', {class: 'card-head'}, h('h2', {}, 'Busiest queues')),
        busiest,
        none,
      ),
    ),
  );
  live.addEventListener('stats', draw, {signal});
  draw();
  return frame;
}
