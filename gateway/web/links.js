// Finds web and mail addresses in what people write. Pure logic: text in, pieces out.

// Letters and digits of any script; no blanks, quotes, angle brackets, control or direction marks.
const WORD = String.raw`[^\s<>"'\u0060\u00ab\u00bb\u2018-\u201f\p{C}]`;
const CANDIDATE = new RegExp(
  String.raw`(?<![\p{L}\p{N}_/@.-])(?:https?://${WORD}+|www\.${WORD}+|[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+)`,
  "giu",
);
const PUNCTUATION_END = /[.,;:!?…*_~，。、；：！？؟،]$/u;
const BRACKETS = { ")": "(", "]": "[", "}": "{", "）": "（", "」": "「", "』": "『", "】": "【" };

/** Pieces in order: `{text}`, or `{text, href, host}`; `host` is the ASCII form of a host that has other
 *  letters, which may look like one of another site. */
export function linkify(text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const found = trimmed(match[0]);
    const link = target(found);
    if (!link || match.index < end) continue;
    if (match.index > end) pieces.push({ text: text.slice(end, match.index) });
    pieces.push({ text: found, ...link });
    end = match.index + found.length;
  }
  if (end < text.length) pieces.push({ text: text.slice(end) });
  return pieces;
}

/** Without the punctuation of the sentence around it: brackets stay where they were opened inside. */
function trimmed(found) {
  for (;;) {
    const last = found.at(-1);
    const opener = BRACKETS[last];
    if (opener ? count(found, last) <= count(found, opener) : !PUNCTUATION_END.test(found)) return found;
    found = found.slice(0, -1);
  }
}

function count(text, char) {
  return text.split(char).length - 1;
}

function target(found) {
  if (!/^(https?:\/\/|www\.)/i.test(found)) return { href: `mailto:${found}`, host: null };
  const url = parsed(/^www\./i.test(found) ? `https://${found}` : found);
  // `https://bank.example@evil.example` says one thing and leads elsewhere.
  if (!url || url.username || url.password || !isHost(url.hostname)) return null;
  return { href: url.href, host: /[^\x00-\x7f]/.test(hostOf(found)) ? url.hostname : null };
}

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function isHost(host) {
  return /^(?:\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)$/i.test(host);
}

function hostOf(found) {
  return found.replace(/^https?:\/\//i, "").split(/[/?#]/)[0];
}
