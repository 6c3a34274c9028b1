// What this client has said and the server has not yet stored, in the order it was said. Each entry
// keeps one clientMsgId for all its attempts, so that a repeat makes nothing new. Pure logic; time comes
// in as a parameter, and `storage` (load, save) lets entries survive a reload of the page.
//
// queued → sent → accepted (durable) → stored (has a seq) → gone, once the conversation's log has it.
// A refusal makes it failed, until the user tries again or gives it up.

const FIRST_WAIT_MS = 2_000;
const WAIT_MAX_MS = 30_000;
const ACK_WAIT_MS = 8_000;
const STORED_WAIT_MS = 4_000;
/** Attempts without an ack, or with a retryable refusal, before an entry counts as failed. */
export const ATTEMPTS_MAX = 6;

export class Outbox {
  constructor(storage = { load: () => [], save: () => {} }) {
    this.storage = storage;
    this.entries = new Map();
    for (const entry of storage.load()) {
      // What was accepted can't be lost: it comes with the history.
      if (entry.state === "accepted" || entry.state === "stored") continue;
      const state = entry.state === "sent" ? "queued" : entry.state;
      this.entries.set(entry.clientMsgId, { ...entry, state, notBefore: 0 });
    }
  }

  /** Adds `{clientMsgId, type, conversationId, …}`. */
  add(entry, now) {
    const full = { state: "queued", attempts: 0, notBefore: 0, createdAt: now, sentAt: null, syncFirst: false, ...entry };
    this.entries.set(full.clientMsgId, full);
    this.#save();
    return full;
  }

  get(clientMsgId) {
    return this.entries.get(clientMsgId);
  }

  of(conversationId) {
    return [...this.entries.values()].filter((e) => e.conversationId === conversationId);
  }

  get isEmpty() {
    return this.entries.size === 0;
  }

  /** The entries that may go out now. Within a conversation nothing overtakes what waits before it. */
  due(now) {
    const waiting = new Set();
    return [...this.entries.values()].filter((e) => {
      if (e.state !== "queued" || waiting.has(e.conversationId)) return false;
      if (e.syncFirst || e.notBefore > now) {
        waiting.add(e.conversationId);
        return false;
      }
      return true;
    });
  }

  /** Marks an entry as going out and returns the frame's data. `serverTime`: ms, by the server's clock. */
  sending(entry, now, serverTime) {
    entry.state = "sent";
    entry.attempts += 1;
    entry.waitsSince = now;
    entry.sentAt ??= new Date(serverTime).toISOString();
    this.#save();
    const { clientMsgId, conversationId } = entry;
    switch (entry.type) {
      case "send-message":
        return { clientMsgId, conversationId, messageType: entry.messageType, content: entry.content, sentAt: entry.sentAt };
      case "edit-message":
        return { clientMsgId, conversationId, targetSeqId: entry.targetSeqId, content: entry.content };
      case "recall-message":
        return { clientMsgId, conversationId, targetSeqId: entry.targetSeqId };
      default:
        return { clientMsgId, conversationId, targetSeqId: entry.targetSeqId, emoji: entry.emoji, remove: entry.remove };
    }
  }

  /** A new connection: what had no ack goes out again, except what is older than the window in which
   *  the server knows a repeat; that waits for a sync. */
  reconnected(serverTime, windowMs) {
    for (const entry of this.entries.values()) {
      if (entry.state === "sent") entry.state = "queued";
      if (entry.state !== "queued" || !entry.sentAt) continue;
      entry.notBefore = 0;
      if (serverTime - Date.parse(entry.sentAt) > windowMs) entry.syncFirst = true;
    }
    this.#save();
  }

  acked(clientMsgId, now) {
    this.#change(clientMsgId, (entry) => {
      if (entry.state === "stored") return;
      entry.state = "accepted";
      entry.error = null;
      entry.waitsSince = now;
      entry.looks = 0;
    });
  }

  stored(clientMsgId, seqId) {
    this.#change(clientMsgId, (entry) => {
      entry.state = "stored";
      entry.seqId = seqId;
    });
  }

  /** The conversation's log has it, or it is given up. */
  drop(clientMsgId) {
    if (this.entries.delete(clientMsgId)) this.#save();
  }

  /** The server refused it. Retryable refusals wait and go again; the rest, and too many, are failed. */
  refused(clientMsgId, { name, message, retryable }, now, random) {
    this.#change(clientMsgId, (entry) => {
      if (entry.state === "accepted" || entry.state === "stored") return;
      if (name === "Expired") {
        entry.state = "queued";
        entry.syncFirst = true;
      } else if (retryable && entry.attempts < ATTEMPTS_MAX) {
        entry.state = "queued";
        entry.notBefore = now + backoff(entry.attempts, random);
      } else {
        entry.state = "failed";
        entry.error = message;
      }
    });
  }

  /** The conversation is up to date and the entry is not in it: it starts anew, with a new first
   *  attempt. Where the log does not reach back to the first one (`covers(entry)` is false), nobody
   *  knows: the user decides. */
  synced(conversationId, covers) {
    for (const entry of this.of(conversationId)) {
      if (!entry.syncFirst || entry.state !== "queued") continue;
      const known = covers(entry);
      entry.syncFirst = false;
      entry.sentAt = null;
      if (!known) {
        entry.state = "failed";
        entry.error = "It is not certain whether this was sent.";
      }
    }
    this.#save();
  }

  /** The user tries again: same clientMsgId. */
  retry(clientMsgId) {
    this.#change(clientMsgId, (entry) => {
      entry.state = "queued";
      entry.error = null;
      entry.attempts = 0;
      entry.notBefore = 0;
    });
  }

  /** What has waited too long: entries without an ack are queued again (or failed), and the
   *  conversations of entries that were accepted but not yet stored are returned, to be synced. */
  overdue(now) {
    const lookFor = new Set();
    for (const entry of this.entries.values()) {
      const waited = now - entry.waitsSince;
      if (entry.state === "sent" && waited > ACK_WAIT_MS) {
        const spent = entry.attempts >= ATTEMPTS_MAX;
        entry.state = spent ? "failed" : "queued";
        if (spent) entry.error = "The server did not answer.";
      }
      if (entry.state === "accepted" && !(waited <= STORED_WAIT_MS * 2 ** (entry.looks ?? 0))) {
        entry.looks = Math.min((entry.looks ?? 0) + 1, 4);
        entry.waitsSince = now;
        lookFor.add(entry.conversationId);
      }
    }
    return [...lookFor];
  }

  #change(clientMsgId, change) {
    const entry = this.entries.get(clientMsgId);
    if (!entry) return;
    change(entry);
    this.#save();
  }

  #save() {
    this.storage.save([...this.entries.values()]);
  }
}

function backoff(attempts, random) {
  return Math.min(FIRST_WAIT_MS * 2 ** (attempts - 1), WAIT_MAX_MS) * (0.5 + random / 2);
}
