/**
 * Payloads and results as a person can read them. In JSON bytes are a string, or `{"base64": …}`
 * when they are not UTF-8 (docs/rest.md). Pure functions, without a document.
 */

/**
 * What is shown at first, and what at most: an element with a megabyte of text makes a phone stand
 * still.
 */
export const SHOWN_CHARS = 16 << 10;
export const MAX_SHOWN_CHARS = 256 << 10;
const HEX_COLUMNS = 16;

export function isBinary(value) {
  return value !== null && typeof value === 'object' && typeof value.base64 === 'string';
}

/**
 * @returns {Uint8Array} of a JSON bytes value; broken base64 counts as empty, since there is
 * nothing to show.
 */
export function bytesOf(value) {
  if (!isBinary(value)) return new TextEncoder().encode(typeof value === 'string' ? value : '');
  try {
    return Uint8Array.from(atob(value.base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** Lines as `hexdump -C` has them. */
export function hexDump(bytes, limit = bytes.length) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, limit); at += HEX_COLUMNS) {
    const row = bytes.subarray(at, Math.min(at + HEX_COLUMNS, limit));
    const hex = [...row].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = [...row]
      .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'))
      .join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.padEnd(HEX_COLUMNS * 3 - 1)}  ${text}`);
  }
  return lines.join('\n');
}

/**
 * Invisible and direction-changing characters as `\u202e`: a name must not look like another one.
 */
export function visible(text) {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (char) => `\\u${char.codePointAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * The views of a value, the best one first.
 * @returns {Array<{name: string, text: string}>} of nothing: none
 */
export function views(value) {
  if (value === null || value === undefined || value === '') return [];
  if (isBinary(value)) {
    const bytes = bytesOf(value);
    return [
      {name: 'Hex', text: hexDump(bytes, MAX_SHOWN_CHARS >> 2)},
      {name: 'Base64', text: value.base64},
    ];
  }
  const text = String(value);
  const plain = {name: 'Text', text: visible(text)};
  if (!/^\s*[[{]/.test(text) || text.length > MAX_SHOWN_CHARS) return [plain];
  try {
    return [{name: 'JSON', text: visible(JSON.stringify(JSON.parse(text), null, 2))}, plain];
  } catch {
    return [plain]; // It only began like JSON.
  }
}
