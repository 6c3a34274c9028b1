// One row of a conversation: a message with its ticks, reactions and actions, a system line, a day.

import { isolated, plain, sentence } from "./bidi.js";
import { DATE_LANGUAGE, dayLabel, fullTime, timeOfDay } from "./dates.js";
import { avatar, el, icon } from "./dom.js";
import { linkify } from "./links.js";
import { list, systemLine } from "./sentences.js";
import { toolbar } from "./toolbar-view.js";

/** Sent: the server has it for good. Stored: it has its place in the conversation. */
const STATE_WORDS = { pending: "Sending", accepted: "Sent", stored: "Stored", failed: "Not sent" };

/** `row` of the timeline; `view`: `{kind, me, nameOf, pictureOf, actions, closed}`. */
export function rowView(row, view) {
  switch (row.kind) {
    case "day":
      return el("li", { class: "day" }, el("time", { datetime: row.at, lang: DATE_LANGUAGE, title: fullTime(row.at) }, dayLabel(row.at)));
    case "unread":
      return el("li", { class: "unread-line", testid: "unread-line" }, el("span", {}, `${row.count} unread`));
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
    { class: classes.filter(Boolean).join(" "), testid: "message", tabindex: -1, dataset: { seq: row.seq ?? "", state: row.state } },
    named ? el("div", { class: "message-face" }, row.startsCluster ? avatar(row.senderId, view.nameOf(row.senderId), { url: view.pictureOf(row.senderId) }) : null) : null,
    el(
      "div",
      { class: "message-stack" },
      named && row.startsCluster ? el("div", { class: "sender", testid: "message-sender" }, isolated(view.nameOf(row.senderId))) : null,
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
  return el(
    "div",
    { class: `bubble ${row.recalled ? "recalled" : ""} ${isLoneEmoji(text) ? "emoji-only" : ""}` },
    isMedia && !row.recalled ? el("span", { class: "media-kind" }, row.messageType === "image" ? "Picture" : "File") : null,
    el("div", { class: "message-text", testid: "message-text", dir: "auto" }, row.recalled ? text : linkify(text).map(piece)),
    el(
      "div",
      { class: "meta" },
      row.edited ? el("span", { testid: "edited-mark" }, "edited") : null,
      el("time", { datetime: row.at, lang: DATE_LANGUAGE, title: fullTime(row.at) }, timeOfDay(row.at)),
      row.mine ? tick(row) : null,
    ),
  );
}

function piece({ text, href, host }) {
  if (!href) return text;
  const link = el("a", { href, target: "_blank", rel: "noopener noreferrer", tabindex: -1, dir: "auto" }, text);
  return host ? [link, el("span", { class: "link-host", title: "The address in plain letters" }, ` (${host})`)] : link;
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

function reactions(row, { nameOf, me, closed, actions }) {
  return el(
    "div",
    { class: "reactions" },
    row.reactions.map(({ emoji, userIds, mine }) => {
      const who = plain(list(userIds.map((id) => (id === me ? "you" : nameOf(id)))));
      return el(
        "button",
        {
          class: "reaction",
          type: "button",
          tabindex: -1,
          testid: "reaction",
          dataset: { emoji },
          "aria-pressed": String(mine),
          title: who,
          disabled: closed,
          on: { click: () => actions.react(row.seq, emoji, mine) },
        },
        el("span", {}, emoji),
        el("span", { class: "reaction-count" }, String(userIds.length)),
        el("span", { class: "for-readers" }, ` by ${who}`),
      );
    }),
  );
}

function failure(row, actions) {
  return el(
    "div",
    { class: "failure", role: "alert" },
    el("span", {}, row.error || "Not sent."),
    el("button", { class: "link", type: "button", tabindex: -1, testid: "message-retry", on: { click: () => actions.retry(row.clientMsgId) } }, "Try again"),
    el("button", { class: "link", type: "button", tabindex: -1, testid: "message-discard", on: { click: () => actions.discard(row.clientMsgId) } }, "Discard"),
  );
}

function readWords(row, { kind, nameOf }) {
  if (kind === "single") return "Read";
  if (row.readBy.length > 3) return `Read by ${row.readBy.length}`;
  return sentence`Read by ${list(row.readBy.map((id) => isolated(nameOf(id))))}`;
}

const LONE_EMOJI = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\u200D\p{Extended_Pictographic}|\p{Emoji_Modifier})*){1,3}$/u;

function isLoneEmoji(text) {
  return LONE_EMOJI.test(text);
}
