// A part of a conversation's history that is shown apart from its newest messages, until what lies between
// has been loaded: `c.past` is `{log, hasOlder}` or null. `c.log` still follows what is said.
// Pure logic.

/** The part that is shown. */
export function shownPart(c) {
  return c.past ?? c;
}

/** The seq at which the newest messages begin; Infinity when nothing is known. */
export function oldestOf(c) {
  if (c.log.length > 0) return c.log[0].seqId;
  return c.position === null ? Infinity : c.position + 1;
}

/** Shows this part of the history; it becomes one with the newest messages where it reaches them. */
export function showPast(c, log, hasOlder) {
  c.past = { log, hasOlder };
  join(c);
}

/** Takes the page after the part that is shown; when there is none, the newest messages are shown. */
export function extendPast(c, messages) {
  if (messages.length === 0) {
    c.past = null;
    return;
  }
  const end = c.past.log.at(-1)?.seqId ?? 0;
  c.past.log = c.past.log.concat(messages.filter((m) => m.seqId > end));
  join(c);
}

/** How many messages of others among those that are loaded have a seq in (from, to]. */
export function saidBetween(c, from, to, counts) {
  const logs = c.past ? [c.past.log, c.log] : [c.log];
  return logs.flat().filter((m) => m.seqId > from && m.seqId <= to && counts(m)).length;
}

function join(c) {
  const end = c.past.log.at(-1)?.seqId ?? 0;
  if (end < oldestOf(c) - 1) return;
  c.log = c.past.log.filter((m) => m.seqId < oldestOf(c)).concat(c.log);
  c.hasOlder = c.past.hasOlder;
  c.past = null;
}
