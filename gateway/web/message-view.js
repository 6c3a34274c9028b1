// One row of a conversation: a message with its ticks, reactions and actions, a system line, a day.

import { dayLabel, timeOfDay } from "./dates.js";
import { avatar, el, icon, linked } from "./dom.js";
import { list, systemLine } from "./sentences.js";

export const QUICK_EMOJI = ["👍", "❤️", "😂", "😮", "😢", "🎉"];

const STATE_WORDS = { pending: "Sending", accepted: "Accepted by the server", stored: "Delivered", failed: "Not sent" };

/** `row` of the timeline; `view`: `{kind, me, nameOf, actions}`. */
export function rowView(row, view) {
  switch (row.kind) {
    case "day":
      return el("li", { class: "day" }, el("span", {}, dayLabel(row.at)));
    case "unread":
      return el("li", { class: "unread-line" }, el("span", {}, "New"));
    case "system":
      return el("li", { class: "system", testid: "system-event", dataset: { seq: row.seq } }, systemLine(row.message, view.me, view.nameOf));
    default:
      return messageView(row, view);
  }
}

function messageView(row, view) {
  const named = !row.mine && view.kind !== "single";
  const classes = ["message", row.mine ? "mine" : "theirs", row.startsCluster && "starts", row.endsCluster && "ends"];
  return el(
    "li",
    { class: classes.filter(Boolean).join(" "), testid: "message", dataset: { seq: row.seq ?? "", state: row.state } },
    named ? el("div", { class: "message-face" }, row.startsCluster ? avatar(row.senderId, view.nameOf(row.senderId)) : null) : null,
    el(
      "div",
      { class: "message-stack" },
      named && row.startsCluster ? el("div", { class: "sender", testid: "message-sender" }, view.nameOf(row.senderId)) : null,
      el("div", { class: "bubble-line" }, bubble(row), row.seq && !row.recalled && !view.closed ? toolbar(row, view.actions) : null),
      row.reactions.length > 0 ? reactions(row, view) : null,
      row.state === "failed" ? failure(row, view.actions) : null,
      row.newestRead ? el("div", { class: "read-mark", testid: "read-mark" }, readWords(row, view)) : null,
    ),
  );
}

function bubble(row) {
  const text = row.recalled ? "Message withdrawn" : row.text;
  const isMedia = row.messageType === "image" || row.messageType === "file";
  const time = timeOfDay(row.at);
  const node = el(
    "div",
    { class: `bubble ${row.recalled ? "recalled" : ""} ${isLoneEmoji(text) ? "emoji-only" : ""}` },
    isMedia && !row.recalled ? el("span", { class: "media-kind" }, row.messageType === "image" ? "Picture" : "File") : null,
    el("div", { class: "message-text", testid: "message-text", dir: "auto" }, row.recalled ? text : linked(text)),
    el(
      "div",
      { class: "meta" },
      row.edited ? el("span", { testid: "edited-mark" }, "edited") : null,
      el("time", { datetime: row.at, title: new Date(row.at).toLocaleString() }, time),
      row.mine ? tick(row) : null,
    ),
  );
  node.style.setProperty("--meta-chars", String(time.length + (row.edited ? 7 : 0) + (row.mine ? 3 : 0)));
  return node;
}

function tick(row) {
  const read = row.readBy.length > 0;
  const words = read ? "Read" : STATE_WORDS[row.state];
  return el(
    "span",
    { class: `tick ${read ? "is-read" : ""}`, testid: "tick", title: words, role: "img", "aria-label": words },
    icon(row.state),
  );
}

function toolbar(row, actions) {
  const tool = (testid, label, name, click) =>
    el("button", { class: "tool", type: "button", testid, "aria-label": label, title: label, on: { click } }, icon(name));
  const picker = el(
    "div",
    { class: "picker", role: "group", "aria-label": "Reactions", testid: "reaction-picker", hidden: true },
    QUICK_EMOJI.map((emoji) =>
      el("button", { type: "button", "aria-label": `React ${emoji}`, dataset: { emoji }, on: { click: () => react(emoji) } }, emoji),
    ),
  );
  const react = (emoji) => {
    picker.hidden = true;
    const before = row.reactions.find((reaction) => reaction.emoji === emoji);
    actions.react(row.seq, emoji, before?.mine === true);
  };
  const toggle = (event) => {
    picker.hidden = !picker.hidden;
    if (!picker.hidden && event.detail === 0) picker.querySelector("button").focus();
  };
  const bar = el(
    "div",
    { class: "toolbar" },
    tool("message-react", "React", "smile", toggle),
    row.mine ? tool("message-edit", "Edit", "edit", () => actions.edit(row)) : null,
    row.mine ? tool("message-recall", "Withdraw", "recall", () => actions.recall(row)) : null,
    picker,
  );
  bar.addEventListener("keydown", (event) => event.key === "Escape" && (picker.hidden = true));
  bar.addEventListener("focusout", (event) => bar.contains(event.relatedTarget) || (picker.hidden = true));
  return bar;
}

function reactions(row, { nameOf, me, closed, actions }) {
  return el(
    "div",
    { class: "reactions" },
    row.reactions.map(({ emoji, userIds, mine }) => {
      const who = list(userIds.map((id) => (id === me ? "you" : nameOf(id))));
      return el(
        "button",
        {
          class: "reaction",
          type: "button",
          testid: "reaction",
          dataset: { emoji },
          "aria-pressed": String(mine),
          "aria-label": `${emoji} by ${who}`,
          title: who,
          disabled: closed,
          on: { click: () => actions.react(row.seq, emoji, mine) },
        },
        el("span", {}, emoji),
        el("span", { class: "reaction-count" }, String(userIds.length)),
      );
    }),
  );
}

function failure(row, actions) {
  return el(
    "div",
    { class: "failure", role: "alert" },
    el("span", {}, row.error || "Not sent."),
    el("button", { class: "link", type: "button", testid: "message-retry", on: { click: () => actions.retry(row.clientMsgId) } }, "Try again"),
    el("button", { class: "link", type: "button", testid: "message-discard", on: { click: () => actions.discard(row.clientMsgId) } }, "Discard"),
  );
}

function readWords(row, { kind, nameOf }) {
  if (kind === "single") return "Read";
  return row.readBy.length <= 3 ? `Read by ${list(row.readBy.map(nameOf))}` : `Read by ${row.readBy.length}`;
}

const LONE_EMOJI = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|\p{Emoji_Modifier})*){1,3}$/u;

function isLoneEmoji(text) {
  return LONE_EMOJI.test(text);
}
