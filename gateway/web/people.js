// What this client knows of users: names, pictures, who is online, who is typing. Whose name is asked for
// is told to `onAsked`, which looks them up; until then an id stands for them.

import { kindOf, partnerOf } from "./conversations.js";

/** Somebody is shown as typing this long after their last typing frame. */
export const TYPING_SHOWN_MS = 5_000;

export class People {
  constructor(me, { onAsked = () => {} } = {}) {
    this.me = me;
    this.onAsked = onAsked;
    this.names = new Map();
    this.pictures = new Map(); // userId → web address
    this.presence = new Map(); // userId → { online, lastSeen }
    this.typing = new Map(); // conversationId → Map of userId → until (ms)
  }

  learn(userId, name) {
    if (userId && name) this.names.set(String(userId), name);
  }

  /** Takes `{userId, username, displayName, avatarUrl?}`. */
  learnUser(user) {
    this.learn(user.userId, user.displayName || user.username);
    if (user.avatarUrl !== undefined) this.pictures.set(String(user.userId), user.avatarUrl);
  }

  /** The title of a pair is the other user's name. */
  learnTitle(conversation) {
    const partner = partnerOf(conversation.id, this.me);
    if (partner) this.learn(partner, conversation.title);
  }

  nameOf(userId) {
    this.onAsked(userId);
    return this.names.get(userId) ?? `User …${String(userId).slice(-4)}`;
  }

  pictureOf(userId) {
    return this.pictures.get(userId) ?? "";
  }

  titleOf(conversation) {
    switch (kindOf(conversation.id)) {
      case "single":
        return this.nameOf(partnerOf(conversation.id, this.me));
      case "group":
        return conversation.title || "Group";
      default:
        return conversation.title || "World";
    }
  }

  startedTyping(conversationId, userId, now) {
    if (userId === this.me) return;
    if (!this.typing.has(conversationId)) this.typing.set(conversationId, new Map());
    this.typing.get(conversationId).set(userId, now + TYPING_SHOWN_MS);
  }

  stoppedTyping(conversationId, userId) {
    this.typing.get(conversationId)?.delete(userId);
  }

  typingIn(conversationId, now) {
    const users = this.typing.get(conversationId) ?? new Map();
    return [...users].filter(([, until]) => until > now).map(([userId]) => userId);
  }

  /** Without a connection nobody knows who is there. */
  forgetPresence() {
    this.presence.clear();
    this.typing.clear();
  }
}
