// Tells the server how far the user has read: the newest mark of each conversation, not one for every
// message that scrolls by. Sending and timers are handed in.

const TELL_EVERY_MS = 400;

export class Reading {
  /** `send(type, data)`: whether the frame went out. */
  constructor({ conversations, send, onChange, clock = globalThis }) {
    Object.assign(this, { conversations, send, onChange, clock });
    this.untold = new Map(); // conversation → seq
    this.timer = null;
  }

  /** The user has seen everything up to this seq. */
  upTo(id, seq) {
    const c = this.conversations.get(id);
    if (!c || c.unread === 0 || !seq || seq <= c.readSeq) return;
    this.conversations.markRead(id, this.conversations.me, seq);
    this.untold.set(id, seq);
    this.timer ??= this.clock.setTimeout(() => this.tell(), TELL_EVERY_MS);
    this.onChange();
  }

  /** What could not be told waits for the next call: after a reconnect. */
  tell() {
    this.clock.clearTimeout(this.timer);
    this.timer = null;
    for (const [conversationId, seqId] of this.untold) {
      if (this.send("mark-read", { conversationId, seqId })) this.untold.delete(conversationId);
    }
  }
}
