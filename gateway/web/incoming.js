// What each frame of the server means for conversations, outbox and people.

import { groupIdOf } from "./conversations.js";
import { oldestOf } from "./past.js";
import { TYPING_SHOWN_MS } from "./people.js";

/** Takes one frame. `chat` holds the state; see chat.js. */
export function receive(chat, type, data) {
  const handle = HANDLERS[type];
  if (!handle) return;
  handle(chat, data);
  chat.onChange();
}

const HANDLERS = {
  hello(chat, { serverTime, resendWindowSeconds }) {
    chat.serverAhead = Date.parse(serverTime) - Date.now() || 0;
    chat.outbox.reconnected(Date.now() + chat.serverAhead, (resendWindowSeconds ?? Infinity) * 1_000);
    chat.connected();
  },

  heads(chat, { heads }) {
    const behind = [];
    for (const [id, seq] of Object.entries(heads ?? {})) {
      if (!chat.conversations.get(id)) chat.history.listSoon();
      else if (chat.conversations.learnHead(id, seq)) behind.push(id);
    }
    chat.catchUp.request(behind);
  },

  message(chat, message) {
    chat.people.stoppedTyping(message.conversationId, message.senderId);
    const isNew = message.seqId > (chat.conversations.get(message.conversationId)?.head ?? 0);
    take(chat, [message]);
    if (isNew && message.event === "message" && message.senderId !== chat.me) chat.onSaid(message);
  },

  "message-ack"(chat, { clientMsgId }) {
    chat.outbox.acked(clientMsgId, Date.now());
  },

  "message-stored"(chat, data) {
    const entry = chat.outbox.get(data.clientMsgId);
    if (entry) {
      chat.outbox.stored(data.clientMsgId, data.seqId);
      take(chat, [asMessage(entry, data, chat.me)]);
    } else if (chat.conversations.learnHead(data.conversationId, data.seqId)) {
      // Said by an earlier life of this page: its content comes by sync.
      chat.catchUp.request([data.conversationId]);
    }
  },

  "sync-result"(chat, answer) {
    const messages = (answer.messages ?? []).map((m) => ({ conversationId: answer.conversationId, ...m }));
    chat.catchUp.answered(answer, take(chat, messages, { isAnswer: true }));
  },

  "read-receipt"(chat, { conversationId, userId, seqId }) {
    const c = chat.conversations.ensure(conversationId);
    // How much of what is not loaded here was read elsewhere only the server knows.
    const isUncounted = userId === chat.me && c.readSeq + 1 < oldestOf(c);
    chat.conversations.markRead(conversationId, userId, seqId);
    if (isUncounted && c.unread > 0) chat.history.listSoon();
  },

  typing(chat, { conversationId, userId }) {
    chat.people.startedTyping(conversationId, userId, Date.now());
    setTimeout(chat.onChange, TYPING_SHOWN_MS + 50);
  },

  presence(chat, { userId, online, lastSeen }) {
    chat.people.presence.set(userId, { online, lastSeen });
  },

  error(chat, error) {
    const entry = error.clientMsgId && chat.outbox.get(error.clientMsgId);
    if (!entry) return chat.onNotice(error.message);
    chat.outbox.refused(entry.clientMsgId, error, Date.now(), Math.random());
    if (entry.syncFirst) chat.catchUp.request([entry.conversationId]);
    if (entry.state === "failed" && entry.type !== "send-message") {
      chat.outbox.drop(entry.clientMsgId);
      chat.onNotice(error.message);
    }
  },
};

/** Takes messages by the rule of the seq. Returns whether any was new. */
function take(chat, messages, { isAnswer = false } = {}) {
  let progress = false;
  for (const message of messages) {
    const id = message.conversationId;
    const taken = chat.conversations.take(message);
    if (taken === "next") progress = true;
    if (taken === "gap" && !isAnswer) chat.catchUp.request([id]);
    if (taken === "next" && message.event === "system") groupChanged(chat, id);
    if (!chat.conversations.get(id).title) chat.history.listSoon();
  }
  settle(chat, messages);
  return progress;
}

/** What a conversation's log has is no longer on its way. */
export function settle(chat, messages) {
  for (const { conversationId, senderId, clientMsgId, seqId } of messages) {
    const isIn = seqId <= (chat.conversations.get(conversationId)?.position ?? 0);
    if (senderId === chat.me && clientMsgId && isIn) chat.outbox.drop(clientMsgId);
  }
}

function groupChanged(chat, conversationId) {
  const groupId = groupIdOf(conversationId);
  if (groupId && chat.groups.get(groupId) && !chat.conversations.get(conversationId).closed) chat.loadGroup(groupId);
}

const EVENT_OF_FRAME = { "send-message": "message", "edit-message": "edit", "recall-message": "recall", react: "reaction" };

/** What the other members get for an entry of ours. */
function asMessage(entry, { conversationId, messageId, seqId, createdAt, clientMsgId }, me) {
  const event = EVENT_OF_FRAME[entry.type];
  return {
    conversationId,
    messageId,
    seqId,
    senderId: me,
    messageType: entry.messageType ?? event,
    content: entry.content ?? entry.emoji ?? "",
    clientMsgId,
    createdAt,
    event,
    targetSeqId: entry.targetSeqId,
    remove: entry.remove,
  };
}
