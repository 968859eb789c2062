/**
 * The only way in which this dashboard makes elements. Everything that a broker, a worker or a task
 * says goes through `h` as a text node or an attribute value, never as markup, so HTML in a task's
 * name stays the text that it is.
 */

const PROPERTIES = new Set([
  'value',
  'defaultValue',
  'checked',
  'selected',
  'disabled',
  'indeterminate',
  'hidden',
  'open',
  'readOnly',
]);
const SVG = 'http://www.w3.org/2000/svg';

/** An address inside this page or this server: a scheme such as `javascript:` has no way in. */
function safeHref(href) {
  if (/^(#|\/(?!\/)|\.\/|blob:)/.test(href)) return href;
  throw new TypeError(`not an address of this page: ${href}`);
}

function setProp(element, name, value) {
  if (value === null || value === undefined || (value === false && !PROPERTIES.has(name))) return;
  if (typeof value === 'function' && name.startsWith('on')) {
    element.addEventListener(name.slice(2), value);
  } else if (name === 'dataset') {
    for (const [key, text] of Object.entries(value)) element.dataset[key] = text;
  } else if (name === 'style') {
    // By the object model: the content security policy forbids style attributes.
    for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  } else if (/^(on|srcdoc$|innerhtml$|outerhtml$)/i.test(name)) {
    throw new TypeError(`h() does not set ${name}`);
  } else if (PROPERTIES.has(name)) {
    element[name] = value;
  } else {
    element.setAttribute(
      name,
      name === 'href' ? safeHref(String(value)) : value === true ? '' : String(value),
    );
  }
}

/**
 * Adds children: nodes, texts, lists of them; null, undefined and booleans are nothing, so `cond &&
 * h(…)` works.
 */
export function append(parent, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || typeof child === 'boolean') continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return parent;
}

/**
 * An element: `h('a', {class: 'id', href: '#/tasks/1-1', onclick: f}, 'text', node)`. `style` is an
 * object of CSS properties, `on…` a function.
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  // A select has its value only once its options are there.
  append(element, ...children);
  for (const [name, value] of Object.entries(props ?? {})) setProp(element, name, value);
  return element;
}

/**
 * An icon of strokes, of the path data `d` in a 24×24 box; it says nothing, so a text has to stand
 * beside it.
 */
export function icon(d) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', d);
  svg.append(path);
  return svg;
}

export function replace(parent, ...children) {
  parent.replaceChildren();
  return append(parent, ...children);
}

/** Sets the text only when it is another one, so that a screen reader does not say it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const synced = new WeakMap();

/** What had the keyboard in `old` has it in `fresh`: the element with the same data-focus. */
function keepFocus(old, fresh) {
  const active = document.activeElement;
  if (!active || !old.contains(active)) return;
  const key = active.dataset.focus;
  const heir =
    key &&
    [...fresh.querySelectorAll('[data-focus]')].find((element) => element.dataset.focus === key);
  if (heir) queueMicrotask(() => heir.focus({preventScroll: true}));
}

/**
 * Makes the children of `parent` those of `items`, and touches only what changed: a list that comes
 * every second keeps its focus, its scroll position and what a person marks with the mouse.
 *
 * @param {Element} parent  holds nothing else
 * @param {Array} items
 * @param {(item) => string} keyOf  what an item is known by
 * @param {(item) => Element} render
 * @param {(item) => string} [signatureOf]  what is to be seen of it; the same: the element stays
 */
export function syncList(parent, items, keyOf, render, signatureOf = JSON.stringify) {
  const before = synced.get(parent) ?? new Map();
  const after = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (after.has(key)) continue;
    const signature = signatureOf(item);
    const known = before.get(key);
    let node = known?.node;
    if (!known || known.signature !== signature) {
      node = render(item);
      if (known) {
        keepFocus(known.node, node);
        if (place === known.node) place = node;
        known.node.replaceWith(node);
      }
    }
    after.set(key, {node, signature});
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const [key, {node}] of before) if (!after.has(key)) node.remove();
  synced.set(parent, after);
}
