// Staying signed in: tabs of one browser share a session whose refresh token works once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Api } from "../api.js";
import { Session } from "../session.js";

const NOW = 1_750_000_000_000;

function storage() {
  const values = new Map();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value), removeItem: (key) => values.delete(key) };
}

/** Locks as of one browser: one holder at a time. */
function locks() {
  let last = Promise.resolve();
  return { request: (_, action) => (last = last.then(action, action)) };
}

/** A server that ends the sign-in at the second use of a refresh token. */
function server() {
  const state = { good: "r0", count: 0, refreshes: 0, ended: false };
  const fetch = async (path, { body }) => {
    if (path !== "/api/auth/refresh") return new Response("{}", { status: 200 });
    state.refreshes += 1;
    const { refreshToken } = JSON.parse(body);
    await new Promise(setImmediate);
    if (state.ended || refreshToken !== state.good) {
      state.ended = true;
      return new Response(JSON.stringify({ error: { code: 1006, name: "Unauthenticated", message: "no", retryable: false } }), { status: 401 });
    }
    state.count += 1;
    state.good = `r${state.count}`;
    return new Response(JSON.stringify({ accessToken: `a${state.count}`, refreshToken: state.good, expiresIn: 900 }), { status: 200 });
  };
  return { state, fetch };
}

const signedIn = { userId: "1", username: "ann", accessToken: "a0", refreshToken: "r0", expiresIn: 900 };

test("tabs that renew at the same moment use the refresh token once", async () => {
  const browser = { shared: storage(), locks: locks() };
  const { state, fetch } = server();
  new Session({ ...browser, tab: storage() }).take(signedIn, NOW, true);
  const tabs = [0, 1, 2].map(() => new Session({ ...browser, tab: storage() }));
  const apis = tabs.map((session) => new Api(session, { fetch, now: () => NOW + 899_000 }));
  await Promise.all(apis.map((api) => api.me()));
  assert.deepEqual([state.refreshes, state.ended], [1, false]);
  assert.deepEqual(tabs.map((session) => session.current.accessToken), ["a1", "a1", "a1"]);
});

test("a tab that still sees what was kept before the last renewal uses the new token", async () => {
  let kept = null;
  const renewed = { get: async () => kept, set: async (value) => void (kept = value) };
  const browser = { locks: locks(), renewed };
  const { state, fetch } = server();
  const [before, late] = [storage(), storage()];
  new Session({ ...browser, shared: before, tab: storage() }).take(signedIn, NOW, true);
  late.setItem("gochat.session", before.getItem("gochat.session"));
  const tabs = [before, late].map((shared) => new Session({ ...browser, shared, tab: storage() }));
  const apis = tabs.map((session) => new Api(session, { fetch, now: () => NOW + 899_000 }));
  for (const api of apis) await api.me();
  assert.deepEqual([state.refreshes, state.ended], [1, false]);
  assert.deepEqual(tabs.map((session) => session.current.accessToken), ["a1", "a1"]);

  // Another sign-in is none of it, and who is signed out stays so.
  tabs[0].clear();
  assert.equal(kept, null);
  new Session({ ...browser, shared: late, tab: storage() }).take({ ...signedIn, refreshToken: state.good }, NOW, true);
  await new Api(new Session({ ...browser, shared: late, tab: storage() }), { fetch, now: () => NOW + 899_000 }).me();
  assert.deepEqual([state.refreshes, state.ended], [2, false]);
});

test("who does not stay is signed in in one tab alone", (t) => {
  const browser = { shared: storage(), locks: locks() };
  const tab = storage();
  const [insecure, alone] = [new Session({ ...browser, tab, locks: null }), new Session({ ...browser, tab: storage() })];
  t.after(() => [insecure, alone].forEach((session) => session.clear()));
  insecure.take(signedIn, NOW, true);
  assert.equal(new Session({ ...browser, tab: storage() }).current, null, "without locks tabs can't share");
  alone.take(signedIn, NOW, false);
  assert.equal(new Session({ ...browser, tab: storage() }).current, null);
  assert.equal(new Session({ ...browser, tab }).current.username, "ann", "a reload finds it again");
});

test("signing out ends it for new tabs", () => {
  const browser = { shared: storage(), locks: locks() };
  const session = new Session({ ...browser, tab: storage() });
  session.take(signedIn, NOW, true);
  session.clear();
  assert.equal(new Session({ ...browser, tab: storage() }).current, null);
});
