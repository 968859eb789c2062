/**
 * Which page is shown, from the part of the address behind `#`: `#/tasks?state=dead` is the page
 * `tasks` with that query. Filters live there, so that a reload, a bookmark and the Back button
 * keep them, and `/tasks` itself stays the API's.
 */

/**
 * @returns {{page: string, rest: string, query: URLSearchParams}} rest: what follows the page's
 * name, decoded
 */
export function parseHash(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [page, ...rest] = path.split('/');
  return {page, rest: decoded(rest.join('/')), query: new URLSearchParams(query)};
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // A stray % that somebody typed.
  }
}

/** `link('tasks', {state: 'dead'})` is `#/tasks?state=dead`; empty values are left out. */
export function link(path, query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== null && value !== undefined && value !== '') params.set(name, value);
  const text = params.toString();
  return `#/${path}${text ? `?${text}` : ''}`;
}

export const taskLink = (id) => link(`tasks/${encodeURIComponent(id)}`);

/**
 * Goes to an address that `link` made; `replace` leaves no entry behind, for filters that are being
 * typed.
 */
export function go(hash, {replace = false} = {}) {
  if (!replace) {
    location.hash = hash;
  } else if (location.hash !== hash) {
    history.replaceState(null, '', hash);
    dispatchEvent(new HashChangeEvent('hashchange'));
  }
}

/**
 * Calls `show(route)` now and at each change of the address; what is no route of ours (`#main`)
 * changes nothing.
 */
export function startRouter(show) {
  const changed = () => {
    if (location.hash === '' || location.hash.startsWith('#/')) show(parseHash(location.hash));
  };
  addEventListener('hashchange', changed);
  changed();
}
