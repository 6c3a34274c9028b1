// The rule of the seq: each event once and in order, whatever arrives twice, late or not at all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { AHEAD_EVENTS_MAX, Conversations, kindOf, pairId, partnerOf } from "../conversations.js";

const ME = "7300000000000000001";
const ANN = "7300000000000000002";
const ID = "group_9";

function message(seqId, more = {}) {
  return {
    conversationId: ID,
    messageId: String(1000 + seqId),
    seqId,
    senderId: ANN,
    messageType: "text",
    content: `m${seqId}`,
    clientMsgId: `k${seqId}`,
    createdAt: new Date(1_750_000_000_000 + seqId * 1000).toISOString(),
    event: "message",
    ...more,
  };
}

const system = (seqId, messageType, content) =>
  message(seqId, { event: "system", messageType, content: JSON.stringify({ groupId: "9", version: seqId, actorId: ANN, ...content }) });

/** One that has seen up to `position`. */
function at(position, row = {}) {
  const conversations = new Conversations(ME);
  conversations.mergeRow({ conversationId: ID, title: "G", lastSeq: position, readSeq: position, unread: 0, updatedAt: "2025-01-01T00:00:00.000Z", ...row });
  return conversations;
}

const seqs = (conversations) => conversations.get(ID).log.map((m) => m.seqId);

test("one above the last seen is next", () => {
  const c = at(4);
  assert.equal(c.take(message(5)), "next");
  assert.equal(c.take(message(6)), "next");
  assert.deepEqual(seqs(c), [5, 6]);
  assert.equal(c.get(ID).position, 6);
});

test("at or below the last seen is a repeat and changes nothing", () => {
  const c = at(4);
  c.take(message(5));
  const before = structuredClone(c.get(ID));
  for (const seq of [5, 4, 1]) assert.equal(c.take(message(seq, { content: "again" })), "repeat");
  assert.deepEqual(c.get(ID), before);
});

test("further above is a gap, kept until the gap is filled", () => {
  const c = at(4);
  assert.equal(c.take(message(7)), "gap");
  assert.equal(c.take(message(9)), "gap");
  assert.deepEqual(seqs(c), []);
  assert.ok(c.isBehind(ID));
  c.take(message(5));
  assert.equal(c.take(message(6)), "next");
  assert.deepEqual(seqs(c), [5, 6, 7]);
  assert.ok(c.isBehind(ID), "9 is there, 8 is not");
  c.take(message(8));
  assert.deepEqual(seqs(c), [5, 6, 7, 8, 9]);
  assert.ok(!c.isBehind(ID));
  assert.equal(c.get(ID).ahead.size, 0);
});

test("any order with any repeats ends in the same log", () => {
  let seed = 42;
  const random = (n) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % n;
  for (let round = 0; round < 200; round += 1) {
    const c = at(0, { lastSeq: 0 });
    const pool = Array.from({ length: 30 }, (_, i) => i + 1).flatMap((seq) => (random(3) === 0 ? [seq, seq] : [seq]));
    while (pool.length > 0) c.take(message(pool.splice(random(pool.length), 1)[0]));
    assert.deepEqual(seqs(c), Array.from({ length: 30 }, (_, i) => i + 1), `round ${round}`);
    assert.equal(c.get(ID).unread, 30);
  }
});

test("what waits beyond a gap is bounded", () => {
  const c = at(0, { lastSeq: 0 });
  for (let seq = 2; seq < AHEAD_EVENTS_MAX + 100; seq += 1) c.take(message(seq));
  assert.equal(c.get(ID).ahead.size, AHEAD_EVENTS_MAX);
  assert.equal(c.get(ID).head, AHEAD_EVENTS_MAX + 99);
});

test("the first event of an unknown conversation fixes the position", () => {
  const c = new Conversations(ME);
  assert.equal(c.take(message(41)), "next");
  assert.equal(c.take(message(42)), "next");
  assert.equal(c.oldest(ID), 41);
  assert.equal(c.get(ID).unread, 2);
});

test("a head tells whether this client is behind", () => {
  const c = at(4);
  assert.equal(c.learnHead(ID, 4), false);
  assert.equal(c.learnHead(ID, 3), false);
  assert.equal(c.learnHead(ID, 6), true);
  assert.deepEqual(c.positions([ID]), { [ID]: 4 });
});

