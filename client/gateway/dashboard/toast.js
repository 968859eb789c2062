/** Short notes of what was done; the element is a live region, so that screen readers say them. */
import {h} from './dom.js';
import {problem} from './ui.js';

const SHOWN_MS = 6000;
const ERROR_MS = 12_000;
const MOST = 4;

export function toast(content, {tone = 'good', ms = SHOWN_MS} = {}) {
  const host = document.getElementById('toasts');
  const close = h(
    'button',
    {
      type: 'button',
      class: 'icon-button',
      'aria-label': 'Close this note',
      onclick: () => note.remove(),
    },
    '×',
  );
  const note = h('div', {class: `toast ${tone}`}, h('div', {class: 'toast-text'}, content), close);
  host.append(note);
  while (host.children.length > MOST) host.firstElementChild.remove();
  const leave = () => {
    // Not from under a finger or a reader's eyes.
    if (note.matches(':hover, :focus-within')) setTimeout(leave, 1000);
    else note.remove();
  };
  setTimeout(leave, ms);
}

/** Runs what a button does; what goes wrong is said in a note. @returns whether it was done */
export async function attempt(action, done) {
  try {
    const outcome = await action();
    if (done) toast(typeof done === 'function' ? done(outcome) : done);
    return true;
  } catch (error) {
    toast(problem(error), {tone: 'bad', ms: ERROR_MS});
    return false;
  }
}
