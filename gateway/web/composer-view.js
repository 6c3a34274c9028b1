// Where one writes: grows with the text, sends on Enter, edits an earlier message, keeps drafts.

import { CONTENT_BYTES_MAX } from "./chat.js";
import { el, icon } from "./dom.js";

/** From here on the room that is left is shown. */
const SHOW_ROOM_BELOW = 500;
/** Above and below the text. */
const BORDERS_PX = 2;

/** `onSay(text)`, `onEdit(seq, text)`, `onTyping()`, `onEditLast()`. */
export function composerView({ onSay, onEdit, onTyping, onEditLast }) {
  const drafts = new Map();
  let conversationId = null;
  let editing = null;

  const input = el("textarea", {
    rows: 1,
    placeholder: "Write a message",
    "aria-label": "Message",
    "aria-describedby": "composer-room",
    testid: "composer",
    enterkeyhint: "send",
    dir: "auto",
  });
  const send = el("button", { class: "primary send", type: "submit", testid: "send", "aria-label": "Send", title: "Send" }, icon("send"));
  const room = el("span", { class: "room", id: "composer-room", role: "status", testid: "composer-room" });
  const cancel = el("button", { class: "quiet icon-only", type: "button", "aria-label": "Stop editing", on: { click: () => stopEditing() } }, icon("close"));
  const banner = el("div", { class: "editing", hidden: true }, icon("edit"), el("span", {}, "Editing your message"), cancel);
  const form = el("form", { class: "composer" }, banner, el("div", { class: "composer-line" }, input, send), room);

  const grow = () => {
    // While the text is measured the log above must not grow: it would be moved.
    form.style.minHeight = `${form.offsetHeight}px`;
    input.style.height = "auto";
    // A height that is a fraction too small would make a scrollbar: only what does not fit has one.
    input.style.overflowY = "hidden";
    input.style.height = `${input.scrollHeight + BORDERS_PX}px`;
    form.style.minHeight = "";
    if (input.scrollHeight > input.clientHeight + 1) input.style.overflowY = "auto";
    const left = CONTENT_BYTES_MAX - bytesOf(input.value);
    room.textContent = left < 0 ? `${-left} bytes too long` : left < SHOW_ROOM_BELOW ? `${left} bytes left` : "";
    room.classList.toggle("is-over", left < 0);
    input.setAttribute("aria-invalid", String(left < 0));
    send.disabled = input.disabled || left < 0 || input.value.trim() === "";
  };
  const set = (text) => {
    input.value = text;
    grow();
  };
  const stopEditing = () => {
    editing = null;
    banner.hidden = true;
    set(drafts.get(conversationId) ?? "");
    input.focus();
  };
  const submit = () => {
    const text = input.value.replaceAll("\0", "").trim();
    if (text === "" || input.disabled) return;
    if (bytesOf(text) > CONTENT_BYTES_MAX) return; // the room below says so
    if (editing) {
      if (text !== editing.text) onEdit(editing.seq, text);
      stopEditing();
      return;
    }
    drafts.delete(conversationId);
    set("");
    input.focus();
    onSay(text);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  input.addEventListener("input", () => {
    grow();
    if (editing) return;
    drafts.set(conversationId, input.value);
    if (input.value.trim()) onTyping();
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && editing) {
      stopEditing();
    } else if (event.key === "ArrowUp" && input.value === "" && !editing) {
      event.preventDefault();
      onEditLast();
    }
  });

  return {
    node: form,
    /** Turns to a conversation, with its draft. */
    open(id) {
      conversationId = id;
      editing = null;
      banner.hidden = true;
      set(drafts.get(id) ?? "");
    },
    /** `reason`: why nothing can be said, or null. */
    close(reason) {
      if (input.disabled === (reason !== null) && (reason === null || input.placeholder === reason)) return;
      input.disabled = reason !== null;
      input.placeholder = reason ?? "Write a message";
      grow();
    },
    edit(row) {
      editing = { seq: row.seq, text: row.text };
      banner.hidden = false;
      set(row.text);
      input.focus();
    },
    focus: () => input.focus(),
    get isEditing() {
      return editing !== null;
    },
  };
}

function bytesOf(text) {
  return new TextEncoder().encode(text).length;
}
