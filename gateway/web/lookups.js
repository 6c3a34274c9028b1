// Looks users up by their ids: those asked for within a moment in one call, one call at a time, and the
// same user again only after a while. Loading and time are handed in.

/** Users in one call. */
const USERS_MAX = 50;
const GATHER_MS = 30;
/** Names and pictures change seldom. */
const FRESH_MS = 5 * 60_000;
const AGAIN_AFTER_FAILURE_MS = 10_000;

export class Lookups {
  /** `load(ids)`: a promise of those that exist. `onUsers(users)`. */
  constructor({ load, onUsers, clock = globalThis, now = Date.now }) {
    Object.assign(this, { load, onUsers, clock, now });
    this.notBefore = new Map(); // userId → when it may be asked for again
    this.waiting = new Set();
    this.running = null;
  }

  /** Somebody's name is shown. */
  want(userId) {
    if ((this.notBefore.get(userId) ?? 0) > this.now()) return;
    this.notBefore.set(userId, this.now() + FRESH_MS);
    this.waiting.add(userId);
    this.running ??= new Promise((gathered) => this.clock.setTimeout(gathered, GATHER_MS)).then(() => this.#run());
  }

  /** Resolves when everybody who was asked for has been looked up, as far as the server answers. */
  async idle() {
    await this.running;
  }

  stop() {
    this.waiting.clear();
  }

  async #run() {
    while (this.waiting.size > 0) {
      const ids = [...this.waiting].slice(0, USERS_MAX);
      for (const id of ids) this.waiting.delete(id);
      try {
        this.onUsers(await this.load(ids));
      } catch {
        for (const id of ids) this.notBefore.set(id, this.now() + AGAIN_AFTER_FAILURE_MS);
      }
    }
    this.running = null;
  }
}
