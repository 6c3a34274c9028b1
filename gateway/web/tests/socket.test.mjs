// The connection comes back after whatever closed it, and ends only when the session has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { planAfterClose, Socket } from "../socket.js";

/** Timers that run when told to. */
class Clock {
  timers = new Map();
  next = 1;
  setTimeout(run, ms) {
    this.timers.set(this.next, { run, ms });
    return this.next++;
  }
  setInterval(run, ms) {
    this.timers.set(this.next, { run, ms, again: true });
    return this.next++;
  }
  clearTimeout(id) {
    this.timers.delete(id);
  }
  clearInterval(id) {
    this.timers.delete(id);
  }
  fire(match = () => true) {
    for (const [id, timer] of [...this.timers]) {
      if (!match(timer)) continue;
      if (!timer.again) this.timers.delete(id);
      timer.run();
    }
  }
}

function connected() {
  const made = [];
  class Fake {
    constructor(url) {
      Object.assign(this, { url, sent: [] });
      made.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text).type);
    }
    close() {
      this.closed = true;
    }
  }
  const clock = new Clock();
  const seen = { states: [], urls: [], ended: null };
  const socket = new Socket({
    url: async (how) => seen.urls.push(how) && "ws://x",
    onFrame: () => {},
    onState: (state) => seen.states.push(state),
    onEnd: (reason) => (seen.ended = reason),
    WebSocketClass: Fake,
    clock,
    random: () => 0.5,
  });
  const hello = () => made.at(-1).onmessage({ data: JSON.stringify({ type: "hello", data: { heartbeatSeconds: 20 } }) });
  return { socket, made, clock, seen, hello };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("online only after hello; nothing is sent before", async () => {
  const { socket, made, seen, hello } = connected();
  socket.start();
  await settled();
  assert.equal(socket.send("ping"), false);
  hello();
  assert.equal(socket.send("ping"), true);
  assert.deepEqual(seen.states, ["connecting", "online"]);
  assert.equal(made.length, 1);
});

test("it comes back with a growing wait, and starts low again after a hello", async () => {
  const { socket, made, clock, hello } = connected();
  socket.start();
  await settled();
  const waits = [];
  for (let i = 0; i < 4; i += 1) {
    made.at(-1).onclose({ code: 1006 });
    waits.push(...[...clock.timers.values()].map((timer) => timer.ms));
    clock.fire();
    await settled();
  }
  assert.deepEqual(waits, [375, 750, 1500, 3000]);
  hello();
  made.at(-1).onclose({ code: 1006 });
  assert.deepEqual([...clock.timers.values()].map((timer) => timer.ms), [375]);
});

test("a link without an answer for a whole beat is given up", async () => {
  const { socket, made, clock, seen, hello } = connected();
  socket.start();
  await settled();
  hello();
  clock.fire((timer) => timer.again);
  assert.deepEqual(made[0].sent, ["ping"]);
  made[0].onmessage({ data: JSON.stringify({ type: "pong", data: {} }) });
  clock.fire((timer) => timer.again);
  clock.fire((timer) => timer.again);
  assert.equal(made[0].closed, true);
  assert.equal(seen.states.at(-1), "offline");
});

test("4001 renews the token, and ends when the new one is refused too", async () => {
  const { socket, made, clock, seen } = connected();
  socket.start();
  for (let i = 0; i < 3; i += 1) {
    await settled();
    made.at(-1).onclose({ code: 4001 });
    clock.fire();
  }
  assert.deepEqual(seen.urls.map((how) => how.renew), [false, true, true]);
  assert.equal(seen.ended, "unauthenticated");
});

test("each close code has its plan", () => {
  assert.deepEqual(planAfterClose(4009, 0, 0, 0), { end: "replaced" });
  assert.ok(planAfterClose(4029, 0, 0, 0).waitMs >= 15_000);
  assert.ok(planAfterClose(4008, 0, 0, 0.9).waitMs <= 1_000);
  assert.ok(planAfterClose(1001, 0, 0, 0.9).waitMs <= 1_000);
  assert.ok(planAfterClose(1006, 50, 0, 0.9).waitMs <= 30_000);
});

test("stopping is for good", async () => {
  const { socket, made, clock } = connected();
  socket.start();
  await settled();
  socket.stop();
  clock.fire();
  await settled();
  assert.equal(made.length, 1);
  assert.equal(made[0].closed, true);
});