test("older pages go before what is there, without repeats", () => {
  const c = at(6);
  c.take(message(7));
  c.prepend(ID, [4, 5, 6, 7].map((seq) => message(seq)), true);
  assert.deepEqual(seqs(c), [4, 5, 6, 7]);
  assert.equal(c.get(ID).hasOlder, true);
  c.prepend(ID, [1, 2, 3].map((seq) => message(seq)), false);
  assert.deepEqual(seqs(c), [1, 2, 3, 4, 5, 6, 7]);
  assert.equal(c.get(ID).hasOlder, false);
});

test("starting anew from the newest page keeps what came after it", () => {
  const c = at(4);
  for (const seq of [5, 2003, 2001, 2005]) c.take(message(seq));
  c.reanchor(ID, [1999, 2000].map((seq) => message(seq)), true);
  assert.deepEqual(seqs(c), [1999, 2000, 2001]);
  assert.ok(c.isBehind(ID));
  c.take(message(2002));
  assert.deepEqual(seqs(c), [1999, 2000, 2001, 2002, 2003]);
});

test("unread counts others' messages, not edits, and what the server has counted only once", () => {
  const c = at(4, { lastSeq: 6, unread: 2 });
  c.get(ID).position = 4;
  for (const seq of [5, 6]) c.take(message(seq));
  assert.equal(c.get(ID).unread, 2, "counted in the list already");
  c.take(message(7));
  c.take(message(8, { event: "edit", targetSeqId: 7 }));
  assert.equal(c.get(ID).unread, 3);
  c.markRead(ID, ME, 8);
  assert.equal(c.get(ID).unread, 0);
  c.take(message(9));
  c.take(message(10, { senderId: ME }));
  assert.equal(c.get(ID).unread, 0, "who answers has read");
});

test("reading on another device leaves what came after", () => {
  const c = at(4);
  for (const seq of [5, 6, 7]) c.take(message(seq));
  c.markRead(ID, ME, 6);
  assert.equal(c.get(ID).unread, 1);
  c.markRead(ID, ME, 5);
  assert.equal(c.get(ID).readSeq, 6, "never backwards");
});

test("a list that is older than what was read here counts nothing again", () => {
  const c = at(4);
  for (const seq of [5, 6, 7]) c.take(message(seq));
  c.markRead(ID, ME, 6);
  c.mergeRow({ conversationId: ID, lastSeq: 7, readSeq: 4, unread: 3, updatedAt: "2030" });
  assert.equal(c.get(ID).unread, 1);
  c.mergeRow({ conversationId: ID, lastSeq: 7, readSeq: 7, unread: 0, updatedAt: "2030" });
  assert.equal(c.get(ID).unread, 0);
});

test("receipts of others never go backwards", () => {
  const c = at(4);
  assert.equal(c.markRead(ID, ANN, 3), true);
  assert.equal(c.markRead(ID, ANN, 2), false);
  assert.equal(c.get(ID).readBy.get(ANN), 3);
});

test("group events rename and close a conversation", () => {
  const c = at(0, { lastSeq: 0 });
  c.take(system(1, "renamed", { name: "Hikers" }));
  assert.equal(c.get(ID).title, "Hikers");
  c.take(system(2, "removed", { userIds: ["77"] }));
  assert.equal(c.get(ID).closed, null);
  c.take(system(3, "removed", { userIds: [ME] }));
  assert.equal(c.get(ID).closed, "left");
  c.take(system(4, "joined", { userIds: [ME] }));
  assert.equal(c.get(ID).closed, null);
  c.take(system(5, "dissolved", {}));
  assert.equal(c.get(ID).closed, "dissolved");
  assert.equal(c.get(ID).unread, 0);
});

test("the list is newest first, and world is always there", () => {
  const c = at(4);
  assert.deepEqual(c.sorted().map((x) => x.id), [ID, "world"]);
  c.take(message(1, { conversationId: "world" }));
  assert.deepEqual(c.sorted().map((x) => x.id), ["world", ID]);
});

test("ids of pairs put the smaller id first, beyond 2^53", () => {
  assert.equal(pairId("9007199254740993", "9007199254740992"), "single_9007199254740992_9007199254740993");
  assert.equal(pairId("99", "100"), "single_99_100");
  assert.equal(partnerOf("single_99_100", "100"), "99");
  assert.equal(partnerOf("world", "100"), null);
  assert.equal(kindOf("world"), "world");
});
