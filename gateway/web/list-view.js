// The left side: the connection's state, starting chats, the list of conversations, who is signed in.

import { isolated } from "./bidi.js";
import { partnerOf } from "./conversations.js";
import { DATE_LANGUAGE, briefly, fullTime } from "./dates.js";
import { avatar, el, icon, reconcile } from "./dom.js";
import { submits } from "./forms.js";
import { newGroupDialog } from "./group-view.js";
import { profileDialog } from "./profile-view.js";
import { roving } from "./roving.js";
import { preview } from "./sentences.js";

const MORE_WITHIN_PX = 200;

/** `onSelect(conversationId)`, `onSignOut()`. Returns `{node, render(selected)}`. */
export function listView(chat, { onSelect, onSignOut }) {
  const state = el("span", { class: "connection", role: "status", testid: "connection-state" });
  const list = el("ul", { class: "conversations", "aria-label": "Conversations" });
  const scroller = el("nav", { class: "conversation-scroll", "aria-label": "Conversations" }, list);
  scroller.addEventListener("scroll", () => {
    if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < MORE_WITHIN_PX) chat.history.listMore();
  });
  const { username } = chat.session.current;
  const me = el("div", { class: "me" });
  const rove = roving(list, () => [...list.querySelectorAll(".conversation")], {
    first: (all) => all.find((item) => item.matches("[aria-current=true]")) ?? all[0],
  });
  const node = el(
    "aside",
    { class: "sidebar" },
    el(
      "header",
      { class: "sidebar-head" },
      el("img", { src: "/assets/icon.svg", alt: "", width: 28, height: 28 }),
      el("h1", {}, "GoChat"),
      state,
    ),
    newChat(chat, onSelect),
    scroller,
    el(
      "footer",
      { class: "sidebar-foot" },
      me,
      el(
        "button",
        { class: "quiet icon-only", type: "button", testid: "sign-out", "aria-label": "Sign out", title: "Sign out", on: { click: onSignOut } },
        icon("leave"),
      ),
    ),
  );

  const render = (selected) => {
    state.textContent = chat.socket.state;
    state.className = `connection is-${chat.socket.state}`;
    reconcile(list, rows(chat, selected), {
      key: (row) => row.id,
      sign: JSON.stringify,
      build: (row) => conversationItem(row, () => onSelect(row.id)),
    });
    rove();
    const own = { name: chat.people.nameOf(chat.me), url: chat.people.pictureOf(chat.me) };
    reconcile(me, [own], { key: () => "me", sign: JSON.stringify, build: () => profileButton(chat, username, own) });
  };
  return { node, render };
}

function profileButton(chat, username, { name, url }) {
  return el(
    "button",
    { class: "me-button", type: "button", testid: "show-profile", title: "Profile and settings", on: { click: () => profileDialog(chat) } },
    avatar(chat.me, name, { url }),
    el("span", { class: "me-names" }, el("span", { class: "me-name", testid: "current-name" }, isolated(name)), el("small", { testid: "current-user" }, username)),
    el("span", { class: "for-readers" }, ": profile and settings"),
    icon("settings"),
  );
}

function newChat(chat, onSelect) {
  const input = el("input", {
    name: "username",
    type: "text",
    placeholder: "Chat with a username",
    "aria-label": "Username to chat with",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: 32,
    testid: "new-chat-username",
  });
  const start = el("button", { class: "secondary icon-only", type: "submit", testid: "new-chat-submit", "aria-label": "Start chat", title: "Start chat" }, icon("plus"));
  const group = el(
    "button",
    { class: "secondary icon-only", type: "button", testid: "show-new-group", "aria-label": "New group", title: "New group", on: { click: () => newGroupDialog(chat, onSelect) } },
    icon("people"),
  );
  const form = el("form", { class: "new-chat", role: "search" }, input, start, group);
  return submits(form, async () => {
    const name = input.value.trim().replace(/^@/, "");
    if (!name) {
      input.focus();
      return;
    }
    onSelect(await chat.startPair(name));
    input.value = "";
  }, () => "username");
}

function rows(chat, selected) {
  return chat.conversations.sorted().map((c) => {
    const partner = partnerOf(c.id, chat.me);
    const typing = chat.people.typingIn(c.id, Date.now()).length > 0;
    return {
      id: c.id,
      kind: c.kind,
      title: chat.people.titleOf(c),
      preview: typing ? ["typing…"] : preview(c, chat.me, chat.people),
      typing,
      time: briefly(c.updatedAt),
      at: c.updatedAt,
      unread: c.unread,
      online: partner ? chat.people.presence.get(partner)?.online === true : null,
      face: partner ?? c.id,
      url: partner ? chat.people.pictureOf(partner) : "",
      selected: c.id === selected,
    };
  });
}

function conversationItem(row, open) {
  const unread = el(
    "span",
    { class: "unread", testid: "unread-count", hidden: row.unread === 0 },
    row.unread > 99 ? "99+" : String(row.unread),
    el("span", { class: "for-readers" }, " unread"),
  );
  const button = el(
    "button",
    {
      class: `conversation ${row.unread > 0 ? "has-unread" : ""}`,
      type: "button",
      testid: "conversation-item",
      dataset: { conversationId: row.id },
      "aria-current": row.selected ? "true" : null,
      tabindex: -1,
      on: { click: open },
    },
    avatar(row.face, row.title, { kind: row.kind, online: row.online, url: row.url }),
    el("span", { class: "conversation-title" }, isolated(row.title), row.online ? el("span", { class: "for-readers" }, ", online") : null),
    row.at ? el("time", { class: "conversation-time", datetime: row.at, lang: DATE_LANGUAGE, title: fullTime(row.at) }, row.time) : el("span"),
    el("span", { class: `conversation-preview ${row.typing ? "is-typing" : ""}` }, row.preview),
    unread,
  );
  return el("li", {}, button);
}
