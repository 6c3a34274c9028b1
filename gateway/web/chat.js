// The client without its views: holds conversations, outbox and people, keeps them in step with the
// server, and offers what a user can do. Views hear of changes by `onChange`.

import { CatchUp } from "./catchup.js";
import { Conversations, groupIdOf, pairId, partnerOf } from "./conversations.js";
import { Groups } from "./groups.js";
import { History } from "./history.js";
import { receive, settle } from "./incoming.js";
import { Lookups } from "./lookups.js";
import { Outbox } from "./outbox.js";
import { oldestOf } from "./past.js";
import { People } from "./people.js";
import { Reading } from "./reading.js";
import { ReadMarks } from "./readmarks.js";
import { Socket } from "./socket.js";

/** Bytes of UTF-8 in a message. */
export const CONTENT_BYTES_MAX = 8_192;
/** Opening a conversation with fewer events than this loads a page of history. */
const OPEN_EVENTS_MIN = 25;
const TYPING_EVERY_MS = 3_000;
const TICK_MS = 1_000;
const LISTED_LATELY_MS = 2_000;

export class Chat {
  /** `onChange()`: something to show has changed. `onNotice(text)`. `onEnd(text)`: signed out.
   *  `onSaid(message)`: somebody else has just said something. */
  constructor({ api, session, onChange, onNotice, onEnd, onSaid = () => {} }) {
    Object.assign(this, { api, session, onChange, onNotice, onSaid });
    this.me = session.current.userId;
    this.device = `web-${newKey()}`;
    this.lookups = new Lookups({ load: (ids) => this.#usersById(ids), onUsers: () => this.onChange() });
    this.people = new People(this.me, { onAsked: (userId) => this.lookups.want(userId) });
    this.people.learn(this.me, session.current.username);
    this.conversations = new Conversations(this.me);
    this.groups = new Groups(api, this.people);
    this.outbox = new Outbox(session.outboxStorage);
    this.serverAhead = 0; // ms that the server's clock is ahead of ours
    this.typingSent = new Map();
    const { conversations, people } = this;
    this.history = new History({
      ...{ api, conversations, people, onChange, onNotice },
      onLoaded: (messages) => settle(this, messages),
      onListed: (behind, readHere) => this.#listed(behind, readHere),
    });
    this.readMarks = new ReadMarks({ api, conversations, onChange });
    this.reading = new Reading({ conversations, onChange, send: (type, data) => this.socket.send(type, data) });
    this.catchUp = new CatchUp({
      conversations,
      send: (type, data) => this.socket.send(type, data),
      restart: (id) => this.history.restart(id),
      done: (id) => this.#caughtUp(id),
    });
    this.socket = new Socket({
      url: (how) => this.#address(how),
      onFrame: (type, data) => receive(this, type, data),
      onState: (state) => this.#connection(state),
      onEnd: (reason) => onEnd(ENDED[reason]),
    });
  }

  start() {
    this.ticker = setInterval(() => this.#tick(), TICK_MS);
    this.socket.start();
    this.lookups.want(this.me);
    return this.history.list().then(() => {
      // What was said before a reload may have been stored meanwhile: the history tells.
      for (const id of new Set([...this.outbox.entries.values()].map((e) => e.conversationId))) this.history.older(id);
    });
  }

  stop() {
    clearInterval(this.ticker);
    this.reading.tell();
    this.lookups.stop();
    this.history.stop();
    this.catchUp.reset();
    this.socket.stop();
  }

  // ------------------------------------------------------------------ what a user does

  say(conversationId, content) {
    this.#add({ type: "send-message", conversationId, messageType: "text", content });
  }

  edit(conversationId, targetSeqId, content) {
    this.#add({ type: "edit-message", conversationId, targetSeqId, content });
  }

  recall(conversationId, targetSeqId) {
    this.#add({ type: "recall-message", conversationId, targetSeqId });
  }

  react(conversationId, targetSeqId, emoji, remove) {
    this.#add({ type: "react", conversationId, targetSeqId, emoji, remove, userId: this.me });
  }

  retry(clientMsgId) {
    this.outbox.retry(clientMsgId);
    this.#pump();
    this.onChange();
  }

  discard(clientMsgId) {
    this.outbox.drop(clientMsgId);
    this.onChange();
  }

  typing(conversationId) {
    const now = Date.now();
    if (now - (this.typingSent.get(conversationId) ?? 0) < TYPING_EVERY_MS) return;
    this.typingSent.set(conversationId, now);
    this.socket.send("typing", { conversationId });
  }

  /** Changes the user's own profile; resolves to the user as it is now. */
  async changeProfile(change) {
    const user = await this.api.changeMe(change);
    this.people.learnUser(user);
    this.onChange();
    return user;
  }

  /** Resolves to the id of the conversation with that user. */
  async startPair(username) {
    const user = await this.groups.userNamed(username);
    if (user.userId === this.me) throw new Error("That is you. Name somebody else.");
    const id = pairId(this.me, user.userId);
    this.conversations.ensure(id).title ??= user.displayName || user.username;
    this.#watchPartners();
    this.onChange();
    return id;
  }

  /** Resolves to the id of the new group's conversation. */
  async createGroup(name, usernames) {
    const group = await this.groups.create(name, usernames);
    const id = `group_${group.groupId}`;
    const c = this.conversations.ensure(id);
    c.title ??= group.name;
    c.updatedAt ||= new Date().toISOString();
    this.onChange();
    return id;
  }

  /** Loads what a view of the conversation needs: around the first unread message, or the newest. */
  open(conversationId) {
    const c = this.conversations.ensure(conversationId);
    c.past = null;
    if (c.unread > 0 && c.position !== null && c.readSeq + 1 < oldestOf(c)) this.history.around(conversationId, c.readSeq);
    else if (c.log.length < OPEN_EVENTS_MIN) this.history.older(conversationId);
    this.readMarks.show(conversationId);
    const groupId = groupIdOf(conversationId);
    if (groupId && !this.groups.get(groupId) && !c.closed) this.loadGroup(groupId);
  }

  /** Turns from an older part of the history back to the newest messages. */
  showNewest(conversationId) {
    const c = this.conversations.ensure(conversationId);
    c.past = null;
    if (c.log.length < OPEN_EVENTS_MIN) this.history.older(conversationId);
  }

  loadGroup(groupId) {
    return this.groups.load(groupId).then(this.onChange, (error) => {
      if (error.status >= 500) this.onNotice(error.message);
    });
  }

  // ------------------------------------------------------------------ behind the scenes

  /** The server has said hello: asks for what was missed, and sends what waits. */
  connected() {
    this.catchUp.reset();
    this.history.failed.clear();
    this.readMarks.reconnected();
    this.reading.tell();
    const known = [...this.conversations.byId.values()];
    const wanted = known.filter((c) => (c.position !== null && !c.closed) || this.outbox.of(c.id).length > 0);
    this.catchUp.request(wanted.map((c) => c.id));
    this.#watchPartners();
    this.#pump();
    if (Date.now() - this.history.listedAt > LISTED_LATELY_MS) this.history.list();
  }

  #connection(state) {
    if (state !== "online") {
      this.catchUp.reset();
      this.people.forgetPresence();
    }
    this.onChange();
  }

  async #address({ renew, failures }) {
    // A refused handshake looks like a dead server: a call tells which, and renews a token that is bad.
    if (failures >= 2) await this.api.me();
    const token = await this.api.accessToken({ renewed: renew });
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    return `${scheme}//${location.host}/ws?${new URLSearchParams({ token, device: this.device })}`;
  }

  async #usersById(ids) {
    const { users } = await this.api.usersById(ids);
    for (const user of users) this.people.learnUser(user);
    return users;
  }

