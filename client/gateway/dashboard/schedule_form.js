/** The form of a schedule, with a preview of its firings while one types. */
import {api} from './api.js';
import {checkbox, field, formDialog, input, select} from './dialogs.js';
import {h, replace} from './dom.js';
import {clock, durationText} from './format.js';
import {taskFields, taskOf} from './submit.js';
import {toast} from './toast.js';
import {badge, problem, since} from './ui.js';
import {visible} from './bytes.js';

const PREVIEW_COUNT = 5;
const TYPING_MS = 300;
const OVERLAPS = [
  ['skip', 'skip: this tick does not fire'],
  ['queue_one', 'queue_one: one tick waits'],
  ['queue_all', 'queue_all: each tick waits'],
  ['cancel_old', 'cancel_old: the earlier task is cancelled'],
  ['allow', 'allow: both run'],
];

/**
 * A time in the zone of a schedule; a zone that this browser does not know is left to the UTC
 * beside it.
 */
function inZone(iso, zone) {
  try {
    return new Date(iso).toLocaleString('en-GB', {
      timeZone: zone,
      weekday: 'short',
      year: 'numeric',
      month: 'short',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    });
  } catch {
    return clock(iso);
  }
}

/** @param answer {next, warnings} of the API */
export function firings(answer, zone) {
  return [
    h(
      'ol',
      {class: 'firings'},
      answer.next.map((at) =>
        h(
          'li',
          {},
          h('span', {class: 'tabular'}, inZone(at, zone)),
          ' ',
          h('span', {class: 'muted'}, since(at)),
        ),
      ),
    ),
    answer.next.length === 0 && h('p', {class: 'muted'}, 'It does not fire any more.'),
    answer.warnings.length > 0 &&
      h(
        'ul',
        {class: 'warnings', 'aria-label': 'Warnings'},
        answer.warnings.map((warning) =>
          h('li', {}, badge(warning.kind.replace('_', ' '), 'amber'), ' ', visible(warning.text)),
        ),
      ),
  ];
}

function livePreview(cron, tz) {
  const place = h('div', {class: 'preview', 'aria-live': 'polite'});
  let timer = 0;
  let ends = new AbortController();
  const ask = async () => {
    ends.abort();
    ends = new AbortController();
    const {signal} = ends;
    if (cron.value.trim() === '')
      return void replace(place, h('p', {class: 'muted'}, 'The next firings appear here.'));
    try {
      const answer = await api.cronNext(cron.value.trim(), tz.value.trim(), PREVIEW_COUNT, signal);
      replace(
        place,
        h('p', {class: 'hint'}, 'Fires next'),
        firings(answer, tz.value.trim() || 'UTC'),
      );
    } catch (error) {
      if (!signal.aborted) replace(place, problem(error));
    }
  };
  for (const one of [cron, tz])
    one.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(ask, TYPING_MS);
    });
  ask();
  return place;
}

/**
 * A schedule as the form has it; the task keeps what the form has no fields for, such as its chain.
 */
function scheduleOf(form, old) {
  const kept = {...old?.task};
  for (const name of [
    'type',
    'queue',
    'payload',
    'content_type',
    'priority',
    'max_attempts',
    'timeout_ms',
    'labels',
  ])
    delete kept[name];
  const task = {...kept, ...taskOf(form, old?.task)};
  const body = {
    cron: form.elements.cron.value.trim(),
    tz: form.elements.tz.value.trim() || 'UTC',
    task,
    overlap: form.elements.overlap.value,
    paused: form.elements.paused.checked,
  };
  for (const name of ['catch_up', 'jitter'])
    if (form.elements[name].value.trim() !== '') body[name] = form.elements[name].value.trim();
  return body;
}

function zoneHere() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC';
}

/** Adds a schedule, or changes `old`. @returns whether it did */
export async function scheduleDialog(old) {
  const cron = input('cron', {
    required: true,
    autofocus: Boolean(old),
    value: old?.cron ?? '',
    placeholder: '30 2 * * MON-FRI',
    maxlength: 256,
  });
  const tz = input('tz', {value: old?.tz ?? zoneHere(), maxlength: 64});
  const task = old && {...old.task, timeout: durationText(old.task.timeout_ms)};
  const fields = h(
    'div',
    {class: 'fields'},
    !old &&
      field(
        'Name',
        input('name', {
          required: true,
          maxlength: 128,
          autofocus: true,
          placeholder: 'nightly-report',
        }),
      ),
    h(
      'div',
      {class: 'columns'},
      field(
        'Expression',
        cron,
        'Minute, hour, day of month, month, day of week; or @hourly, @every 90s.',
      ),
      field('Time zone', tz),
    ),
    livePreview(cron, tz),
    h('h3', {}, 'Task'),
    taskFields(task ?? {}),
    h('h3', {}, 'When it gets late'),
    h(
      'div',
      {class: 'columns'},
      field(
        'While the task of an earlier tick is not over',
        select('overlap', OVERLAPS, old?.overlap ?? 'skip'),
      ),
      field(
        'Catch up',
        input('catch_up', {value: durationText(old?.catch_up_ms), placeholder: '1h'}),
        'How late a tick may fire after a downtime.',
      ),
      field(
        'Jitter',
        input('jitter', {
          value: old?.jitter_ms ? durationText(old.jitter_ms) : '',
          placeholder: 'none',
        }),
        'Spreads firings by up to so much.',
      ),
    ),
    checkbox('paused', 'Paused', old?.paused ?? false),
  );
  const done = await formDialog({
    title: old ? `Edit ${old.name}` : 'Add a schedule',
    confirm: old ? 'Save schedule' : 'Add schedule',
    wide: true,
    content: fields,
    submit: () => {
      const form = fields.closest('form');
      const body = scheduleOf(form, old);
      return old
        ? api.putSchedule(old.name, body)
        : api.addSchedule({name: form.elements.name.value.trim(), ...body});
    },
  });
  if (done) toast(old ? `${visible(old.name)} is saved.` : 'The schedule is added.');
  return Boolean(done);
}
