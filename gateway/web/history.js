// Loads what was said before: the list of conversations, older pages of one, and a fresh start of one
// whose gap is too wide to fill.

import { partnerOf } from "./conversations.js";
import { extendPast, oldestOf, shownPart, showPast } from "./past.js";

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

  /** The next older page of what is shown of a conversation. */
  async older(id) {
    const c = this.conversations.ensure(id);
    const { past } = c;
    if (!shownPart(c).hasOlder || !this.#mayLoad(id)) return;
    const beforeSeq = past?.log[0]?.seqId ?? (c.position === null ? null : oldestOf(c));
    if (beforeSeq !== null && beforeSeq <= 1) {
      shownPart(c).hasOlder = false;
      return;
    }
    let moved = false;
    await this.#load(c, async () => {
      const page = await this.#page(id, { beforeSeq, limit: PAGE_MESSAGES });
      // A message that came meanwhile has fixed the position: ask again from there.
      moved = beforeSeq === null && c.position !== null;
      if (!moved && c.past === past) this.conversations.prepend(id, page.messages, page.hasMore);
      return page.messages;
    });
    if (moved) await this.older(id);
  }

  /** The page after an older part that is shown. */
  async newer(id) {
    const c = this.conversations.ensure(id);
    const { past } = c;
    if (!past || !this.#mayLoad(id)) return;
    await this.#load(c, async () => {
      const page = await this.#page(id, { afterSeq: past.log.at(-1).seqId, limit: PAGE_MESSAGES });
      if (c.past === past) extendPast(c, page.messages);
      return page.messages;
    });
  }

  /** Shows what was said before and after a seq. */
  async around(id, seq) {
    const c = this.conversations.ensure(id);
    if (!this.#mayLoad(id)) return;
    await this.#load(c, async () => {
      const none = { messages: [], hasMore: false };
      const [before, after] = await Promise.all([
        seq > 0 ? this.#page(id, { beforeSeq: seq + 1, limit: PAGE_MESSAGES }) : none,
        this.#page(id, { afterSeq: seq, limit: PAGE_MESSAGES }),
      ]);
      const messages = before.messages.concat(after.messages);
      if (messages.length > 0) showPast(c, messages, before.hasMore);
      else c.hasOlder = false;
      return messages;
    });
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

  /** The user asks again for what could not be loaded. */
  again(id) {
    this.failed.delete(id);
    this.onChange();
  }

  #mayLoad(id) {
    return !this.loading.has(id) && Date.now() - (this.failed.get(id) ?? 0) >= AGAIN_AFTER_FAILURE_MS;
  }

  /** `take()` loads messages and puts them in their place. */
  async #load(c, take) {
    this.loading.add(c.id);
    this.onChange();
    try {
      const messages = await take();
      this.failed.delete(c.id);
      this.conversations.noteLoaded(c.id, messages);
      this.onLoaded(messages);
    } catch (error) {
      this.failed.set(c.id, Date.now());
      this.#unreadable(c, error);
    } finally {
      this.loading.delete(c.id);
      this.onChange();
    }
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
