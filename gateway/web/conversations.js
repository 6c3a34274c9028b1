// What this client knows of each conversation, and the rule by which messages enter it. Pure logic:
// no DOM, no network, no clock.
//
// The server numbers everything that happens in a conversation 1, 2, 3 … without a gap. A client that
// keeps the last number it has seen (`position`) sees each event once and in order: at or below it is a
// repeat, one above is next, further above is a gap that has to be fetched first.

import { oldestOf, saidBetween } from "./past.js";

/** Events beyond a gap that are kept until the gap is filled, per conversation. When it is full they
 *  are dropped: the sync that fills the gap brings them again. */
export const AHEAD_EVENTS_MAX = 500;

/** `message`, `edit`, `recall`, `reaction` or `system`. */
export function eventOf(message) {
  if (message.event) return message.event;
  const type = message.messageType;
  if (type === "edit" || type === "recall" || type === "reaction") return type;
  return SYSTEM_TYPES.has(type) ? "system" : "message";
}

const SYSTEM_TYPES = new Set(["system", "joined", "left", "removed", "group-created", "renamed", "dissolved"]);

/** The content of a group's system event, or null when it is not one. Ids stay decimal strings. */
export function groupEventOf(message) {
  if (eventOf(message) !== "system") return null;
  try {
    const content = JSON.parse(message.content);
    return content && typeof content === "object" ? { userIds: [], ...content } : null;
  } catch {
    return null;
  }
}

/** `single`, `group` or `world`. */
export function kindOf(conversationId) {
  const end = conversationId.indexOf("_");
  return end < 0 ? conversationId : conversationId.slice(0, end);
}

/** The id of the conversation of two users. Ids go beyond 2^53, hence BigInt. */
export function pairId(a, b) {
  return BigInt(a) < BigInt(b) ? `single_${a}_${b}` : `single_${b}_${a}`;
}

/** The other user of a pair, or null for other kinds. */
export function partnerOf(conversationId, me) {
  if (kindOf(conversationId) !== "single") return null;
  const [, low, high] = conversationId.split("_");
  return low === me ? high : low;
}

/** The group of a conversation, or null for other kinds. */
export function groupIdOf(conversationId) {
  return kindOf(conversationId) === "group" ? conversationId.slice("group_".length) : null;
}

export class Conversations {
  constructor(me) {
    this.me = me;
    this.byId = new Map();
    this.ensure("world").title = "World";
  }

  get(id) {
    return this.byId.get(id);
  }

  /** The conversation of that id; an empty one without a position when it was not known. */
  ensure(id) {
    let found = this.byId.get(id);
    if (!found) {
      found = {
        id,
        kind: kindOf(id),
        title: null,
        log: [], // without a gap, oldest first, ending at `position`
        position: null, // last seq seen; null: nothing is known yet
        head: 0, // the newest seq that is known to exist
        ahead: new Map(), // beyond a gap: seq → message
        hasOlder: true,
        past: null, // an older part that is shown, see past.js
        readSeq: 0,
        unread: 0,
        countedSeq: 0, // up to here `unread` has been counted
        readBy: new Map(), // other user → seq
        newest: null, // the newest event, for the preview
        updatedAt: "",
        closed: null, // "left" or "dissolved": nothing can be said any more
      };
      this.byId.set(id, found);
    }
    return found;
  }

  /** Takes one row of the server's list. Returns whether the conversation is behind it. */
  mergeRow(row) {
    const c = this.ensure(row.conversationId);
    if (row.title) c.title = row.title;
    c.readSeq = Math.max(c.readSeq, row.readSeq ?? 0);
    if (row.lastSeq >= c.countedSeq) {
      c.countedSeq = row.lastSeq;
      if (c.readSeq >= row.lastSeq) c.unread = 0;
      // The server may not have heard yet of what was read here.
      else if ((row.readSeq ?? 0) >= c.readSeq) c.unread = row.unread ?? 0;
    }
    if (c.position === null) c.position = row.lastSeq;
    if (row.updatedAt > c.updatedAt) {
      c.updatedAt = row.updatedAt;
      if (row.lastMessage) c.newest = row.lastMessage;
    }
    return this.learnHead(c.id, row.lastSeq);
  }

  /** Learns that a seq exists. Returns whether this client is behind it. */
  learnHead(id, seq) {
    const c = this.ensure(id);
    c.head = Math.max(c.head, seq);
    return c.position === null ? c.head > 0 : c.position < c.head;
  }

  /** Takes one event by the rule: "repeat", "next" or "gap". What was beyond a gap follows at once
   *  when the gap closes. */
  take(message) {
    const c = this.ensure(message.conversationId);
    const seq = message.seqId;
    c.head = Math.max(c.head, seq);
    if (c.position !== null && seq <= c.position) return "repeat";
    if (c.position !== null && seq > c.position + 1) {
      if (c.ahead.size < AHEAD_EVENTS_MAX) c.ahead.set(seq, message);
      return "gap";
    }
    this.#append(c, message);
    for (let next = c.ahead.get(c.position + 1); next; next = c.ahead.get(c.position + 1)) {
      this.#append(c, next);
    }
    this.#dropPassed(c);
    return "next";
  }

