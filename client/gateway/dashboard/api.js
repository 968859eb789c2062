/**
 * The REST API as functions (docs/rest.md). Addresses are relative to this module, so that the
 * dashboard also works behind a proxy that serves it under a path of its own.
 */

const BASE = new URL('../api/v1/', import.meta.url);
/** A gateway looks for a broker for 10 s, and a retry of many works for up to 20 s. */
const TIMEOUT_MS = 30_000;

/** What came back instead of an answer; `message` is for people. */
export class ApiError extends Error {
  constructor({status, code, title, detail, retryable, retryAfter}) {
    super(detail || title);
    Object.assign(this, {status, code, title, detail, retryable, retryAfter});
  }
}

/** The address of an API path, with those query parameters that are not empty. */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query))
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  return url;
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not from the gateway: a proxy's page, or a connection that ended.
  }
  return new ApiError({
    status: response.status,
    code: typeof body.code === 'string' ? body.code : '',
    title: typeof body.title === 'string' ? body.title : `The server answered ${response.status}`,
    detail: typeof body.detail === 'string' ? body.detail : '',
    retryable: body.retryable === true || response.status === 503,
    retryAfter: Number(response.headers.get('Retry-After')) || null,
  });
}

/**
 * One request. `signal` ends it early, and it ends by itself after TIMEOUT_MS.
 * @throws {ApiError} status 0 when nobody answered; an AbortError when `signal` ended it
 */
export async function request(method, path, {query, body, signal} = {}) {
  const ends = new AbortController();
  const timer = setTimeout(
    () => ends.abort(new DOMException('too slow', 'TimeoutError')),
    TIMEOUT_MS,
  );
  const abort = () => ends.abort(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  try {
    const response = await fetch(address(path, query), {
      method,
      headers: {
        Accept: 'application/json',
        ...(body === undefined ? {} : {'Content-Type': 'application/json'}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      signal: ends.signal,
    });
    if (!response.ok) throw await problemOf(response);
    return response.status === 204 ? null : await response.json();
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    throw new ApiError({
      status: 0,
      code: 'UNREACHABLE',
      title: 'The gateway does not answer',
      retryable: true,
      detail:
        'The gateway does not answer. Check that it runs and that this machine reaches it; the page goes on by itself.',
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

const get = (path, query, signal) => request('GET', path, {query, signal});
const post = (path, body = {}, signal) => request('POST', path, {body, signal});
const e = encodeURIComponent;

export const api = {
  stats: (signal) => get('stats', {}, signal),
  health: (signal) => get('../../health', {}, signal),

  // Lists show neither payloads nor results, which may be a megabyte each.
  tasks: (query, signal) => get('tasks', {...query, omit_bodies: true}, signal),
  task: (id, signal) => get(`tasks/${e(id)}`, {}, signal),
  history: (id, signal) => get(`tasks/${e(id)}/history`, {}, signal),
  explain: (id, signal) => get(`tasks/${e(id)}/explain`, {}, signal),
  logs: (id, query, signal) => get(`tasks/${e(id)}/logs`, query, signal),
  submit: (task) => post('tasks', task),
  retryTasks: (ids) => post('tasks/retry', {ids}),
  cancelTasks: (ids) => post('tasks/cancel', {ids}),

  queues: (signal) => get('queues', {}, signal),
  setQueue: (name, rules) => request('PATCH', `queues/${e(name)}`, {body: rules}),
  pauseQueue: (name) => post(`queues/${e(name)}/pause`),
  resumeQueue: (name) => post(`queues/${e(name)}/resume`),
  purgeQueue: (name) => post(`queues/${e(name)}/purge`),

  deadGroups: (query, signal) => get('dlq/groups', query, signal),
  dead: (query, signal) => get('dlq', {...query, omit_bodies: true}, signal),
  retryDead: (body, signal) => post('dlq/retry', body, signal),
  deleteDead: (body, signal) => post('dlq/delete', body, signal),

  schedules: (signal) => get('schedules', {}, signal),
  addSchedule: (body) => post('schedules', body),
  putSchedule: (name, body) => request('PUT', `schedules/${e(name)}`, {body}),
  deleteSchedule: (name) => request('DELETE', `schedules/${e(name)}`),
  pauseSchedule: (name) => post(`schedules/${e(name)}/pause`),
  resumeSchedule: (name) => post(`schedules/${e(name)}/resume`),
  triggerSchedule: (name) => post(`schedules/${e(name)}/trigger`),
  nextOf: (name, count, signal) => get(`schedules/${e(name)}/next`, {count}, signal),
  cronNext: (cron, tz, count, signal) => get('cron/next', {cron, tz, count}, signal),

  workers: (signal) => get('workers', {}, signal),
  drainWorker: (id) => post(`workers/${e(id)}/drain`),
  /** A page of what has happened: {events, next, complete}. */
  events: (query, signal) => get('events', query, signal),
  cluster: (signal) => get('cluster', {}, signal),
  switchover: () => post('cluster/switchover'),
};
