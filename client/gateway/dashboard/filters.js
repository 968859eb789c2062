/**
 * The filter of a list: its values live in the address, from where the page takes them (router.js).
 */
import {h} from './dom.js';
import {go, link} from './router.js';
import {queueSuggestions} from './submit.js';
import {STATES} from './stats.js';
import {stateName, stateTone} from './ui.js';

/** The longest that makes sense is a label: its key, its value and what is between. */
const MAX_CHARS = 330;

/**
 * A form whose changes go into the address of `page`.
 *
 * @param {string} page
 * @param {Array<[string, string, string]>} fields  name of the query parameter, label, what an
 *     empty one means
 * @param {{states?: boolean, kept?: string[]}} options  states: buttons for the states of tasks;
 *     kept: parameters that
 *     have no field and stay as they are
 * @returns {{element: Element, show: (query: URLSearchParams) => void}} show: what the address says
 *     now
 */
export function filterForm(page, fields, {states = false, kept = []} = {}) {
  const chosen = new Set();
  let query = new URLSearchParams();

  const apply = (event) => {
    event?.preventDefault();
    const values = fields.map(([name]) => [name, form.elements[name].value.trim()]);
    const rest = kept.map((name) => [name, query.get(name)]);
    go(link(page, {...Object.fromEntries([...values, ...rest]), state: [...chosen].join(',')}), {
      replace: true,
    });
  };
  const toggle = (state) => {
    if (!chosen.delete(state)) chosen.add(state);
    apply();
  };
  const chips = (states ? STATES : []).map((state) =>
    h(
      'button',
      {
        type: 'button',
        class: `chip ${stateTone(state)}`,
        dataset: {state},
        'aria-pressed': 'false',
        onclick: () => toggle(state),
      },
      stateName(state),
    ),
  );
  const form = h(
    'form',
    {class: 'filters', 'aria-label': 'Filter', onsubmit: apply, onchange: apply},
    states && h('div', {class: 'chips', role: 'group', 'aria-label': 'State'}, chips),
    fields.map(([name, label, placeholder]) =>
      h(
        'label',
        {class: 'inline-field'},
        h('span', {}, label),
        h('input', {
          name,
          type: 'search',
          placeholder,
          list: name === 'queue' ? 'filter-queues' : null,
          autocomplete: 'off',
          spellcheck: 'false',
          maxlength: MAX_CHARS,
        }),
      ),
    ),
    queueSuggestions('filter-queues'),
    h('button', {class: 'button small', type: 'submit'}, 'Filter'),
    h('a', {class: 'button small plain', href: link(page)}, 'Clear'),
  );

  return {
    element: form,
    // The fields stay the same elements, so that the one that a person types in keeps the keyboard.
    show(now) {
      query = now;
      for (const [name] of fields) {
        const text = now.get(name) ?? '';
        if (form.elements[name].value.trim() !== text) form.elements[name].value = text;
      }
      chosen.clear();
      for (const state of (now.get('state') ?? '').split(','))
        if (STATES.includes(state)) chosen.add(state);
      for (const chip of chips)
        chip.setAttribute('aria-pressed', String(chosen.has(chip.dataset.state)));
    },
  };
}
