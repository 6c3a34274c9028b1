// The right side: one conversation with its header, its rows and the composer.

import { composerView } from "./composer-view.js";
import { eventOf, groupIdOf, partnerOf } from "./conversations.js";
import { since } from "./dates.js";
import { confirmed } from "./dialogs.js";
import { avatar, el, icon, reconcile } from "./dom.js";
import { groupDialog } from "./group-view.js";
import { rowView } from "./message-view.js";
import { typingLine } from "./sentences.js";
import { timeline } from "./timeline.js";

const NEAR_END_PX = 80;
const OLDER_WITHIN_PX = 240;
const CLOSED_WORDS = { left: "You are no longer in this group", dissolved: "This group was dissolved" };

/** `onBack()`: to the list, on narrow screens. Returns `{node, open(id), render(), dispose()}`. */
export function chatView(chat, { onBack }) {
  let id = null;
  let unreadAtOpen = 0;
  let unreadFrom = null;
  let atEnd = true;
  let rows = [];
  const listening = new AbortController();
  const nameOf = (userId) => chat.people.nameOf(userId);

  const head = el("header", { class: "chat-head" });
  const log = el("ol", { class: "log" });
  const older = el("div", { class: "older", role: "status" });
  const empty = el("p", { class: "log-empty" });
  const scroller = el("div", { class: "log-scroll", role: "log", tabindex: 0, "aria-label": "Messages", testid: "log" }, older, empty, log);
  const jump = el("button", { class: "jump", type: "button", "aria-label": "To the newest message", hidden: true, on: { click: () => toEnd() } }, icon("down"));
  const typing = el("div", { class: "typing", testid: "typing", "aria-live": "off" });
  const offline = el("div", { class: "offline-line", role: "status" });
  const composer = composerView({
    onSay: (text) => {
      unreadFrom = null;
      atEnd = true;
      chat.say(id, text);
    },
    onEdit: (seq, text) => chat.edit(id, seq, text),
    onTyping: () => chat.typing(id),
    onEditLast: () => {
      const last = rows.findLast((row) => row.mine && row.seq && !row.recalled && row.state === "stored");
      if (last) composer.edit(last);
    },
  });
  const body = el("div", { class: "log-frame" }, scroller, jump);
  const open = el("section", { class: "chat", "aria-label": "Conversation", hidden: true }, head, body, typing, offline, composer.node);
  const none = el("section", { class: "chat-none" }, icon("people"), el("p", {}, "Choose a conversation, or start one by username."));
  const node = el("main", { class: "pane" }, none, open);

  const actions = {
    edit: (row) => composer.edit(row),
    recall: async (row) => {
      const yes = await confirmed("Withdraw this message?", "It disappears for everyone in this conversation.", "Withdraw");
      if (yes) chat.recall(id, row.seq);
    },
    react: (seq, emoji, remove) => chat.react(id, seq, emoji, remove),
    retry: (clientMsgId) => chat.retry(clientMsgId),
    discard: (clientMsgId) => chat.discard(clientMsgId),
  };

  const toEnd = () => {
    scroller.scrollTop = scroller.scrollHeight;
    atEnd = true;
  };
  const looked = () => {
    const isVisible = document.visibilityState === "visible" && document.hasFocus();
    if (id && isVisible && atEnd) chat.read(id);
  };
  scroller.addEventListener("scroll", () => {
    const left = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    atEnd = left < NEAR_END_PX;
    jump.hidden = left < scroller.clientHeight / 2;
    if (scroller.scrollTop < OLDER_WITHIN_PX) chat.history.older(id);
    looked();
  });
  log.addEventListener("click", ({ target }) => {
    // Without a pointer that hovers, a tap shows what can be done with a message.
    const touched = target.closest("button, a") ? null : target.closest(".message");
    for (const other of log.querySelectorAll(".is-touched")) if (other !== touched) other.classList.remove("is-touched");
    touched?.classList.toggle("is-touched");
  });
  window.addEventListener("focus", looked, { signal: listening.signal });
  document.addEventListener("visibilitychange", looked, { signal: listening.signal });

  const renderLog = (c) => {
    if (unreadAtOpen > 0 && c.log.length > 0 && !chat.history.loading.has(id)) {
      unreadFrom = firstUnread(c, unreadAtOpen, chat.me) - 1;
      unreadAtOpen = 0;
    }
    const view = { kind: c.kind, me: chat.me, nameOf, actions, closed: c.closed !== null };
    const oldFirst = rows.find((row) => row.kind === "message" || row.kind === "system")?.key;
    rows = timeline(c, chat.outbox.of(id), chat.me, unreadFrom);
    const firstIndex = rows.findIndex((row) => row.key === oldFirst);
    const grewAbove = firstIndex > 1 && log.childElementCount > 0;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    reconcile(log, rows, {
      key: (row) => row.key,
      sign: (row) => JSON.stringify([row, view.closed, namesIn(row, view)]),
      build: (row) => rowView(row, view),
    });
    if (atEnd) toEnd();
    else if (grewAbove) scroller.scrollTop = scroller.scrollHeight - fromEnd;
    const isLoading = chat.history.loading.has(id);
    older.textContent = isLoading ? "Loading earlier messages…" : "";
    empty.textContent = rows.length === 0 && !isLoading ? "Nothing here yet. Say hello." : "";
    if (!isLoading && c.hasOlder && scroller.scrollHeight <= scroller.clientHeight) chat.history.older(id);
  };

  const render = () => {
    open.hidden = id === null;
    none.hidden = id !== null;
    if (id === null) return;
    const c = chat.conversations.ensure(id);
    const online = chat.socket.state === "online";
    renderHead(head, chat, c, onBack);
    typing.textContent = typingLine(chat.people.typingIn(id, Date.now()), nameOf);
    offline.textContent = online ? "" : "Not connected. What you write is sent once the connection is back.";
    composer.close(c.closed ? CLOSED_WORDS[c.closed] : null);
    renderLog(c);
    looked();
  };

  return {
    node,
    open(next) {
      if (next === id) return;
      id = next;
      log.replaceChildren();
      log.rows = new Map();
      rows = [];
      atEnd = true;
      if (id === null) return;
      const c = chat.conversations.ensure(id);
      unreadAtOpen = c.unread;
      unreadFrom = null;
      composer.open(id);
      chat.open(id);
      if (matchMedia("(hover: hover)").matches) composer.focus();
    },
    render,
    dispose: () => listening.abort(),
  };
}

