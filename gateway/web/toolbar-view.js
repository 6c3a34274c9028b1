// What can be done with a message: react, edit, withdraw. One tab stop for the whole log: a message is
// reached by the arrow keys, and its buttons from there.

import { el, icon } from "./dom.js";

const QUICK_EMOJI = ["👍", "❤️", "😂", "😮", "😢", "🎉"];

/** What can be reached from a message by the keyboard, in order. */
export function actionsIn(row) {
  return [...row.querySelectorAll("button, a")].filter((part) => !part.disabled && !part.closest("[hidden]"));
}

export function toolbar(row, actions) {
  const tool = (testid, label, name, click) =>
    el("button", { class: "tool", type: "button", tabindex: -1, testid, "aria-label": label, title: label, on: { click } }, icon(name));
  const picker = el(
    "div",
    { class: "picker", role: "group", "aria-label": "Reactions", testid: "reaction-picker", hidden: true },
    QUICK_EMOJI.map((emoji) =>
      el("button", { type: "button", tabindex: -1, "aria-label": `React ${emoji}`, dataset: { emoji }, on: { click: () => react(emoji) } }, emoji),
    ),
  );
  const react = (emoji) => {
    // The focus must not be lost with the picker.
    bar.closest(".message").focus({ preventScroll: true });
    picker.hidden = true;
    const before = row.reactions.find((reaction) => reaction.emoji === emoji);
    actions.react(row.seq, emoji, before?.mine === true);
  };
  const toggle = (event) => {
    picker.hidden = !picker.hidden;
    if (picker.hidden) return;
    keepInside(picker, bar.closest(".log-frame"));
    if (event.detail === 0) picker.querySelector("button").focus();
  };
  const bar = el(
    "div",
    { class: "toolbar", role: "group", "aria-label": "Message actions" },
    tool("message-react", "React", "smile", toggle),
    row.mine ? tool("message-edit", "Edit", "edit", () => actions.edit(row)) : null,
    row.mine ? tool("message-recall", "Withdraw", "recall", () => actions.recall(row)) : null,
    picker,
  );
  bar.addEventListener("keydown", (event) => event.key === "Escape" && (picker.hidden = true));
  bar.addEventListener("focusout", (event) => bar.contains(event.relatedTarget) || (picker.hidden = true));
  return bar;
}

/** Moves an element so that no part of it lies outside the frame. */
function keepInside(node, frame) {
  node.style.translate = "none";
  const [at, within] = [node.getBoundingClientRect(), frame.getBoundingClientRect()];
  const x = Math.max(0, within.left - at.left) - Math.max(0, at.right - within.right);
  // Above the tools there may be no room: then below them.
  const y = at.top < within.top ? node.parentElement.getBoundingClientRect().bottom + 4 - at.top : 0;
  node.style.translate = `${x}px ${y}px`;
}
