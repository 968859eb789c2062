/**
 * Dialogs: `ask` before what cannot be taken back, `formDialog` for what has fields. Both are
 * <dialog> elements, which keep the keyboard inside, close with Escape and give the focus back to
 * where it was.
 */
import {append, h, replace} from './dom.js';
import {problem} from './ui.js';

let named = 0;

/** Opens a dialog of a title and content, which is gone once it is closed. */
export function openDialog({title, content, wide = false}) {
  const id = `dialog-${++named}`;
  const dialog = h(
    'dialog',
    {'aria-labelledby': id, class: wide ? 'dialog wide' : 'dialog'},
    h('h2', {id, class: 'dialog-title'}, title),
    content,
  );
  const opener = document.activeElement;
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (opener instanceof HTMLElement && opener.isConnected) opener.focus({preventScroll: true});
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * A form in a dialog. It stays open, with what was typed, until `submit` has succeeded or the
 * person gives up; while it works the button is off, so that Enter twice is not two requests.
 *
 * @param {object} what
 * @param {string} what.title
 * @param {Node|Node[]} what.content  the fields; the first with `autofocus` has the focus
 * @param {string} what.confirm  the button's text says what it does
 * @param {boolean} [what.danger]  the button is red, and Cancel has the focus
 * @param {(controls: {say: (text: string) => void, signal: AbortSignal}) => Promise} what.submit
 *     throws what is to be
 *     shown; `signal` is aborted when the person closes the dialog, `say` tells how far it is
 * @returns {Promise} what `submit` gave, or undefined when the person gave up
 */
export function formDialog({title, content, confirm, danger = false, wide = false, submit}) {
  return new Promise((resolve) => {
    const ends = new AbortController();
    let outcome;
    const errors = h('div', {role: 'alert'});
    const progress = h('p', {class: 'muted', role: 'status'});
    const button = h(
      'button',
      {type: 'submit', class: danger ? 'button danger' : 'button primary'},
      confirm,
    );
    const cancel = h(
      'button',
      {type: 'button', class: 'button', autofocus: danger, onclick: () => dialog.close()},
      'Cancel',
    );
    const onsubmit = async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      replace(errors);
      try {
        outcome = await submit({say: (text) => replace(progress, text), signal: ends.signal});
        dialog.close();
      } catch (error) {
        if (!ends.signal.aborted) append(errors, problem(error));
      } finally {
        button.disabled = false;
      }
    };
    const form = h(
      'form',
      {class: 'dialog-form', onsubmit},
      h('div', {class: 'dialog-body'}, content, progress, errors),
      h('div', {class: 'dialog-buttons'}, cancel, button),
    );
    const dialog = openDialog({title, content: form, wide});
    dialog.addEventListener('close', () => {
      ends.abort();
      resolve(outcome);
    });
  });
}

/**
 * Asks before something is done. `says` names exactly what will happen and to how many.
 * @returns {Promise} as formDialog
 */
export function ask({title, says, confirm, danger = true, submit}) {
  return formDialog({
    title,
    confirm,
    danger,
    submit,
    content: [says].flat().map((line) => (line instanceof Node ? line : h('p', {}, line))),
  });
}

/** A labelled field; `hint` is read out with it. */
export function field(label, control, hint) {
  control.id ||= `field-${++named}`;
  const note = hint && h('p', {class: 'hint', id: `${control.id}-hint`}, hint);
  if (note) control.setAttribute('aria-describedby', note.id);
  return h('div', {class: 'field'}, h('label', {for: control.id}, label), control, note);
}

export const input = (name, props = {}) =>
  h('input', {name, type: 'text', autocomplete: 'off', spellcheck: 'false', ...props});

export function select(name, options, value, props = {}) {
  return h(
    'select',
    {name, ...props, value},
    options.map((option) =>
      Array.isArray(option)
        ? h('option', {value: option[0]}, option[1])
        : h('option', {value: option}, option),
    ),
  );
}

export function checkbox(name, label, checked, props = {}) {
  return h(
    'label',
    {class: 'check'},
    h('input', {type: 'checkbox', name, checked, ...props}),
    ' ',
    label,
  );
}
