// Opening at the first unread message: an older part of the history that is shown apart from the newest.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversations } from "../conversations.js";
import { extendPast, showPast } from "../past.js";
import { timeline } from "../timeline.js";

const ME = "1";
const ID = "group_5";
const said = (seqId, more = {}) => ({
  ...{ conversationId: ID, seqId, senderId: "2", messageType: "text", content: `m${seqId}`, event: "message" },
  ...{ clientMsgId: `k${seqId}`, createdAt: new Date(1_750_000_000_000 + seqId * 1000).toISOString(), ...more },
});
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => said(from + i));

/** 200 messages, of which the last 120 are unread. */
function opened() {
  const all = new Conversations(ME);
  all.mergeRow({ conversationId: ID, lastSeq: 200, readSeq: 80, unread: 120, updatedAt: "2025" });
  const c = all.get(ID);
  showPast(c, range(31, 130), true);
  return { all, c };
}
const seqs = (c) => timeline(c, [], ME).filter((row) => row.seq).map((row) => row.seq);

test("a part of the history is shown apart, and becomes one with the newest where it reaches them", () => {
  const { all, c } = opened();
  all.take(said(201));
  assert.deepEqual([seqs(c)[0], seqs(c).at(-1)], [31, 130]);
  extendPast(c, range(131, 180));
  assert.notEqual(c.past, null);
  extendPast(c, range(175, 200));
  assert.equal(c.past, null);
  assert.deepEqual(seqs(c), range(31, 201).map((m) => m.seqId));
});

test("reading on counts down what is unread", () => {
  const { all, c } = opened();
  all.markRead(ID, ME, 90);
  assert.equal(c.unread, 110);
  all.take(said(201));
  assert.equal(c.unread, 111);
  all.markRead(ID, ME, 130);
  assert.equal(c.unread, 71);
  all.markRead(ID, ME, 201);
  assert.equal(c.unread, 0);
});

test("older pages go before the part that is shown", () => {
  const { all, c } = opened();
  all.prepend(ID, range(1, 30), false);
  assert.deepEqual([c.past.log[0].seqId, c.past.hasOlder, c.log.length], [1, false, 0]);
});

test("what is said now changes what is shown of the past, and is not shown itself", () => {
  const { all, c } = opened();
  all.take(said(201, { event: "edit", messageType: "edit", targetSeqId: 100, content: "edited" }));
  const rows = timeline(c, [{ clientMsgId: "p", type: "send-message", content: "mine", createdAt: 0, state: "sent" }], ME);
  assert.equal(rows.find((row) => row.seq === 100).text, "edited");
  assert.equal(rows.at(-1).seq, 130);
});
