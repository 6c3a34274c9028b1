// "Read" is there after a reload: marks are asked for where a conversation is shown.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversations } from "../conversations.js";
import { ReadMarks } from "../readmarks.js";
import { timeline } from "../timeline.js";

const ME = "7300000000000000001";
const ANN = "7300000000000000002";
const PAIR = `single_${ME}_${ANN}`;

/** `answer(id)` → the marks, or an error to throw. */
function setUp(answer) {
  const calls = [];
  const changes = [];
  const conversations = new Conversations(ME);
  const api = {
    readMarks: async (id) => {
      calls.push(id);
      const readMarks = answer(id, calls.length);
      if (readMarks instanceof Error) throw readMarks;
      return { readMarks };
    },
  };
  const marks = new ReadMarks({ api, conversations, onChange: () => changes.push(1) });
  return { marks, conversations, calls, changes };
}

function mine(seqId) {
  const createdAt = new Date(1_750_000_000_000 + seqId * 1000).toISOString();
  return { conversationId: PAIR, messageId: `${seqId}`, seqId, senderId: ME, messageType: "text", content: "hi", clientMsgId: `k${seqId}`, createdAt, event: "message" };
}

test("after a reload one's own messages are shown as read up to the other's mark", async () => {
  const { marks, conversations, changes } = setUp(() => [{ userId: ANN, seqId: 2 }]);
  conversations.reanchor(PAIR, [1, 2, 3].map(mine), false);
  await marks.show(PAIR);
  const rows = timeline(conversations.get(PAIR), [], ME, 0).filter((row) => row.kind === "message");
  assert.deepEqual(rows.map((row) => row.readBy), [[ANN], [ANN], []]);
  assert.deepEqual(rows.map((row) => row.newestRead ?? false), [false, true, false]);
  assert.equal(changes.length, 1);
});

test("a mark that is older than a receipt changes nothing", async () => {
  const { marks, conversations, changes } = setUp(() => [{ userId: ANN, seqId: 2 }]);
  conversations.markRead(PAIR, ANN, 5);
  await marks.show(PAIR);
  assert.equal(conversations.get(PAIR).readBy.get(ANN), 5);
  assert.equal(changes.length, 0);
});

test("marks are asked for once, and again after the connection was lost", async () => {
  const { marks, calls } = setUp(() => []);
  await marks.show(PAIR);
  await marks.show(PAIR);
  await marks.show("group_9");
  await marks.reconnected();
  assert.deepEqual(calls, [PAIR, "group_9", "group_9"]);
  await marks.show(PAIR);
  assert.equal(calls.length, 4);
});

test("in the world nobody's marks are asked for, and before anything is shown none at all", async () => {
  const { marks, calls } = setUp(() => []);
  await marks.reconnected();
  await marks.show("world");
  assert.deepEqual(calls, []);
});

test("one's own mark is left to the list, and a failure to the next look", async () => {
  const { marks, conversations } = setUp((_, call) => (call === 1 ? new Error("down") : [{ userId: ME, seqId: 9 }, { userId: ANN, seqId: 1 }]));
  await marks.show(PAIR);
  await marks.show(PAIR);
  const c = conversations.get(PAIR);
  assert.equal(c.readSeq, 0);
  assert.deepEqual([...c.readBy], [[ANN, 1]]);
});