  #add(entry) {
    this.outbox.add({ clientMsgId: newKey(), ...entry }, Date.now());
    this.#pump();
    this.onChange();
  }

  #pump() {
    if (this.socket.state !== "online") return;
    const now = Date.now();
    for (const entry of this.outbox.due(now)) {
      this.socket.send(entry.type, this.outbox.sending(entry, now, now + this.serverAhead));
    }
  }

  #tick() {
    if (this.outbox.isEmpty || this.socket.state !== "online") return;
    this.catchUp.request(this.outbox.overdue(Date.now()));
    this.#pump();
    this.onChange();
  }

  #listed(behind, readHere) {
    if (this.socket.state === "online") this.catchUp.request(behind);
    for (const { id, readSeq } of readHere) this.socket.send("mark-read", { conversationId: id, seqId: readSeq });
    this.#watchPartners();
  }

  #caughtUp(id) {
    const c = this.conversations.ensure(id);
    this.outbox.synced(id, (entry) => !c.hasOlder || c.log[0]?.createdAt <= entry.sentAt);
    this.#pump();
    this.onChange();
  }

  #watchPartners() {
    const partners = [...this.conversations.byId.keys()].map((id) => partnerOf(id, this.me)).filter(Boolean);
    if (partners.length > 0) this.socket.send("subscribe-presence", { userIds: partners });
  }
}

const ENDED = {
  replaced: "You were signed out: this session was ended or replaced elsewhere.",
  unauthenticated: "Your session has ended. Please sign in again.",
};

/** 128 random bits: `crypto.randomUUID` is missing where a page is not served securely. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
