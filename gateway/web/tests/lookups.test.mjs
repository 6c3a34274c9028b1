// Users are looked up by id: together, once, and again only after a while.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Lookups } from "../lookups.js";

function setUp(load) {
  const calls = [];
  const timers = [];
  const time = { now: 1_000 };
  const lookups = new Lookups({
    load: async (ids) => {
      calls.push(ids);
      return load(ids);
    },
    onUsers: () => {},
    clock: { setTimeout: (run) => timers.push(run) },
    now: () => time.now,
  });
  const run = async () => {
    for (const timer of timers.splice(0)) timer();
    await lookups.idle();
  };
  return { lookups, calls, time, run };
}

test("names that are shown together are looked up together, once", async () => {
  const { lookups, calls, time, run } = setUp(() => []);
  for (let round = 0; round < 3; round += 1) for (let id = 0; id < 120; id += 1) lookups.want(String(id));
  await run();
  assert.deepEqual(calls.map((ids) => ids.length), [50, 50, 20]);
  lookups.want("7");
  await run();
  assert.equal(calls.length, 3);
  time.now += 10 * 60_000;
  lookups.want("7");
  await run();
  assert.deepEqual(calls.at(-1), ["7"]);
});

test("a lookup that failed is tried again after a moment", async () => {
  const { lookups, calls, time, run } = setUp(() => Promise.reject(new Error("down")));
  lookups.want("7");
  await run();
  lookups.want("7");
  await run();
  assert.equal(calls.length, 1);
  time.now += 11_000;
  lookups.want("7");
  await run();
  assert.equal(calls.length, 2);
});
