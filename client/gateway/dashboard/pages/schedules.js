/** Time schedules: when they fire next, and what came of it. */
import {api} from '../api.js';
import {ask, openDialog} from '../dialogs.js';
import {h, replace, syncList} from '../dom.js';
import {count} from '../format.js';
import {autoRefresh} from '../refresh.js';
import {link} from '../router.js';
import {firings, scheduleDialog} from '../schedule_form.js';
import {attempt, toast} from '../toast.js';
import {visible} from '../bytes.js';
import {
  badge,
  button,
  code,
  empty,
  guarded,
  idLink,
  name,
  number,
  pageFrame,
  problem,
  since,
  table,
} from '../ui.js';

const SHOWN_FIRINGS = 10;

async function showNext(schedule) {
  const place = h('div', {'aria-live': 'polite'}, h('p', {class: 'muted'}, 'Asking…'));
  const dialog = openDialog({
    title: `Next firings of ${schedule.name}`,
    content: [
      h('p', {}, code(schedule.cron), ' in ', visible(schedule.tz)),
      place,
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
  try {
    replace(place, firings(await api.nextOf(schedule.name, SHOWN_FIRINGS), schedule.tz));
  } catch (error) {
    replace(place, problem(error));
  }
}

async function remove(schedule, reload) {
  const done = await ask({
    title: `Delete ${schedule.name}?`,
    confirm: 'Delete schedule',
    says: [
      'This schedule fires no more, and its definition is gone. It cannot be undone.',
      'The tasks that it made stay, also those that wait or run.',
    ],
    submit: async () => {
      await api.deleteSchedule(schedule.name);
      return true;
    },
  });
  if (!done) return;
  toast(`${visible(schedule.name)} is deleted.`);
  reload();
}

function row(schedule, reload) {
  const act = (action, text) => async () => {
    await attempt(action, text);
    reload();
  };
  const shown = visible(schedule.name);
  const props = (what, key) => ({
    'aria-label': `${what} ${shown}`,
    dataset: {focus: `${schedule.name}-${key}`},
  });
  return h(
    'tr',
    {dataset: {schedule: schedule.name}},
    h(
      'th',
      {scope: 'row'},
      h(
        'a',
        {
          href: link('tasks', {label: `schedule=${schedule.name}`}),
          dataset: {focus: schedule.name},
        },
        name(schedule.name),
      ),
      h('div', {class: 'sub'}, visible(`${schedule.task.type} in ${schedule.task.queue}`)),
      schedule.error && h('div', {class: 'sub bad'}, visible(schedule.error)),
    ),
    h(
      'td',
      {},
      schedule.paused ? badge('paused', 'amber') : badge('active', 'green'),
      schedule.running && badge('task not over', 'teal'),
    ),
    h('td', {}, code(schedule.cron), h('div', {class: 'sub'}, visible(schedule.tz))),
    h('td', {class: 'number'}, since(schedule.next, 'never')),
    h(
      'td',
      {},
      schedule.last_task ? idLink(schedule.last_task) : h('span', {class: 'muted'}, 'none'),
    ),
    number(count(schedule.fired)),
    number(count(schedule.skipped)),
    number(count(schedule.missed)),
    number(count(schedule.held)),
    h(
      'td',
      {class: 'actions'},
      schedule.paused
        ? button(
            'Resume',
            act(() => api.resumeSchedule(schedule.name), `${shown} fires again.`),
            props('Resume', 'toggle'),
          )
        : button(
            'Pause',
            act(
              () => api.pauseSchedule(schedule.name),
              `${shown} is paused: what would fire meanwhile does not fire later.`,
            ),
            props('Pause', 'toggle'),
          ),
      button(
        'Trigger',
        act(
          () => api.triggerSchedule(schedule.name),
          (answer) => [`${shown}: task `, idLink(answer.id), ' is submitted.'],
        ),
        props('Trigger', 'trigger'),
      ),
      button('Next…', () => showNext(schedule), props('Next firings of', 'next')),
      button(
        'Edit…',
        async () => (await scheduleDialog(schedule)) && reload(),
        props('Edit', 'edit'),
      ),
      button('Delete…', () => remove(schedule, reload), props('Delete', 'delete')),
    ),
  );
}

export default function schedules({signal}) {
  const add = button('Add schedule…', async () => (await scheduleDialog()) && reload());
  const frame = pageFrame('Schedules', {actions: [add]});
  const {frame: box, body} = table('Schedules', [
    'Schedule',
    'State',
    'Expression',
    {text: 'Next', class: 'number'},
    'Last task',
    {text: 'Fired', class: 'number'},
    {text: 'Skipped', class: 'number'},
    {text: 'Missed', class: 'number'},
    {text: 'Waiting', class: 'number'},
    {node: h('span', {class: 'unseen'}, 'Actions')},
  ]);
  const none = h('div', {});
  const load = () =>
    guarded(frame, signal, async () => {
      const list = (await api.schedules(signal)).schedules;
      syncList(
        body,
        list,
        (schedule) => schedule.name,
        (schedule) => row(schedule, reload),
      );
      box.hidden = list.length === 0;
      replace(
        none,
        list.length === 0 &&
          empty(
            'There are no schedules.',
            'A schedule submits a task at each tick: ',
            button('add one', async () => (await scheduleDialog()) && reload()),
            ' or run ',
            code('zsched-ctl cron add NAME --cron "0 9 * * MON-FRI" --type report'),
            '.',
          ),
      );
    });
  frame.element.append(box, none);
  const reload = autoRefresh({topics: ['schedules'], load, signal});
  return frame;
}
