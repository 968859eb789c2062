/** Keeps what a page shows true, and asks no more often than a person can read. */
import {live} from './live.js';

/**
 * Between the end of one load and the next because of events; a busy cluster has thousands of those
 * a second.
 */
const MIN_MS = 1000;
/** A page that takes long to load, from a busy broker or far away, rests so many times as long. */
const REST_FACTOR = 4;
/** But no longer than this: a request that had to wait for a broker was slow for another reason. */
const MAX_REST_MS = 5000;
/** Without any event: what changes quietly, such as a worker's silence. */
const IDLE_MS = 10_000;

/**
 * Calls `load` now, when one of `topics` is touched, and every `idleMs`: never twice at once, not
 * while the page is hidden, and soon after it is shown again. Ends with `signal`.
 *
 * @param {{topics: string[], load: () => Promise<void>, signal: AbortSignal, minMs?: number,
 *     idleMs?: number}} what
 * @returns {() => Promise<void>} loads now, for what a person has just done
 */
export function autoRefresh({topics, load, signal, minMs = MIN_MS, idleMs = IDLE_MS}) {
  let running = null;
  let again = false;
  let readyAt = -Infinity;
  let timer = 0;

  const plan = (ms) => {
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(run, Math.max(0, ms));
  };

  const run = async () => {
    if (signal.aborted || running || document.hidden) {
      again = true;
      return running;
    }
    again = false;
    const begunAt = performance.now();
    running = load();
    try {
      await running;
    } finally {
      running = null;
      const now = performance.now();
      const restMs = Math.min(MAX_REST_MS, REST_FACTOR * (now - begunAt));
      readyAt = now + Math.max(minMs, restMs);
      plan(again ? readyAt - now : Math.max(idleMs, readyAt - now));
    }
  };

  live.addEventListener(
    'touch',
    (event) => {
      if (!event.detail.some((topic) => topics.includes(topic))) return;
      if (running || document.hidden) again = true;
      else plan(readyAt - performance.now());
    },
    {signal},
  );
  // What failed while there was no broker is not left standing.
  live.addEventListener('state', () => live.state === 'live' && run(), {signal});
  document.addEventListener('visibilitychange', run, {signal});
  signal.addEventListener('abort', () => clearTimeout(timer));
  run();
  return async () => {
    await running;
    await run();
  };
}