  /** Puts a page of history before what is shown. Events not older than it are passed over. */
  prepend(id, messages, hasMore) {
    const c = this.ensure(id);
    if (c.position === null) return this.reanchor(id, messages, hasMore);
    const part = c.past ?? c;
    const oldest = c.past?.log[0]?.seqId ?? oldestOf(c);
    part.log = messages.filter((m) => m.seqId < oldest).concat(part.log);
    part.hasOlder = hasMore && messages.length > 0;
    this.noteLoaded(id, messages);
  }

  /** Learns from messages of the history who has read and whether the conversation is closed. */
  noteLoaded(id, messages) {
    const c = this.ensure(id);
    for (const message of messages) this.#noteReader(c, message);
    if (!c.past) c.closed = closedBy(c.log, this.me);
  }

  /** Gives up what is there and starts anew from the newest page: when a gap is too wide to fill. */
  reanchor(id, messages, hasMore) {
    const c = this.ensure(id);
    const newest = messages.at(-1);
    c.log = messages.slice();
    c.past = null;
    for (const message of messages) this.#noteReader(c, message);
    c.position = newest?.seqId ?? c.head;
    c.head = c.position;
    c.hasOlder = hasMore && messages.length > 0;
    c.closed = closedBy(c.log, this.me);
    if (newest) this.#noteNewest(c, newest);
    for (const seq of [...c.ahead.keys()].sort((a, b) => a - b)) {
      if (seq === c.position + 1) this.#append(c, c.ahead.get(seq));
      else if (seq > c.position) c.head = Math.max(c.head, seq);
    }
    this.#dropPassed(c);
  }

  /** The seq below which history has still to be asked for; Infinity when nothing is known. */
  oldest(id) {
    return oldestOf(this.ensure(id));
  }

  /** Where a sync starts. */
  positions(ids = this.byId.keys()) {
    return Object.fromEntries([...ids].map((id) => [id, this.ensure(id).position ?? 0]));
  }

  isBehind(id) {
    const c = this.ensure(id);
    return (c.position ?? 0) < c.head;
  }

  /** A user has read up to a seq; never backwards. Returns whether that was news. */
  markRead(id, userId, seq) {
    const c = this.ensure(id);
    if (userId !== this.me) {
      if ((c.readBy.get(userId) ?? 0) >= seq) return false;
      c.readBy.set(userId, seq);
      return true;
    }
    if (c.readSeq >= seq && c.unread === 0) return false;
    const before = c.readSeq;
    c.readSeq = Math.max(c.readSeq, seq);
    const isOthers = (m) => eventOf(m) === "message" && m.senderId !== this.me;
    // Of what is not loaded only the server knows how many there are.
    if (seq >= (c.position ?? 0) || oldestOf(c) <= c.readSeq + 1) c.unread = saidBetween(c, c.readSeq, Infinity, isOthers);
    else c.unread = Math.max(0, c.unread - saidBetween(c, before, seq, isOthers));
    return true;
  }

  /** All of them, newest first; those without any event last, by title. */
  sorted() {
    return [...this.byId.values()].sort((a, b) => {
      if (a.updatedAt !== b.updatedAt) return a.updatedAt < b.updatedAt ? 1 : -1;
      return (a.title ?? a.id).localeCompare(b.title ?? b.id);
    });
  }

  #append(c, message) {
    c.log.push(message);
    c.position = message.seqId;
    this.#noteNewest(c, message);
    const mine = message.senderId === this.me;
    if (message.seqId > c.countedSeq) {
      c.countedSeq = message.seqId;
      if (eventOf(message) === "message") c.unread = mine ? 0 : c.unread + (message.seqId > c.readSeq ? 1 : 0);
    }
    this.#noteReader(c, message);
    const change = groupEventOf(message);
    if (change?.name) c.title = change.name;
    if (change) c.closed = closedBy([message], this.me, c.closed);
  }

  #noteNewest(c, message) {
    c.newest = message;
    if (message.createdAt > c.updatedAt) c.updatedAt = message.createdAt;
  }

  /** Who says something has read what was said before. */
  #noteReader(c, message) {
    const { senderId, seqId } = message;
    if (senderId !== this.me && eventOf(message) !== "system") c.readBy.set(senderId, Math.max(c.readBy.get(senderId) ?? 0, seqId));
  }

  #dropPassed(c) {
    for (const seq of c.ahead.keys()) if (seq <= c.position) c.ahead.delete(seq);
  }
}

function closedBy(log, me, before = null) {
  return log.reduce((closed, message) => {
    const change = groupEventOf(message);
    if (!change) return closed;
    const aboutMe = change.userIds.includes(me);
    switch (message.messageType) {
      case "dissolved":
        return "dissolved";
      case "left":
      case "removed":
        return aboutMe ? "left" : closed;
      case "joined":
      case "group-created":
        return aboutMe ? null : closed;
      default:
        return closed;
    }
  }, before);
}
