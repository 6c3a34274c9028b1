// Up to where others have read a conversation. Receipts are told only to who is connected at that moment,
// so the marks are asked for when a conversation is shown, once for each connection.

import { kindOf } from "./conversations.js";

export class ReadMarks {
  constructor({ api, conversations, onChange }) {
    Object.assign(this, { api, conversations, onChange });
    this.asked = new Set();
    this.shown = null;
  }

  /** The user looks at this conversation now. */
  show(id) {
    this.shown = id;
    return this.#load(id);
  }

  /** Receipts may have been missed meanwhile. */
  reconnected() {
    this.asked.clear();
    return this.shown ? this.#load(this.shown) : undefined;
  }

  async #load(id) {
    if (kindOf(id) === "world" || this.asked.has(id)) return;
    this.asked.add(id);
    try {
      const { readMarks } = await this.api.readMarks(id);
      const others = readMarks.filter(({ userId }) => userId !== this.conversations.me);
      const news = others.filter(({ userId, seqId }) => this.conversations.markRead(id, userId, seqId));
      if (news.length > 0) this.onChange();
    } catch {
      // Nothing is missing without them; they are asked for when the conversation is shown again.
      this.asked.delete(id);
    }
  }
}
