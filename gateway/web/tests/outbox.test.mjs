// What was said is sent until the server has it, under one key, and nothing overtakes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ATTEMPTS_MAX, Outbox } from "../outbox.js";

const NOW = 1_750_000_000_000;
const HOUR = 3_600_000;
const ID = "world";

const say = (outbox, clientMsgId, conversationId = ID) =>
  outbox.add({ clientMsgId, conversationId, type: "send-message", messageType: "text", content: clientMsgId }, NOW);
const sendDue = (outbox, now) => outbox.due(now).map((entry) => outbox.sending(entry, now, now));
const keys = (frames) => frames.map((frame) => frame.clientMsgId);

test("an entry goes out once, with the time of its first attempt", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  const [frame] = sendDue(outbox, NOW);
  assert.deepEqual(frame, { clientMsgId: "a", conversationId: ID, messageType: "text", content: "a", sentAt: new Date(NOW).toISOString() });
  assert.deepEqual(sendDue(outbox, NOW + 1), []);
});

test("after a reconnect what had no ack goes out again, in order, with the same key and time", () => {
  const outbox = new Outbox();
  for (const key of ["a", "b", "c"]) say(outbox, key);
  sendDue(outbox, NOW);
  outbox.acked("a", NOW);
  outbox.reconnected(NOW + 5_000, HOUR);
  const frames = sendDue(outbox, NOW + 5_000);
  assert.deepEqual(keys(frames), ["b", "c"]);
  assert.equal(frames[0].sentAt, new Date(NOW).toISOString());
});

test("beyond the resend window it waits for a sync, then starts anew where it is not there", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  const later = NOW + HOUR + 1;
  outbox.reconnected(later, HOUR);
  say(outbox, "b");
  assert.deepEqual(sendDue(outbox, later), [], "b does not overtake a");
  outbox.synced(ID, () => true);
  const frames = sendDue(outbox, later);
  assert.deepEqual(keys(frames), ["a", "b"]);
  assert.equal(frames[0].sentAt, new Date(later).toISOString());
});

test("where the history does not reach back, the user decides", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  outbox.reconnected(NOW + 2 * HOUR, HOUR);
  outbox.synced(ID, () => false);
  assert.equal(outbox.get("a").state, "failed");
  outbox.retry("a");
  assert.deepEqual(keys(sendDue(outbox, NOW + 2 * HOUR)), ["a"]);
});

test("Expired asks for a sync first", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  outbox.refused("a", { name: "Expired", message: "", retryable: false }, NOW, 0.5);
  assert.equal(outbox.get("a").syncFirst, true);
  assert.deepEqual(sendDue(outbox, NOW + HOUR), []);
});

test("a retryable refusal waits longer each time, holds back what follows, and ends as failed", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  say(outbox, "b");
  say(outbox, "elsewhere", "group_1");
  let now = NOW;
  const busy = { name: "Busy", message: "Busy.", retryable: true };
  assert.deepEqual(keys(sendDue(outbox, now)), ["a", "b", "elsewhere"]);
  outbox.refused("a", busy, now, 0.5);
  outbox.refused("b", busy, now, 0);
  assert.deepEqual(sendDue(outbox, now + 1_200), [], "b is due, but a is before it");
  for (let attempt = 2; attempt <= ATTEMPTS_MAX; attempt += 1) {
    now += 60_000;
    assert.ok(keys(sendDue(outbox, now)).includes("a"), `attempt ${attempt}`);
    outbox.refused("a", busy, now, 0.5);
  }
  assert.equal(outbox.get("a").state, "failed");
  assert.equal(outbox.get("a").error, "Busy.");
});

test("other refusals are failed at once; trying again keeps the key", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  outbox.refused("a", { name: "PermissionDenied", message: "No.", retryable: false }, NOW, 0);
  assert.equal(outbox.get("a").state, "failed");
  assert.deepEqual(sendDue(outbox, NOW + HOUR), []);
  outbox.retry("a");
  assert.deepEqual(keys(sendDue(outbox, NOW + HOUR)), ["a"]);
});

test("a late refusal does not undo an ack, nor a late ack a seq", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  outbox.acked("a", NOW);
  outbox.refused("a", { name: "Internal", message: "", retryable: false }, NOW, 0);
  assert.equal(outbox.get("a").state, "accepted");
  outbox.stored("a", 7);
  outbox.acked("a", NOW);
  assert.equal(outbox.get("a").state, "stored");
});

test("without an ack it is sent again; accepted but not stored is looked for, less and less often", () => {
  const outbox = new Outbox();
  say(outbox, "a");
  sendDue(outbox, NOW);
  assert.deepEqual(outbox.overdue(NOW + 1_000), []);
  assert.equal(outbox.get("a").state, "sent");
  outbox.overdue(NOW + 9_000);
  assert.deepEqual(keys(sendDue(outbox, NOW + 9_000)), ["a"]);
  outbox.acked("a", NOW + 9_000);
  assert.deepEqual(outbox.overdue(NOW + 10_000), []);
  assert.deepEqual(outbox.overdue(NOW + 14_000), [ID]);
  assert.deepEqual(outbox.overdue(NOW + 19_000), []);
});

test("a reload keeps what has no ack, and forgets what was accepted", () => {
  let kept = [];
  const storage = { load: () => structuredClone(kept), save: (entries) => (kept = structuredClone(entries)) };
  const before = new Outbox(storage);
  for (const key of ["a", "b", "c"]) say(before, key);
  sendDue(before, NOW);
  before.acked("a", NOW);
  before.refused("b", { name: "InvalidInput", message: "No.", retryable: false }, NOW, 0);
  const after = new Outbox(storage);
  assert.deepEqual(after.of(ID).map((e) => [e.clientMsgId, e.state]), [["b", "failed"], ["c", "queued"]]);
});
