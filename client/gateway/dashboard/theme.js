// Light or dark, before the first paint: a classic script in the head, since a module would run
// after it and the page would flash. The choice is kept in localStorage, which may be forbidden;
// then it lasts as long as the page.
(() => {
  'use strict';
  const KEY = 'zsched.theme';
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // Storage is off; the system's choice it is.
  }

  const apply = () => {
    const theme =
      chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light';
    if (root.dataset.theme === theme) return;
    root.dataset.theme = theme;
    window.dispatchEvent(new Event('themechange')); // charts read their colours again
  };

  const label = (button) => {
    const other = root.dataset.theme === 'dark' ? 'light' : 'dark';
    button.setAttribute('aria-label', `Change to ${other} colours`);
    button.title = `Change to ${other} colours`;
  };

  apply();
  dark.addEventListener('change', apply);
  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    label(button);
    window.addEventListener('themechange', () => label(button));
    button.addEventListener('click', () => {
      chosen = root.dataset.theme === 'dark' ? 'light' : 'dark';
      try {
        localStorage.setItem(KEY, chosen);
      } catch {
        // It holds until the page is left.
      }
      apply();
    });
  });
})();
