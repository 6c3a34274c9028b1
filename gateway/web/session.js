// Who is signed in, in this tab: kept in sessionStorage, so that two tabs of one browser can be two
// users, and a reload stays signed in.

const KEY = "gochat.session";
const OUTBOX_KEY = "gochat.outbox";
const ANSWER_WAIT_MS = 150;

export class Session {
  constructor(storage = window.sessionStorage) {
    this.storage = storage;
    this.value = read(storage, KEY);
    this.channel = null;
    this.owned = false; // this tab uses the session, and says so to others
  }

  /** `{userId, username, accessToken, refreshToken, expiresAt, tab}` or null. */
  get current() {
    return this.value;
  }

  /** Takes an answer of register, login or refresh. */
  take(answer, now) {
    const { accessToken, refreshToken, expiresIn } = answer;
    const lifetime = expiresIn * 1_000;
    const before = this.value ?? { tab: crypto.getRandomValues(new Uint32Array(2)).join("") };
    const who = { userId: answer.userId ?? before.userId, username: answer.username ?? before.username };
    this.value = { ...before, ...who, accessToken, refreshToken, expiresAt: now + lifetime, lifetime };
    this.storage.setItem(KEY, JSON.stringify(this.value));
    this.owned = true;
    this.#listen();
  }

  clear() {
    this.value = null;
    this.owned = false;
    this.storage.removeItem(KEY);
    this.storage.removeItem(OUTBOX_KEY);
    this.channel?.close();
    this.channel = null;
  }

  /** Where the outbox of this tab is kept. */
  get outboxStorage() {
    return {
      load: () => read(this.storage, OUTBOX_KEY) ?? [],
      save: (entries) => {
        try {
          this.storage.setItem(OUTBOX_KEY, JSON.stringify(entries));
        } catch {
          // Full: the entries live on in memory, and are lost only with the page.
        }
      },
    };
  }

  /**
   * A duplicated tab starts with a copy of the session. A refresh token works once, so two tabs with one
   * would sign each other out. Resolves to whether another tab already uses this session.
   */
  async isUsedElsewhere() {
    if (!this.value || !("BroadcastChannel" in globalThis)) return false;
    this.#listen();
    const answer = new Promise((resolve) => {
      this.channel.addEventListener("message", ({ data }) => {
        if (data.inUse === this.value?.tab) resolve(true);
      });
      setTimeout(() => resolve(false), ANSWER_WAIT_MS);
    });
    this.channel.postMessage({ ask: this.value.tab });
    this.owned = !(await answer);
    return !this.owned;
  }

  #listen() {
    if (this.channel || !("BroadcastChannel" in globalThis)) return;
    this.channel = new BroadcastChannel("gochat-sessions");
    this.channel.addEventListener("message", ({ data }) => {
      if (this.owned && this.value && data.ask === this.value.tab) this.channel.postMessage({ inUse: data.ask });
    });
  }
}

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}