/** The seq of the oldest of the newest `count` messages of others, as far as they are loaded. */
function firstUnread(c, count, me) {
  const others = c.log.filter((m) => eventOf(m) === "message" && m.senderId !== me);
  return others.at(-Math.min(count, others.length))?.seqId ?? Infinity;
}

/** Names that a row shows: it is drawn anew when one becomes known. */
function namesIn(row, { kind, nameOf }) {
  if (row.kind === "system") return (row.message.content.match(/\d{3,}/g) ?? []).map(nameOf);
  if (row.kind !== "message") return null;
  const shown = kind === "single" ? [] : [row.senderId, ...row.readBy];
  return [...shown, ...row.reactions.flatMap((reaction) => reaction.userIds)].map(nameOf);
}

function renderHead(head, chat, c, onBack) {
  const title = chat.people.titleOf(c);
  const partner = partnerOf(c.id, chat.me);
  const presence = partner ? chat.people.presence.get(partner) : null;
  const groupId = groupIdOf(c.id);
  const subtitle = subtitleOf(c, presence, chat.groups.get(groupId));
  const item = { title, subtitle, online: partner ? presence?.online === true : null, id: c.id, closed: c.closed };
  reconcile(head, [item], {
    key: () => "head",
    sign: JSON.stringify,
    build: () =>
      el(
        "div",
        { class: "chat-head-line" },
        el("button", { class: "quiet icon-only back", type: "button", "aria-label": "Back to conversations", testid: "back", on: { click: onBack } }, icon("back")),
        avatar(partner ?? c.id, title, { kind: c.kind, online: item.online }),
        el(
          "div",
          { class: "chat-title" },
          el("h2", { testid: "chat-title" }, title),
          el("p", { class: item.online ? "is-online" : "", testid: "chat-subtitle" }, subtitle),
        ),
        groupId && !c.closed
          ? el(
              "button",
              { class: "quiet icon-only", type: "button", "aria-label": "About this group", title: "About this group", testid: "group-info", on: { click: () => groupDialog(chat, groupId, c) } },
              icon("info"),
            )
          : null,
      ),
  });
}

function subtitleOf(c, presence, group) {
  switch (c.kind) {
    case "world":
      return "Open to everyone";
    case "group":
      if (c.closed) return CLOSED_WORDS[c.closed];
      return group ? `${group.group.memberCount ?? group.members.length} members` : "Group";
    default:
      if (!presence) return " ";
      if (presence.online) return "online";
      return presence.lastSeen ? `last seen ${since(presence.lastSeen)}` : "offline";
  }
}
