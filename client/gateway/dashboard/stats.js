/**
 * Sense made of /stats: rates, quantiles, what moved between two of them. Pure functions, without a
 * document.
 */

export const STATES = [
  'scheduled',
  'ready',
  'leased',
  'retry_wait',
  'blocked',
  'succeeded',
  'dead',
  'cancelled',
];
export const OPEN_STATES = ['scheduled', 'ready', 'leased', 'retry_wait', 'blocked'];
export const ALL_TOPICS = ['tasks', 'queues', 'workers', 'schedules', 'cluster'];

const TOPICS_OF_KIND = {
  queue_set: ['queues'],
  type_set: ['queues'],
  schedule_set: ['schedules'],
  schedule_removed: ['schedules'],
  ticked: ['schedules', 'tasks'],
  worker_seen: ['workers'],
  worker_gone: ['workers', 'tasks'],
  epoch: ['cluster'],
  merged: ['cluster', 'tasks'],
  output: [], // only the page of the task shows it, and that asks by itself
  trimmed: ALL_TOPICS,
  skipped: ALL_TOPICS,
};

/** Which topics an event touches; one of any other kind is about a task. */
export const topicsOf = (kind) => TOPICS_OF_KIND[kind] ?? ['tasks', 'queues'];

const number = (value) => (Number.isFinite(value) ? value : 0);

/** Whether these figures are of a cluster that has an active broker. */
export const isServed = (stats) =>
  [stats, ...(stats.brokers ?? [])].some((broker) => /^active/.test(broker?.role ?? ''));

/** Tasks by state, over all queues. */
export function totals(stats) {
  const sums = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const queue of stats?.queues ?? [])
    for (const state of STATES) sums[state] += number(queue.counts?.[state]);
  return sums;
}

/** What the charts need of /stats: a cluster may have a thousand queues, and five minutes are kept. */
export const sampleOf = (stats) => ({
  node: stats.node,
  epoch: stats.epoch,
  uptime_ms: stats.uptime_ms,
  counters: stats.counters,
  histograms: stats.histograms,
  totals: totals(stats),
});

/** The topics in which two figures of the same cluster differ. */
export function differences(before, after) {
  if (!before) return ALL_TOPICS;
  const differ = (part) => JSON.stringify(part(before)) !== JSON.stringify(part(after));
  const counters = (pattern) => (stats) =>
    Object.entries(stats.counters ?? {}).filter(([name]) => pattern.test(name));
  const topics = [];
  if (
    differ((stats) => stats.queues) ||
    differ(counters(/^(tasks|attempts|reports_taken|queues|types)_/))
  )
    topics.push('tasks', 'queues');
  if (
    differ((stats) => stats.workers) ||
    differ(counters(/^tasks_(dispatched|succeeded)|^attempts/))
  )
    topics.push('workers');
  if (differ(counters(/^schedule/))) topics.push('schedules');
  if (differ((stats) => [stats.node, stats.role, stats.epoch, stats.brokers]))
    topics.push('cluster');
  return topics;
}

/** A counter begins anew in another broker or process, and its difference means nothing then. */
export function comparable(before, after) {
  return (
    before &&
    after &&
    before.node === after.node &&
    before.epoch === after.epoch &&
    number(before.uptime_ms) <= number(after.uptime_ms)
  );
}

/** Growth of a counter a second between two samples `{at, stats}`; null where that is not known. */
export function ratePerSecond(before, after, name) {
  if (!comparable(before?.stats, after?.stats)) return null;
  const [from, to] = [before.stats.counters?.[name], after.stats.counters?.[name]];
  const seconds = (after.at - before.at) / 1000;
  return Number.isFinite(from) && Number.isFinite(to) && to >= from && seconds > 0
    ? (to - from) / seconds
    : null;
}

export function histogram(stats, name) {
  const found = stats?.histograms?.[name];
  return found && Array.isArray(found.bounds_us) && Array.isArray(found.counts) ? found : null;
}

/**
 * What was observed between two samples of a histogram: counts by bucket; null where that is not
 * known.
 */
export function observed(before, after, name) {
  const [from, to] = [histogram(before?.stats, name), histogram(after?.stats, name)];
  if (
    !from ||
    !to ||
    !comparable(before.stats, after.stats) ||
    from.counts.length !== to.counts.length
  )
    return null;
  const counts = to.counts.map((n, i) => n - from.counts[i]);
  return counts.some((n) => n < 0) ? null : {bounds_us: to.bounds_us, counts};
}

/**
 * The quantile `q` of a histogram, in milliseconds, by straight lines within a bucket; null without
 * observations. The bucket over the last bound has no upper end, so its lower one is the answer.
 */
export function quantileMs(counted, q) {
  const total = counted?.counts.reduce((sum, n) => sum + n, 0) ?? 0;
  if (total === 0) return null;
  let left = q * total;
  for (let i = 0; i < counted.counts.length; ++i) {
    const n = counted.counts[i];
    if (n > 0 && left <= n) {
      const low = i === 0 ? 0 : counted.bounds_us[i - 1];
      const high = i < counted.bounds_us.length ? counted.bounds_us[i] : low;
      return (low + (high - low) * (left / n)) / 1000;
    }
    left -= n;
  }
  return counted.bounds_us.at(-1) / 1000;
}

/** The last samples, oldest first: what the charts show, and all that is remembered. */
export class History {
  constructor(limit) {
    this.limit = limit;
    this.samples = [];
  }

  add(stats, at = Date.now()) {
    this.samples.push({at, stats});
    if (this.samples.length > this.limit) this.samples.shift();
  }

  /**
   * The sample about `ms` before the last one, or the oldest: rates over a few seconds do not
   * flicker.
   */
  before(ms) {
    const last = this.samples.at(-1);
    return this.samples.find((sample) => last.at - sample.at <= ms) ?? null;
  }
}
