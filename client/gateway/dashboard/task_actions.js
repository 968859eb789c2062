/** Retry and cancel of one task or many: they ask, do, and say what came of it. */
import {api} from './api.js';
import {ask} from './dialogs.js';
import {h} from './dom.js';
import {plural} from './format.js';
import {OPEN_STATES} from './stats.js';
import {toast} from './toast.js';
import {idLink} from './ui.js';

/** Refusals that are named one by one; of more, their number is told. */
const NAMED_REFUSALS = 5;

/** What a row of a list shows of a task: it is drawn anew when this changes. */
export const seenOf = (task) => JSON.stringify(task);

/** @param {Array<{id, code, message}>} items */
export function tellItems(items, done) {
  const refused = items.filter((item) => item.code !== 'OK');
  const good = items.length - refused.length;
  if (good > 0) toast(`${plural(good, 'task')} ${done}.`);
  if (refused.length > 0)
    toast(
      [
        h('p', {}, `${plural(refused.length, 'task')} not ${done}:`),
        h(
          'ul',
          {},
          refused
            .slice(0, NAMED_REFUSALS)
            .map((item) => h('li', {}, idLink(item.id), ` ${item.message ?? item.code}`)),
        ),
        refused.length > NAMED_REFUSALS &&
          h('p', {}, `and ${refused.length - NAMED_REFUSALS} more`),
      ],
      {tone: 'bad'},
    );
}

const idsOf = (tasks) => tasks.map((task) => task.id);
const which = (tasks) =>
  tasks.length === 1 ? `task ${tasks[0].id}` : plural(tasks.length, 'task');

/** @returns {Promise<boolean>} false: the person gave up */
export async function retryMany(tasks) {
  const dead = tasks.filter((task) => task.state === 'dead');
  const others = tasks.length - dead.length;
  if (dead.length === 0) {
    toast('Only dead tasks can be retried, and none of these is dead.', {tone: 'bad'});
    return false;
  }
  const items = await ask({
    title: `Retry ${which(dead)}?`,
    confirm: `Retry ${which(dead)}`,
    danger: false,
    says: [
      `With a new budget of attempts, as soon as a worker is free: ${plural(dead.length, 'task')}.`,
      others > 0 && `Not dead, and left alone: ${plural(others, 'task')}.`,
    ].filter(Boolean),
    submit: async () => (await api.retryTasks(idsOf(dead))).items,
  });
  if (items) tellItems(items, 'retried');
  return Boolean(items);
}

/** @returns {Promise<boolean>} false: the person gave up */
export async function cancelMany(tasks) {
  const open = tasks.filter((task) => OPEN_STATES.includes(task.state));
  const running = open.filter((task) => task.state === 'leased').length;
  const waiting = open.length - running;
  const over = tasks.length - open.length;
  if (open.length === 0) {
    toast('What is over cannot be cancelled, and all of these are.', {tone: 'bad'});
    return false;
  }
  const items = await ask({
    title: `Cancel ${which(open)}?`,
    confirm: `Cancel ${which(open)}`,
    says: [
      waiting > 0 && `Waiting, and will never run: ${plural(waiting, 'task')}.`,
      running > 0 && `Running, and told to stop: ${plural(running, 'task')}.`,
      over > 0 && `Over already, and left alone: ${plural(over, 'task')}.`,
      'A cancelled task cannot be brought back.',
    ].filter(Boolean),
    submit: async () => (await api.cancelTasks(idsOf(open))).items,
  });
  if (items) tellItems(items, 'cancelled');
  return Boolean(items);
}
