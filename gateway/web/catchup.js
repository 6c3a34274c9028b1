// Fills gaps: asks the server to `sync` the conversations in which this client is behind, page after
// page, and starts a conversation anew from its newest page where a gap can't be filled. No DOM;
// sending, loading and timers are handed in.

/** Conversations in one `sync` frame. */
const POSITIONS_MAX = 50;
/** Messages a conversation in one answer. */
const PAGE_MESSAGES = 200;
/** Beyond this many missing messages the newest page is loaded instead: older ones come on scrolling. */
const GAP_MESSAGES_MAX = 1_000;
const GAP_PAGES_MAX = GAP_MESSAGES_MAX / PAGE_MESSAGES;
const ANSWER_WAIT_MS = 10_000;
const TRIES_MAX = 5;

export class CatchUp {
  /**
   * `send(type, data)`: whether the frame went out. `restart(id)`: a promise, loads the newest page.
   * `done(id)`: the conversation is up to date.
   */
  constructor({ conversations, send, restart, done, clock = globalThis }) {
    Object.assign(this, { conversations, send, restart, done, clock });
    this.running = new Map(); // id → { tries, pages, timer, again }
  }

  /** Asks for what is missing in these conversations; those already being asked for are asked again
   *  after their answer. */
  request(ids) {
    const fresh = [];
    for (const id of ids) {
      const run = this.running.get(id);
      if (run) {
        run.again = true;
        continue;
      }
      const c = this.conversations.ensure(id);
      this.running.set(id, { tries: 0, pages: 0, timer: null, again: false });
      if (c.position !== null && c.head - c.position > GAP_MESSAGES_MAX) this.#restart(id);
      else fresh.push(id);
    }
    for (let i = 0; i < fresh.length; i += POSITIONS_MAX) this.#ask(fresh.slice(i, i + POSITIONS_MAX));
  }

  /** The connection is gone: nothing asked for will be answered. */
  reset() {
    for (const run of this.running.values()) this.clock.clearTimeout(run.timer);
    this.running.clear();
  }

  /** Takes an answer, after its messages have been taken. `progress`: whether any of them was new. */
  answered({ conversationId: id, hasMore, recovered }, progress) {
    const run = this.running.get(id);
    if (!run) return;
    this.clock.clearTimeout(run.timer);
    run.tries = progress ? 0 : run.tries + 1;
    run.pages += 1;
    if (hasMore && progress) return run.pages < GAP_PAGES_MAX ? this.#ask([id]) : this.#restart(id);
    if (hasMore || this.conversations.isBehind(id) || recovered === false) {
      if (recovered === false && !progress) return this.#restart(id);
      return this.#later(id, run);
    }
    if (run.again) {
      run.again = false;
      return this.#ask([id]);
    }
    this.#finish(id);
  }

  #ask(ids) {
    const positions = this.conversations.positions(ids);
    const sent = this.send("sync", { positions, limit: PAGE_MESSAGES });
    for (const id of ids) {
      const run = this.running.get(id);
      if (!sent) this.running.delete(id);
      else run.timer = this.clock.setTimeout(() => this.#later(id, run), ANSWER_WAIT_MS);
    }
  }

  /** Not there yet: waits a little longer each time, then starts anew. */
  #later(id, run) {
    if (this.running.get(id) !== run) return;
    run.tries += 1;
    if (run.tries > TRIES_MAX) return this.#restart(id);
    run.timer = this.clock.setTimeout(() => this.running.get(id) === run && this.#ask([id]), 250 * 2 ** run.tries);
  }

  async #restart(id) {
    const run = this.running.get(id);
    try {
      await this.restart(id);
    } catch {
      // The next `heads` frame tries again.
      if (this.running.get(id) === run) this.running.delete(id);
      return;
    }
    if (this.running.get(id) === run) this.#finish(id);
  }

  #finish(id) {
    this.running.delete(id);
    this.done(id);
  }
}
