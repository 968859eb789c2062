/** The form that submits a task. */
import {api} from './api.js';
import {field, formDialog, input} from './dialogs.js';
import {h} from './dom.js';
import {live} from './live.js';
import {parseLabels} from './format.js';
import {go, taskLink} from './router.js';
import {toast} from './toast.js';
import {idLink} from './ui.js';

const MAX_SUGGESTIONS = 200;

/** Names of queues that the last figures had, for a field to suggest. */
export function queueSuggestions(id) {
  return h(
    'datalist',
    {id},
    (live.stats?.queues ?? [])
      .slice(0, MAX_SUGGESTIONS)
      .map((queue) => h('option', {value: queue.name})),
  );
}

/**
 * The fields that a task to submit and the task of a schedule have in common, with the values of
 * `task`.
 */
export function taskFields(task = {}) {
  const payload = task.payload ?? '';
  return [
    h(
      'div',
      {class: 'columns'},
      field(
        'Type',
        input('type', {
          required: true,
          maxlength: 128,
          autofocus: true,
          value: task.type ?? '',
          placeholder: 'echo',
        }),
        'What is to be done: the name of a handler of your workers.',
      ),
      field(
        'Queue',
        input('queue', {
          maxlength: 128,
          value: task.queue ?? '',
          placeholder: 'default',
          list: 'queue-names',
        }),
      ),
    ),
    queueSuggestions('queue-names'),
    field(
      'Payload',
      h('textarea', {
        name: 'payload',
        rows: 5,
        spellcheck: 'false',
        value: typeof payload === 'string' ? payload : '',
      }),
      'Text or JSON, up to 1 MiB, given to the handler as it is.',
    ),
    h(
      'div',
      {class: 'columns'},
      field(
        'Priority',
        input('priority', {
          type: 'number',
          min: 0,
          max: 9,
          value: task.priority ?? '',
          placeholder: '5',
        }),
        '9 first.',
      ),
      field(
        'Most attempts',
        input('max_attempts', {
          type: 'number',
          min: 1,
          max: 10000,
          value: task.max_attempts ?? '',
          placeholder: 'as the queue says',
        }),
      ),
      field(
        'Timeout',
        input('timeout', {value: task.timeout ?? '', placeholder: '30m', pattern: '[0-9a-z. ]*'}),
        'Of one attempt, such as 90s.',
      ),
    ),
    field(
      'Labels',
      input('labels', {
        value: Object.entries(task.labels ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(', '),
        placeholder: 'team=blue, tier=2',
      }),
    ),
  ];
}

/**
 * What was typed into `taskFields`, as the API takes it. @throws Error that says which field is
 * wrong
 */
export function taskOf(form) {
  const value = (name) => form.elements[name]?.value ?? '';
  const task = {type: value('type').trim()};
  for (const name of ['queue', 'timeout', 'delay', 'key'])
    if (value(name).trim() !== '') task[name] = value(name).trim();
  for (const name of ['priority', 'max_attempts'])
    if (value(name) !== '') task[name] = Number(value(name));
  if (value('payload') !== '') task.payload = value('payload');
  const labels = parseLabels(value('labels'));
  if (Object.keys(labels).length > 0) task.labels = labels;
  if (task.payload !== undefined && isJson(task.payload)) task.content_type = 'application/json';
  return task;
}

function isJson(text) {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export async function submitDialog(preset = {}) {
  const fields = h(
    'div',
    {class: 'fields'},
    taskFields(preset),
    h(
      'div',
      {class: 'columns'},
      field('Delay', input('delay', {placeholder: 'none'}), 'Such as 10m: not before then.'),
      field(
        'Idempotency key',
        input('key', {maxlength: 128}),
        'The same key again submits nothing new.',
      ),
    ),
  );
  const answer = await formDialog({
    title: 'Submit a task',
    confirm: 'Submit task',
    wide: true,
    content: fields,
    submit: () => api.submit(taskOf(fields.closest('form'))),
  });
  if (!answer) return;
  toast([
    'Task ',
    idLink(answer.id),
    answer.repeated ? ' has this key already; nothing new was submitted.' : ' is submitted.',
  ]);
  go(taskLink(answer.id));
}
