/**
 * Puts the page together: navigation, the connection's state, shortcuts, and which page is shown.
 */
import {h, replace, setText} from './dom.js';
import {openDialog} from './dialogs.js';
import {compact} from './format.js';
import {live} from './live.js';
import {go, link, startRouter} from './router.js';
import {submitDialog} from './submit.js';
import {totals} from './stats.js';
import {tickTimes} from './ui.js';
import {remember} from './charts.js';
import overview from './pages/overview.js';
import queues from './pages/queues.js';
import tasks from './pages/tasks.js';
import task from './pages/task.js';
import workers from './pages/workers.js';
import schedules from './pages/schedules.js';
import dlq from './pages/dlq.js';
import cluster from './pages/cluster.js';

const PAGES = {'': overview, queues, tasks, workers, schedules, dlq, cluster};
const LIVE_TEXT = {
  connecting: 'connecting…',
  live: 'live',
  reconnecting: 'reconnecting…',
  nobroker: 'no broker',
};
const LIVE_HELP = {
  connecting: 'Opening the stream of events',
  live: 'What you see is kept up to date',
  reconnecting: 'The gateway does not answer; what you see may be old. Trying again by itself',
  nobroker: 'The gateway finds no active broker; what you see may be old. Trying again by itself',
};
const SHORTCUTS = [
  ['g o', 'overview', ''],
  ['g q', 'queues', 'queues'],
  ['g t', 'tasks', 'tasks'],
  ['g w', 'workers', 'workers'],
  ['g s', 'schedules', 'schedules'],
  ['g d', 'dead letters', 'dlq'],
  ['g c', 'cluster', 'cluster'],
];
const CHORD_MS = 1500;

const main = document.getElementById('main');
let ends = new AbortController();
let shown = null;

/**
 * A page is a function of `{rest, query, signal}` that gives `{element, heading, update?}`.
 * `signal` ends all that it started; `update(query)` takes a change of its filters, without which
 * it is made anew.
 */
function show(route) {
  const key = `${route.page}/${route.rest}`;
  if (shown?.key === key && shown.page.update) {
    shown.page.update(route.query);
    return;
  }
  ends.abort();
  ends = new AbortController();
  const make = route.page === 'tasks' && route.rest ? task : (PAGES[route.page] ?? notFound);
  const page = make({...route, signal: ends.signal});
  const moved = shown !== null && shown.key !== key;
  shown = {key, page};
  replace(main, page.element);
  document.title = `${page.heading.textContent} · zsched`;
  for (const anchor of document.querySelectorAll('#nav a')) {
    if (anchor.dataset.page === route.page) {
      anchor.setAttribute('aria-current', 'page');
      anchor.scrollIntoView({block: 'nearest', inline: 'nearest'});
    } else {
      anchor.removeAttribute('aria-current');
    }
  }
  if (moved) {
    scrollTo(0, 0);
    page.heading.focus({preventScroll: true});
  }
}

function notFound() {
  const heading = h('h1', {tabindex: '-1'}, 'No such page');
  return {
    heading,
    element: h(
      'div',
      {class: 'page'},
      heading,
      h('p', {}, h('a', {href: '#/'}, 'To the overview')),
    ),
  };
}

function showState() {
  const place = document.getElementById('live');
  place.dataset.state = live.state;
  place.title = LIVE_HELP[live.state];
  setText(document.getElementById('live-text'), LIVE_TEXT[live.state]);
}

function showStats() {
  remember(live.stats);
  const {dead} = totals(live.stats);
  const place = document.getElementById('dead-count');
  place.hidden = dead === 0;
  setText(place, compact(dead));
  setText(document.getElementById('version'), `version ${String(live.stats.version ?? '–')}`);
}

function helpDialog() {
  const rows = [
    ...SHORTCUTS.map(([keys, what]) => [keys, `Go to ${what}`]),
    ['n', 'Submit a task'],
    ['/', 'To the filter'],
    ['?', 'This list'],
    ['Esc', 'Close a dialog'],
  ];
  const list = h(
    'dl',
    {class: 'keys'},
    rows.map(([keys, what]) => [
      h(
        'dt',
        {},
        keys.split(' ').map((key) => [h('kbd', {}, key), ' ']),
      ),
      h('dd', {}, what),
    ]),
  );
  const dialog = openDialog({
    title: 'Keyboard',
    content: [
      list,
      h(
        'div',
        {class: 'dialog-buttons'},
        h(
          'button',
          {type: 'button', class: 'button', autofocus: true, onclick: () => dialog.close()},
          'Close',
        ),
      ),
    ],
  });
}

let chord = 0;
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]'))
    return;
  if (event.target instanceof Element && event.target.closest('input, select, textarea')) return;
  const pair =
    performance.now() - chord < CHORD_MS
      ? SHORTCUTS.find(([keys]) => keys === `g ${event.key}`)
      : null;
  chord = event.key === 'g' ? performance.now() : 0;
  if (pair) {
    go(link(pair[2]));
  } else if (event.key === 'n') {
    event.preventDefault();
    submitDialog();
  } else if (event.key === '?') {
    helpDialog();
  } else if (event.key === '/') {
    const filter = main.querySelector('form.filters input');
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
}

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault(); // #main is no route
  main.focus();
});
document.getElementById('submit').addEventListener('click', () => submitDialog());
document.getElementById('help').addEventListener('click', helpDialog);
document.addEventListener('keydown', onKey);
live.addEventListener('state', showState);
live.addEventListener('stats', showStats);
setInterval(tickTimes, 1000);
live.start();
startRouter(show);
