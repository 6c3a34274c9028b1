// Gaps are filled page after page, asked for once at a time, and never for ever.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CatchUp } from "../catchup.js";
import { Conversations } from "../conversations.js";

const ID = "world";

function setUp({ position = 4, head = 4 } = {}) {
  const conversations = new Conversations("1");
  conversations.mergeRow({ conversationId: ID, lastSeq: position, readSeq: 0, unread: 0, updatedAt: "2025" });
  conversations.learnHead(ID, head);
  const seen = { asked: [], restarted: [], done: [], timers: [] };
  const catchUp = new CatchUp({
    conversations,
    send: (type, data) => seen.asked.push(data.positions) > 0,
    restart: async (id) => seen.restarted.push(id),
    done: (id) => seen.done.push(id),
    clock: { setTimeout: (run) => seen.timers.push(run), clearTimeout: () => {} },
  });
  const take = (...seqs) =>
    seqs.map((seqId) => conversations.take({ conversationId: ID, seqId, senderId: "2", content: "x", createdAt: "2025" })).includes("next");
  const answer = (seqs, more) => catchUp.answered({ conversationId: ID, hasMore: false, recovered: true, ...more }, take(...seqs));
  return { catchUp, seen, answer, take };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("it asks from the last seq seen, and is done when the answer reaches the head", () => {
  const { catchUp, seen, answer } = setUp({ head: 6 });
  catchUp.request([ID]);
  assert.deepEqual(seen.asked, [{ [ID]: 4 }]);
  answer([5, 6]);
  assert.deepEqual(seen.done, [ID]);
});

test("while an answer is awaited it does not ask twice, but once more after it", () => {
  const { catchUp, seen, answer } = setUp({ head: 6 });
  for (let i = 0; i < 3; i += 1) catchUp.request([ID]);
  assert.equal(seen.asked.length, 1);
  answer([5, 6]);
  assert.deepEqual(seen.asked[1], { [ID]: 6 });
  answer([]);
  assert.deepEqual(seen.done, [ID]);
});

test("pages follow each other", () => {
  const { catchUp, seen, answer } = setUp({ head: 8 });
  catchUp.request([ID]);
  answer([5, 6], { hasMore: true, recovered: false });
  assert.deepEqual(seen.asked[1], { [ID]: 6 });
  answer([7, 8]);
  assert.deepEqual(seen.done, [ID]);
});

test("what can't be recovered starts anew from the newest page", async () => {
  const { catchUp, seen, answer } = setUp({ head: 9 });
  catchUp.request([ID]);
  answer([], { recovered: false });
  await settled();
  assert.deepEqual(seen.restarted, [ID]);
  assert.deepEqual(seen.done, [ID]);
});

test("a gap of thousands is not fetched", async () => {
  const { catchUp, seen } = setUp({ head: 5_000 });
  catchUp.request([ID]);
  await settled();
  assert.deepEqual(seen.asked, []);
  assert.deepEqual(seen.restarted, [ID]);
});

test("nor page after page without end", async () => {
  const { catchUp, seen, answer } = setUp({ head: 4 });
  catchUp.request([ID]);
  for (let seq = 5; seq < 100 && seen.restarted.length === 0; seq += 1) answer([seq], { hasMore: true });
  await settled();
  assert.equal(seen.asked.length, 5);
  assert.deepEqual(seen.restarted, [ID]);
});

test("an answer that is behind the head is asked for again, a few times, then started anew", async () => {
  const { catchUp, seen, answer } = setUp({ head: 6 });
  catchUp.request([ID]);
  for (let i = 0; i < 20 && seen.restarted.length === 0; i += 1) {
    answer([]);
    seen.timers.splice(0).forEach((run) => run());
    await settled();
  }
  assert.deepEqual(seen.restarted, [ID]);
  assert.ok(seen.asked.length < 10);
});

test("a lost connection forgets what was asked", () => {
  const { catchUp, seen } = setUp({ head: 6 });
  catchUp.request([ID]);
  catchUp.reset();
  catchUp.request([ID]);
  assert.equal(seen.asked.length, 2);
});
