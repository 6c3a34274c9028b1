// The right side: one conversation with its header, its log and the composer.

import { isolated, sentence } from "./bidi.js";
import { composerView } from "./composer-view.js";
import { groupIdOf, partnerOf } from "./conversations.js";
import { since } from "./dates.js";
import { confirmed } from "./dialogs.js";
import { avatar, el, icon, reconcile } from "./dom.js";
import { groupDialog } from "./group-view.js";
import { logView } from "./log-view.js";
import { typingLine } from "./sentences.js";

const CLOSED_WORDS = { left: "You are no longer in this group", dissolved: "This group was dissolved" };

/** `onBack()`: to the list, on narrow screens. Returns `{node, open(id), render(), dispose()}`. */
export function chatView(chat, { onBack }) {
  let id = null;
  const nameOf = (userId) => chat.people.nameOf(userId);
  const actions = {
    edit: (row) => composer.edit(row),
    recall: async (row) => {
      const at = id;
      const yes = await confirmed("Withdraw this message?", "It disappears for everyone in this conversation.", "Withdraw");
      if (yes) chat.recall(at, row.seq);
    },
    react: (seq, emoji, remove) => chat.react(id, seq, emoji, remove),
    retry: (clientMsgId) => chat.retry(clientMsgId),
    discard: (clientMsgId) => chat.discard(clientMsgId),
  };
  const log = logView(chat, actions);
  const composer = composerView({
    onSay: (text) => {
      log.toNewest();
      chat.say(id, text);
    },
    onEdit: (seq, text) => chat.edit(id, seq, text),
    onTyping: () => chat.typing(id),
    onEditLast: () => {
      const last = log.rows.findLast((row) => row.mine && row.seq && !row.recalled && row.state === "stored");
      if (last) composer.edit(last);
    },
  });

  const head = el("header", { class: "chat-head" });
  const typing = el("div", { class: "typing", testid: "typing", "aria-live": "off" });
  const offline = el("div", { class: "offline-line", role: "status" });
  const open = el("section", { class: "chat", "aria-label": "Conversation", hidden: true }, head, log.node, typing, offline, composer.node);
  const none = el("section", { class: "chat-none", "aria-label": "No conversation" }, icon("people"), el("p", {}, "Choose a conversation, or start one by username."));
  const node = el("main", { class: "pane" }, none, open);

  const render = () => {
    open.hidden = id === null;
    none.hidden = id !== null;
    if (id === null) return;
    const c = chat.conversations.ensure(id);
    const online = chat.socket.state === "online";
    renderHead(head, chat, c, onBack);
    renderPieces(typing, typingLine(chat.people.typingIn(id, Date.now()), nameOf));
    offline.textContent = online ? "" : "Not connected. What you write is sent once the connection is back.";
    composer.close(c.closed ? CLOSED_WORDS[c.closed] : null);
    log.render(c);
  };

  return {
    node,
    open(next) {
      if (next === id) return;
      id = next;
      log.open(id);
      if (id === null) return;
      composer.open(id);
      chat.open(id);
      if (matchMedia("(hover: hover)").matches) composer.focus();
    },
    render,
    /** Whether this conversation is the one that is shown. */
    shows: (other) => other === id,
    dispose: () => log.dispose(),
  };
}

function renderPieces(parent, pieces) {
  reconcile(parent, [pieces], { key: () => "line", sign: JSON.stringify, build: () => el("span", {}, pieces) });
}

function renderHead(head, chat, c, onBack) {
  const title = chat.people.titleOf(c);
  const partner = partnerOf(c.id, chat.me);
  const presence = partner ? chat.people.presence.get(partner) : null;
  const groupId = groupIdOf(c.id);
  const subtitle = subtitleOf(c, presence, chat.groups.get(groupId));
  const url = partner ? chat.people.pictureOf(partner) : "";
  const item = { title, subtitle, url, online: partner ? presence?.online === true : null, id: c.id, closed: c.closed };
  reconcile(head, [item], {
    key: () => "head",
    sign: JSON.stringify,
    build: () =>
      el(
        "div",
        { class: "chat-head-line" },
        el("button", { class: "quiet icon-only back", type: "button", "aria-label": "Back to conversations", testid: "back", on: { click: onBack } }, icon("back")),
        avatar(partner ?? c.id, title, { kind: c.kind, online: item.online, url }),
        el(
          "div",
          { class: "chat-title" },
          el("h2", { testid: "chat-title", title }, isolated(title)),
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
      return group ? membersLine(group.group.memberCount ?? group.members.length) : "Group";
    default:
      if (!presence) return " ";
      if (presence.online) return "online";
      return presence.lastSeen ? sentence`last seen ${isolated(since(presence.lastSeen))}` : "offline";
  }
}

function membersLine(count) {
  return count === 1 ? "1 member" : `${count} members`;
}
