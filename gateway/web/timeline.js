// Turns what is known of a conversation into the rows that a reader sees, as plain values: edits,
// recalls and reactions are folded into their targets, what is still on its way out stands at the end,
// days are told apart. Pure logic.

import { eventOf } from "./conversations.js";
import { dayOf } from "./dates.js";
import { shownPart } from "./past.js";

/** Messages of one sender that follow within this time stand together. */
const CLUSTER_MS = 5 * 60_000;

/**
 * Rows oldest first. Each has a `key` that stays the same from the first attempt to the stored message.
 * `unread`: `{from, count}`, a line after the seq `from` says that what follows is unread; or null.
 */
export function timeline(conversation, pending, me, unread = null) {
  const { past, log } = conversation;
  const changes = changesOf(past ? [...past.log, ...log] : log, pending);
  const inLog = new Set();
  const rows = [];
  for (const message of shownPart(conversation).log) {
    if (message.senderId === me && message.clientMsgId) inLog.add(message.clientMsgId);
    const event = eventOf(message);
    if (event === "system") rows.push(systemRow(message));
    else if (event === "message") rows.push(storedRow(message, changes.get(message.seqId), conversation, me));
  }
  for (const entry of past ? [] : pending) {
    if (entry.type === "send-message" && !inLog.has(entry.clientMsgId)) rows.push(pendingRow(entry, me));
  }
  markNewestRead(rows);
  return withSeparators(clustered(rows), unread, me);
}

/** What later events, and those on their way out, make of each target seq. */
function changesOf(log, pending) {
  const byTarget = new Map();
  const of = (seq) => {
    if (!byTarget.has(seq)) byTarget.set(seq, { content: null, recalled: false, reactions: new Map() });
    return byTarget.get(seq);
  };
  const settled = new Set(log.map((m) => m.clientMsgId));
  const react = (change, emoji, userId, remove) => {
    const users = change.reactions.get(emoji) ?? new Set();
    if (remove) users.delete(userId);
    else users.add(userId);
    change.reactions.set(emoji, users);
  };
  for (const m of log) {
    switch (eventOf(m)) {
      case "edit":
        of(m.targetSeqId).content = m.content;
        break;
      case "recall":
        of(m.targetSeqId).recalled = true;
        break;
      case "reaction":
        react(of(m.targetSeqId), m.content, m.senderId, m.remove === true);
        break;
    }
  }
  for (const entry of pending) {
    if (settled.has(entry.clientMsgId) || entry.state === "failed") continue;
    if (entry.type === "edit-message") of(entry.targetSeqId).content = entry.content;
    if (entry.type === "recall-message") of(entry.targetSeqId).recalled = true;
    if (entry.type === "react") react(of(entry.targetSeqId), entry.emoji, entry.userId, entry.remove);
  }
  return byTarget;
}

function systemRow(message) {
  return { key: `s:${message.seqId}`, kind: "system", seq: message.seqId, at: message.createdAt, message };
}

function storedRow(message, change, conversation, me) {
  const mine = message.senderId === me;
  // History gives a target in its present state: a recalled one is blank.
  const recalled = change?.recalled === true || message.recalled === true || message.content === "";
  const reactions = [...(change?.reactions ?? [])]
    .filter(([, users]) => users.size > 0)
    .map(([emoji, users]) => ({ emoji, userIds: [...users], mine: users.has(me) }));
  return {
    key: mine && message.clientMsgId ? `c:${message.clientMsgId}` : `s:${message.seqId}`,
    kind: "message",
    seq: message.seqId,
    at: message.createdAt,
    senderId: message.senderId,
    mine,
    messageType: message.messageType,
    text: recalled ? "" : (change?.content ?? message.content),
    edited: !recalled && (change?.content != null || message.editedAt != null),
    recalled,
    reactions: recalled ? [] : reactions,
    state: mine ? "stored" : "received",
    readBy: mine ? [...conversation.readBy].filter(([, seq]) => seq >= message.seqId).map(([user]) => user) : [],
  };
}

const SHOWN_STATE = { queued: "pending", sent: "pending", accepted: "accepted", stored: "stored", failed: "failed" };

function pendingRow(entry, me) {
  return {
    key: `c:${entry.clientMsgId}`,
    kind: "message",
    seq: entry.seqId ?? null,
    at: new Date(entry.createdAt).toISOString(),
    senderId: me,
    mine: true,
    messageType: entry.messageType,
    text: entry.content,
    edited: false,
    recalled: false,
    reactions: [],
    state: SHOWN_STATE[entry.state],
    readBy: [],
    clientMsgId: entry.clientMsgId,
    error: entry.error ?? null,
  };
}

function markNewestRead(rows) {
  const newest = rows.findLast((row) => row.mine && row.readBy.length > 0);
  if (newest) newest.newestRead = true;
}

function clustered(rows) {
  rows.forEach((row, i) => {
    const before = rows[i - 1];
    const together =
      row.kind === "message" &&
      before?.kind === "message" &&
      before.senderId === row.senderId &&
      dayOf(before.at) === dayOf(row.at) &&
      Date.parse(row.at) - Date.parse(before.at) < CLUSTER_MS;
    row.startsCluster = !together;
    if (before) before.endsCluster = !together;
    row.endsCluster = true;
  });
  return rows;
}

function withSeparators(rows, unread, me) {
  const out = [];
  let day = null;
  let lineDrawn = unread === null;
  for (const row of rows) {
    if (dayOf(row.at) !== day) {
      day = dayOf(row.at);
      out.push({ key: `d:${day}`, kind: "day", at: row.at });
    }
    if (!lineDrawn && row.kind === "message" && row.senderId !== me && row.seq > unread.from) {
      lineDrawn = true;
      row.startsCluster = true;
      out.push({ key: "unread", kind: "unread", at: row.at, count: unread.count });
    }
    out.push(row);
  }
  return out;
}
