// What a reader sees: later events folded into their targets, what is on its way at the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { timeline } from "../timeline.js";

const ME = "1";
const ANN = "2";
const START = new Date(2025, 5, 15, 12).getTime();

const said = (seqId, more = {}) => ({
  seqId,
  senderId: ANN,
  messageType: "text",
  content: `m${seqId}`,
  clientMsgId: `k${seqId}`,
  createdAt: new Date(START + seqId * 1000).toISOString(),
  event: "message",
  ...more,
});
const conversation = (log, readBy = []) => ({ log, readBy: new Map(readBy) });
const pending = (clientMsgId, more = {}) => ({
  clientMsgId,
  type: "send-message",
  messageType: "text",
  content: clientMsgId,
  createdAt: START + 60_000,
  state: "sent",
  ...more,
});
const rowsOf = (log, out = [], readBy = []) => timeline(conversation(log, readBy), out, ME).filter((row) => row.kind !== "day");

test("an edit shows its newest content, whatever the target showed", () => {
  const [row, ...rest] = rowsOf([
    said(1, { content: "second" }),
    said(2, { event: "edit", messageType: "edit", targetSeqId: 1, content: "first" }),
    said(3, { event: "edit", messageType: "edit", targetSeqId: 1, content: "second" }),
  ]);
  assert.equal(row.text, "second");
  assert.equal(row.edited, true);
  assert.deepEqual(rest, []);
});

test("a recall blanks its target, from an event or from history", () => {
  const rows = rowsOf([said(1), said(2, { content: "" }), said(3, { event: "recall", messageType: "recall", targetSeqId: 1, content: "" })]);
  assert.deepEqual(rows.map((row) => [row.recalled, row.text]), [[true, ""], [true, ""]]);
});

test("reactions are counted by user, and can be taken back", () => {
  const react = (seqId, senderId, content, remove) => said(seqId, { event: "reaction", senderId, content, remove, targetSeqId: 1 });
  const [row] = rowsOf([said(1), react(2, ANN, "👍"), react(3, ME, "👍"), react(4, ANN, "👍", true), react(5, ANN, "🎉"), react(6, ANN, "🎉")]);
  assert.deepEqual(row.reactions, [
    { emoji: "👍", userIds: [ME], mine: true },
    { emoji: "🎉", userIds: [ANN], mine: false },
  ]);
});

test("what is on its way shows at once and stands at the end", () => {
  const rows = rowsOf(
    [said(1, { senderId: ME })],
    [pending("a"), pending("e", { type: "edit-message", targetSeqId: 1, content: "new" }), pending("b", { state: "accepted" })],
  );
  assert.deepEqual(rows.map((row) => [row.text, row.state]), [["new", "stored"], ["a", "pending"], ["b", "accepted"]]);
});

test("a stored message keeps the key of its first attempt and shows once", () => {
  const before = rowsOf([], [pending("a")]);
  const after = rowsOf([said(1, { senderId: ME, clientMsgId: "a" })], [pending("a", { state: "stored", seqId: 1 })]);
  assert.equal(after.length, 1);
  assert.equal(after[0].key, before[0].key);
  assert.equal(after[0].state, "stored");
});

test("a key of somebody else is not taken for ours", () => {
  const rows = rowsOf([said(1, { clientMsgId: "a" })], [pending("a")]);
  assert.equal(rows.length, 2);
});

test("read marks show who has read, and the newest read message", () => {
  const rows = rowsOf([said(1, { senderId: ME }), said(2, { senderId: ME }), said(3, { senderId: ME })], [], [[ANN, 2]]);
  assert.deepEqual(rows.map((row) => [row.readBy, row.newestRead === true]), [[[ANN], false], [[ANN], true], [[], false]]);
});

test("days are told apart, and a line stands before what is new", () => {
  const rows = timeline(conversation([said(1), said(2, { createdAt: new Date(START + 86_400_000).toISOString() }), said(3)]), [], ME, { from: 1, count: 2 });
  assert.deepEqual(rows.slice(0, 5).map((row) => row.kind), ["day", "message", "day", "unread", "message"]);
});

test("messages of one sender within minutes stand together", () => {
  const late = { createdAt: new Date(START + 600_000).toISOString() };
  const rows = rowsOf([said(1), said(2), said(3, { senderId: ME }), said(4, late)]);
  assert.deepEqual(rows.map((row) => [row.startsCluster, row.endsCluster]), [[true, false], [false, true], [true, true], [true, true]]);
});
