// Tokens: renewed in time, once for all who wait, and the session ends when that is refused.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Api } from "../api.js";
import { Session } from "../session.js";

const NOW = 1_750_000_000_000;

function storage() {
  const values = new Map();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value), removeItem: (key) => values.delete(key) };
}

/** `serve(path, {body, token})` → [status, answer]. */
function setUp(serve) {
  const calls = [];
  const time = { now: NOW };
  const session = new Session({ tab: storage(), shared: storage(), locks: null });
  const ended = [];
  const fetch = async (path, { headers, body }) => {
    const call = { path, body: body && JSON.parse(body), token: headers.authorization?.slice(7) };
    calls.push(call);
    const [status, answer] = serve(path.slice(4), call);
    return new Response(status === 204 ? null : JSON.stringify(answer), { status });
  };
  const api = new Api(session, { fetch, now: () => time.now, onEnded: (text) => ended.push(text) });
  const signedIn = () => session.take({ userId: "1", username: "ann", accessToken: "a0", refreshToken: "r0", expiresIn: 900 }, NOW);
  return { api, session, calls, time, ended, signedIn };
}

let count = 0;
const renewed = () => [200, { accessToken: `a${(count += 1)}`, refreshToken: `r${count}`, expiresIn: 900 }];
const refused = [401, { error: { code: 1006, name: "Unauthenticated", message: "no", retryable: false } }];

test("near its end a token is renewed first, once for calls at the same time", async (t) => {
  const { api, session, calls, time, signedIn } = setUp((path) => (path === "/auth/refresh" ? renewed() : [200, {}]));
  t.after(() => session.clear());
  signedIn();
  await api.me();
  assert.deepEqual(calls.map((call) => call.path), ["/api/users/me"]);
  time.now += 850_000;
  await Promise.all([api.me(), api.conversations(), api.me()]);
  const refreshes = calls.filter((call) => call.path === "/api/auth/refresh");
  assert.deepEqual(refreshes.map((call) => call.body), [{ refreshToken: "r0" }]);
  assert.ok(calls.slice(2).every((call) => call.token === session.current.accessToken));
  assert.equal(session.current.userId, "1");
});

test("after a 401 the token is renewed and the call made again", async (t) => {
  const { api, session, calls, signedIn } = setUp((path, { token }) => {
    if (path === "/auth/refresh") return renewed();
    return token === "a0" ? refused : [200, { ok: true }];
  });
  t.after(() => session.clear());
  signedIn();
  assert.deepEqual(await Promise.all([api.me(), api.me()]), [{ ok: true }, { ok: true }]);
  assert.equal(calls.filter((call) => call.path === "/api/auth/refresh").length, 1);
});

test("a refused renewal ends the session", async () => {
  const { api, session, ended, signedIn } = setUp(() => refused);
  signedIn();
  await assert.rejects(api.me(), { status: 401 });
  assert.equal(session.current, null);
  assert.equal(ended.length, 1);
});

test("a server that can't be reached does not end it", async (t) => {
  const { api, session, ended, time, signedIn } = setUp(() => {
    throw new Error("down");
  });
  t.after(() => session.clear());
  signedIn();
  time.now += 899_000;
  await assert.rejects(api.me(), { name: "Unreachable", retryable: true });
  assert.notEqual(session.current, null);
  assert.deepEqual(ended, []);
});

test("signing out ends the sign-in on the server, also with a token that is old", async () => {
  const { api, session, calls, time, signedIn } = setUp((path) => (path === "/auth/refresh" ? [200, { accessToken: "new", refreshToken: "r", expiresIn: 900 }] : [204]));
  for (const [age, paths, token] of [[0, ["/api/auth/logout"], "a0"], [1_000_000, ["/api/auth/refresh", "/api/auth/logout"], "new"]]) {
    calls.length = 0;
    signedIn();
    time.now = NOW + age;
    await api.logout();
    assert.equal(session.current, null);
    assert.deepEqual([calls.map((call) => call.path), calls.at(-1).token], [paths, token]);
  }
});
