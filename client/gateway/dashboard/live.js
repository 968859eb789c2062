/**
 * What happens, as it happens: one event stream for the whole page (docs/rest.md, "Event streams").
 *
 *   connecting ──stats──▶ live ──silence──▶ reconnecting ⇄ nobroker ──stats──▶ live
 *
 * The stream says `stats` every second. Silence for SILENT_MS therefore means that something is
 * wrong, and /readyz is asked what: no answer or 200 is `reconnecting`, 503 is `nobroker`. The
 * browser reconnects a stream that broke by itself and says where it was; a stream that was
 * refused, or is open and silent, is made anew.
 *
 * Pages do not read events. They are told which *topics* moved ('tasks', 'queues', 'workers',
 * 'schedules', 'cluster'; all of them after a gap), from events by their kind and from what two
 * stats differ in, and ask the API for the rest.
 */
import {address} from './api.js';
import {topicsOf, differences, isServed, ALL_TOPICS} from './stats.js';

const SILENT_MS = 3500;
/** An open stream that was silent for so long is one that nobody serves any more. */
const DEAD_MS = 12_000;
const RETRY_MS = [250, 500, 1000, 2000, 4000];
const PROBE_MS = 2000;
const WATCH_MS = 500;

/** Events a second that are worth hearing of: pages are refreshed once a second at most. */
const EVENT_RATE = 20;
/**
 * A stream gives named events only to listeners of that name: the kinds (docs/rest.md), and what a
 * stream says of itself.
 */
const KINDS = [
  'submitted',
  'ready',
  'started',
  'succeeded',
  'failed',
  'dead',
  'cancelled',
  'cancelling',
  'returned',
  'retried',
  'deleted',
  'pruned',
  'progress',
  'output',
  'queue_set',
  'type_set',
  'schedule_set',
  'schedule_removed',
  'ticked',
  'worker_seen',
  'worker_gone',
  'epoch',
  'merged',
  'trimmed',
  'skipped',
];

class Live extends EventTarget {
  state = 'connecting';
  /** The last figures, as /stats has them; null before the first. */
  stats = null;
  #source = null;
  #heardAt = performance.now();
  #openedAt = 0;
  #failures = 0;
  #retryAt = 0;
  #lastId = '';
  #probing = false;

  start() {
    this.#open();
    setInterval(() => this.#watch(), WATCH_MS);
    // A phone that slept: do not wait for the watch to notice.
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.#watch();
    });
    addEventListener('pagehide', () => this.#source?.close());
    addEventListener('pageshow', (event) => {
      if (event.persisted) this.#open();
    });
  }

  #open() {
    this.#source?.close();
    const source = new EventSource(
      address('events', {stats: '1s', rate: EVENT_RATE, after: this.#lastId}),
    );
    this.#source = source;
    this.#openedAt = performance.now();
    source.addEventListener('stats', (event) => this.#onStats(event));
    for (const kind of KINDS) source.addEventListener(kind, (event) => this.#onEvent(event));
    source.addEventListener('unavailable', () => this.#probe());
    source.onerror = () => {
      if (source !== this.#source || source.readyState !== EventSource.CLOSED) return;
      // Refused (503): the browser leaves it at that.
      this.#retryAt = performance.now() + RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
    };
  }

  #onStats(event) {
    const stats = parse(event.data);
    if (!stats) return;
    // Any broker gives figures; those of a cluster that nobody serves are not what runs.
    if (!isServed(stats)) {
      this.#heardAt = performance.now();
      this.#become('nobroker');
      return;
    }
    const before = this.stats;
    this.#heardAt = performance.now();
    this.#failures = 0;
    this.stats = stats;
    const topics = this.state === 'live' ? differences(before, stats) : ALL_TOPICS;
    this.#become('live');
    this.dispatchEvent(new CustomEvent('stats', {detail: stats}));
    this.#touch(topics);
  }

  #onEvent(event) {
    if (event.lastEventId) this.#lastId = event.lastEventId;
    this.#touch(topicsOf(event.type));
  }

  #touch(topics) {
    if (topics.length > 0) this.dispatchEvent(new CustomEvent('touch', {detail: topics}));
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', {detail: state}));
  }

  #watch() {
    const now = performance.now();
    if (this.#source?.readyState === EventSource.CLOSED && now >= this.#retryAt) this.#open();
    if (now - this.#heardAt < SILENT_MS) return;
    if (now - Math.max(this.#heardAt, this.#openedAt) > DEAD_MS) this.#open();
    this.#probe();
  }

  /**
   * Why is it silent? Asked again and again while it is: the answer changes when a broker takes
   * over.
   */
  async #probe() {
    if (this.#probing) return;
    this.#probing = true;
    const asked = this.#heardAt;
    let state = 'reconnecting';
    try {
      const response = await fetch(new URL('../../readyz', address('')), {
        cache: 'no-store',
        signal: AbortSignal.timeout(PROBE_MS),
      });
      if (response.status === 503) state = 'nobroker';
    } catch {
      // Not even the gateway answers.
    }
    this.#probing = false;
    // Figures that came meanwhile, or a broker that is only slow for a moment, are no trouble to
    // tell of.
    const trouble = state === 'nobroker' || performance.now() - this.#heardAt > SILENT_MS;
    if (asked === this.#heardAt && trouble) this.#become(state);
  }
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

export const live = new Live();
