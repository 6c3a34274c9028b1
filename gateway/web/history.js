// Loads what was said before: the list of conversations, older pages of one, and a fresh start of one
// whose gap is too wide to fill.

import { partnerOf } from "./conversations.js";

const PAGE_MESSAGES = 50;
const LIST_SOON_MS = 300;
const AGAIN_AFTER_FAILURE_MS = 5_000;

export class History {
  /** `onLoaded(messages)`: a page has been taken in. `onListed(ids, readHere)`: the list has;
   *  `ids` are behind, and `readHere` are conversations read here of which the server does not know. */
  constructor({ api, conversations, people, onChange, onNotice, onLoaded, onListed }) {
    Object.assign(this, { api, conversations, people, onChange, onNotice, onLoaded, onListed });
    this.loading = new Set();
    this.failed = new Map(); // id → when its last load failed
    this.listLoad = null;
    this.listedAt = 0;
    this.listCursor = null;
    this.soon = null;
  }

  stop() {
    clearTimeout(this.soon);
  }

  /** The newest conversations; a call during another waits for that one. */
  list() {
    this.listLoad ??= this.#loadList(null).finally(() => (this.listLoad = null));
    return this.listLoad;
  }

  /** The next page of the list. */
  listMore() {
    if (this.listCursor) this.listLoad ??= this.#loadList(this.listCursor).finally(() => (this.listLoad = null));
    return this.listLoad;
  }

  /** Several reasons at once to look at the list make one call. */
  listSoon() {
    this.soon ??= setTimeout(() => {
      this.soon = null;
      this.list();
    }, LIST_SOON_MS);
  }

  /** The next older page of a conversation. */
  async older(id) {
    const c = this.conversations.ensure(id);
    if (this.loading.has(id) || !c.hasOlder) return;
    if (Date.now() - (this.failed.get(id) ?? 0) < AGAIN_AFTER_FAILURE_MS) return;
    const beforeSeq = c.position === null ? null : this.conversations.oldest(id);
    if (beforeSeq !== null && beforeSeq <= 1) {
      c.hasOlder = false;
      return;
    }
    this.loading.add(id);
    this.onChange();
    let moved = false;
    try {
      const page = await this.#page(id, { beforeSeq, limit: PAGE_MESSAGES });
      // A message that came meanwhile has fixed the position: ask again from there.
      moved = beforeSeq === null && c.position !== null;
      if (!moved) this.conversations.prepend(id, page.messages, page.hasMore);
      this.onLoaded(page.messages);
    } catch (error) {
      this.failed.set(id, Date.now());
      this.#unreadable(c, error);
    } finally {
      this.loading.delete(id);
      this.onChange();
    }
    if (moved) await this.older(id);
  }

  /** Starts anew from the newest page. Rejects when that may succeed later. */
  async restart(id) {
    try {
      const page = await this.#page(id, { limit: PAGE_MESSAGES });
      this.conversations.reanchor(id, page.messages, page.hasMore);
      this.onLoaded(page.messages);
      this.listSoon();
    } catch (error) {
      if (error.retryable !== false) throw error;
      this.#unreadable(this.conversations.ensure(id), error);
    }
    this.onChange();
  }

  async #page(id, range) {
    const page = await this.api.messages(id, range);
    return { hasMore: page.hasMore, messages: page.messages.map((m) => ({ conversationId: id, ...m })) };
  }

  async #loadList(cursor) {
    try {
      const page = await this.api.conversations(cursor);
      const behind = page.conversations.filter((row) => this.conversations.mergeRow(row));
      const isReadHere = (row) => row.unread > 0 && this.conversations.get(row.conversationId).readSeq >= row.lastSeq;
      const readHere = page.conversations.filter(isReadHere).map((row) => this.conversations.get(row.conversationId));
      for (const row of page.conversations) this.people.learnTitle(this.conversations.get(row.conversationId));
      if (cursor || this.listedAt === 0) this.listCursor = page.nextCursor || null;
      this.listedAt = Date.now();
      this.onListed(behind.map((row) => row.conversationId), readHere);
    } catch (error) {
      if (error.status !== 401) this.onNotice(error.message);
    }
    this.onChange();
  }

  #unreadable(c, error) {
    const nothingYet = error.status === 404 && partnerOf(c.id, this.people.me) !== null;
    if (error.status === 403 || error.status === 404) {
      c.hasOlder = false;
      if (c.kind === "group" && !nothingYet) c.closed ??= "left";
    } else if (error.status !== 401) {
      this.onNotice(error.message);
    }
  }
}
