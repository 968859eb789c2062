/** The form that submits a task. */
import {api} from './api.js';
import {field, formDialog, input} from './dialogs.js';
import {h} from './dom.js';
import {live} from './live.js';
import {durationText, parseLabels} from './format.js';
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
        defaultValue: typeof payload === 'string' ? payload : '',
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
        defaultValue: Object.entries(task.labels ?? {})
          .map(([key, value]) => `${key}=${value}`)
          .join(', '),
        placeholder: 'team=blue, tier=2',
      }),
    ),
  ];
}

/** Whether a field has the text that it began with; a text area writes all ends of lines in one way. */
const untouched = (control) => control.value === control.defaultValue.replace(/\r\n?/g, '\n');

function payloadOf(control, old) {
  if (old && untouched(control)) {
    // Also bytes that are no text, which nobody can type.
    const empty = old.payload === undefined || old.payload === null || old.payload === '';
    return empty ? {} : {payload: old.payload, ...pick(old, ['content_type'])};
  }
  if (control.value === '') return {};
  return {
    payload: control.value,
    ...(isJson(control.value) ? {content_type: 'application/json'} : {}),
  };
}

/** Those fields of an object that have a value. */
function pick(object, names) {
  const there = names.filter((name) => object[name] !== null && object[name] !== undefined);
  return Object.fromEntries(there.map((name) => [name, object[name]]));
}

/**
 * What was typed into `taskFields`, as the API takes it; `old` is the task that they began with.
 * @throws Error that says which field is wrong
 */
export function taskOf(form, old) {
  const value = (name) => form.elements[name]?.value.trim() ?? '';
  const task = {type: value('type')};
  for (const name of ['queue', 'timeout', 'delay', 'key'])
    if (value(name) !== '') task[name] = value(name);
  for (const name of ['priority', 'max_attempts'])
    if (value(name) !== '') task[name] = Number(value(name));
  const kept = old && untouched(form.elements.labels);
  const labels = kept ? (old.labels ?? {}) : parseLabels(value('labels'));
  if (Object.keys(labels).length > 0) task.labels = labels;
  return {...task, ...payloadOf(form.elements.payload, old)};
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

/** What the form has no fields for, and a task that is submitted again has as it was. */
const CARRIED = ['concurrency_key', 'fairness_key', 'correlation_id', 'delivery', 'durability'];

/** @param {object} [preset] a task of the API, which is submitted again as it was, but for changes */
export async function submitDialog(preset) {
  const fields = h(
    'div',
    {class: 'fields'},
    taskFields(preset && {...preset, timeout: durationText(preset.timeout_ms)}),
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
    submit: () =>
      api.submit({...pick(preset ?? {}, CARRIED), ...taskOf(fields.closest('form'), preset)}),
  });
  if (!answer) return;
  toast([
    'Task ',
    idLink(answer.id),
    answer.repeated ? ' has this key already; nothing new was submitted.' : ' is submitted.',
  ]);
  go(taskLink(answer.id));
}
