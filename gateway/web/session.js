// Who is signed in. Kept for this tab (sessionStorage), so that two tabs of one browser can be two users;
// or, for who stays signed in, for all tabs of this browser (localStorage). A refresh token works once: a
// second use ends its whole family. So tabs renew a shared session one after the other, under a lock, and
// each looks first whether another has done so. It looks in IndexedDB: a tab in another process of the browser may
// read an old value from localStorage for a moment after it was replaced.

const KEY = "gochat.session";
const OUTBOX_KEY = "gochat.outbox";
const LOCK = "gochat.renewal";
const ANSWER_WAIT_MS = 150;

export class Session {
  constructor({
    tab = globalThis.sessionStorage,
    shared = globalThis.localStorage,
    locks = globalThis.navigator?.locks,
    renewed = inDatabase(globalThis.indexedDB),
  } = {}) {
    Object.assign(this, { tab, shared, locks, renewed });
    this.value = read(tab, KEY) ?? (locks ? read(shared, KEY) : null);
    this.isShared = this.value !== null && read(tab, KEY) === null;
    this.channel = null;
    this.owned = false; // this tab uses the session of its own, and says so to others
  }

  /** `{userId, username, accessToken, refreshToken, expiresAt, tab}` or null. */
  get current() {
    return this.value;
  }

  /** Whether tabs can share a session: they need locks, which browsers have on secure pages only. */
  get canStay() {
    return Boolean(this.locks);
  }

  /** Takes an answer of register, login or refresh. `stay`: for all tabs; left out, as it was. */
  take(answer, now, stay = this.isShared) {
    const { accessToken, refreshToken, expiresIn } = answer;
    const lifetime = expiresIn * 1_000;
    const before = this.value ?? { tab: crypto.getRandomValues(new Uint32Array(2)).join("") };
    const who = { userId: answer.userId ?? before.userId, username: answer.username ?? before.username };
    const renewals = (before.renewals ?? 0) + 1;
    this.value = { ...before, ...who, accessToken, refreshToken, expiresAt: now + lifetime, lifetime, renewals };
    this.isShared = stay && this.canStay;
    this.#store().setItem(KEY, JSON.stringify(this.value));
    if (this.isShared) return this.tab.removeItem(KEY);
    this.owned = true;
    this.#listen();
  }

  clear() {
    this.#store().removeItem(KEY);
    if (this.isShared) this.renewed.set(null);
    this.#forget();
  }

  /** Lets go of it in this tab alone. */
  leave() {
    this.#forget();
  }

  /** Runs `renew` while no other tab renews this session; it sees what the last one left. */
  alone(renew) {
    if (!this.isShared) return renew();
    return this.locks.request(LOCK, async () => {
      this.#follow(newer(read(this.shared, KEY), await this.renewed.get()));
      const before = this.value;
      await renew();
      if (this.value && this.value !== before) await this.renewed.set(this.value);
    });
  }

  /** `onEnded(text)`: another tab has signed out, or signed somebody else in. */
  watch(onEnded) {
    globalThis.addEventListener("storage", ({ key, storageArea }) => {
      if (storageArea !== this.shared || (key !== KEY && key !== null) || !this.isShared || !this.value) return;
      const before = this.value;
      this.#follow(read(this.shared, KEY));
      if (!this.value) onEnded(`${before.username} signed out in another tab.`);
    });
  }

  /** Where the outbox of this tab is kept, for this user alone. */
  get outboxStorage() {
    const { userId } = this.value;
    return {
      load: () => {
        const kept = read(this.tab, OUTBOX_KEY);
        return kept?.userId === userId ? kept.entries : [];
      },
      save: (entries) => {
        try {
          this.tab.setItem(OUTBOX_KEY, JSON.stringify({ userId, entries }));
        } catch {
          // Full: the entries live on in memory, and are lost only with the page.
        }
      },
    };
  }

  /** A duplicated tab starts with a copy of the other's session. Resolves to whether that tab uses it. */
  async isUsedElsewhere() {
    if (!this.value || this.isShared || !("BroadcastChannel" in globalThis)) return false;
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

  /** Another tab has changed the shared session. */
  #follow(value) {
    if (value?.userId === this.value?.userId) this.value = value;
    else this.#forget();
  }

  #forget() {
    this.value = null;
    this.owned = false;
    this.tab.removeItem(OUTBOX_KEY);
    this.channel?.close();
    this.channel = null;
  }

  #store() {
    return this.isShared ? this.shared : this.tab;
  }

  #listen() {
    if (this.channel || !("BroadcastChannel" in globalThis)) return;
    this.channel = new BroadcastChannel("gochat-sessions");
    this.channel.addEventListener("message", ({ data }) => {
      if (this.owned && this.value && data.ask === this.value.tab) this.channel.postMessage({ inUse: data.ask });
    });
  }
}

/** Of two states of one sign-in the one that was renewed last. Who is signed out stays so. */
function newer(kept, renewed) {
  const isNewer = kept && renewed && renewed.tab === kept.tab && renewed.renewals > (kept.renewals ?? 0);
  return isNewer ? renewed : kept;
}

/** A session in IndexedDB, which shows to every tab what the last one wrote. Where there is none, nothing is kept. */
function inDatabase(indexedDB) {
  const open = () =>
    new Promise((resolve, reject) => {
      const opening = indexedDB.open("gochat", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("sessions");
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
  const run = async (mode, act) => {
    if (!indexedDB) return null;
    let database = null;
    try {
      database = await open();
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction("sessions", mode);
        const asked = act(transaction.objectStore("sessions"));
        transaction.oncomplete = () => resolve(asked.result ?? null);
        transaction.onabort = () => reject(transaction.error);
      });
    } catch {
      return null; // Some browsers refuse it in private windows: localStorage is all there is then.
    } finally {
      database?.close();
    }
  };
  return {
    get: () => run("readonly", (sessions) => sessions.get(KEY)),
    set: (value) => run("readwrite", (sessions) => sessions.put(value, KEY)),
  };
}

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}
