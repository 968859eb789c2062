/**
 * What the attempts of a task write. While the task runs the API is asked again from where the last
 * answer ended: a stream for each open page would use up the few connections that a browser makes
 * to one host.
 */
import {api} from './api.js';
import {bytesOf, hexDump, isBinary} from './bytes.js';
import {h, replace} from './dom.js';
import {plural} from './format.js';

const POLL_MS = 1000;
/** What the page keeps; brokers keep 64 KiB of an attempt. */
const MAX_PIECES = 2000;
const NEAR_END_PX = 24;
// Escape sequences of terminals, and other characters that only a terminal understands.
const CONTROLS =
  /\u001b\[[0-9;?]*[ -/]*[@-~]|[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f\u202a-\u202e\u2066-\u2069]|\u001b/g;

const textOf = (value) =>
  isBinary(value) ? `${hexDump(bytesOf(value))}\n` : String(value).replace(CONTROLS, '');

/**
 * @returns {{element, follow: (on: boolean) => void}} follow: begins to read, and goes on while
 * `on`
 */
export function logView(id, signal) {
  const output = h('pre', {class: 'logs', tabindex: '0', 'aria-label': 'Output', role: 'log'});
  const state = h('span', {class: 'muted'});
  const choice = h('select', {
    'aria-label': 'Attempt',
    onchange: () => restart(Number(choice.value) || null),
  });
  const element = h(
    'section',
    {class: 'card', 'aria-label': 'Output', hidden: true},
    h(
      'div',
      {class: 'card-head'},
      h('h2', {}, 'Output'),
      h('span', {class: 'chips'}, state, choice),
    ),
    output,
  );
  let wanted = null; // an attempt that a person chose; null: the last one
  let attempt = null; // whose output is shown
  let from = 0;
  let timer = 0;
  let busy = false;
  let following = false;
  let generation = 0;

  function restart(which) {
    wanted = which;
    attempt = null;
    from = 0;
    ++generation;
    replace(output);
    read();
  }

  function offer(last) {
    if (choice.options.length === last + 1) return;
    const kept = choice.value;
    replace(
      choice,
      h('option', {value: ''}, 'last attempt'),
      Array.from({length: Math.min(last, 50)}, (_, i) =>
        h('option', {value: last - i}, `attempt ${last - i}`),
      ),
    );
    choice.value = kept;
    choice.hidden = last < 2;
  }

  function show(pieces) {
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < NEAR_END_PX;
    for (const piece of pieces) {
      if (piece.offset > from)
        output.append(
          h('span', {class: 'muted'}, `… ${plural(piece.offset - from, 'byte')} are not kept …\n`),
        );
      output.append(
        h(
          'span',
          {class: `stream ${piece.stream === 'stderr' ? 'stderr' : ''}`, title: piece.stream},
          textOf(piece.text),
        ),
      );
      from = Math.max(from, piece.offset + bytesOf(piece.text).length);
    }
    while (output.childElementCount > MAX_PIECES) output.firstElementChild.remove();
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  async function read() {
    clearTimeout(timer);
    if (busy || signal.aborted) return;
    busy = true;
    const mine = generation;
    let ended = false;
    try {
      const answer = await api.logs(
        id,
        {attempt: wanted ?? '', from: attempt === null ? '' : from},
        signal,
      );
      if (mine === generation) {
        offer(answer.last_attempt);
        if (attempt !== null && answer.attempt !== attempt) {
          // A new attempt has begun: its output from the start.
          busy = false;
          restart(wanted);
          return;
        }
        attempt = answer.attempt;
        show(answer.output);
        from = Math.max(from, answer.end_offset ?? 0);
        ended = !answer.running;
        replace(
          state,
          answer.running
            ? 'following'
            : output.childElementCount === 0
              ? 'nothing was written'
              : 'ended',
        );
      }
    } catch {
      if (!signal.aborted) replace(state, 'not to be had now');
    }
    busy = false;
    if (mine !== generation) read();
    else if (following && !signal.aborted && !(ended && wanted !== null))
      timer = setTimeout(read, POLL_MS);
  }

  signal.addEventListener('abort', () => clearTimeout(timer));
  return {
    element,
    follow(on) {
      const begin = attempt === null || (on && !following) || (!on && following);
      following = on;
      if (begin) read();
    },
  };
}
