// Short notices at the edge of the screen, and dialogs above everything.

import { el, icon } from "./dom.js";

const NOTICE_SHOWN_MS = 7_000;

const noticeText = el("span", { class: "notice-text", testid: "notice" });
const notice = el(
  "div",
  { class: "notice", role: "status", "aria-live": "polite", hidden: true },
  noticeText,
  el("button", { class: "quiet icon-only", type: "button", "aria-label": "Dismiss", on: { click: () => hideNotice() } }, icon("close")),
);
let noticeTimer;

/** Shows a short sentence; `kind`: "error" or "info". */
export function showNotice(text, kind = "error") {
  const host = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  host.append(notice);
  notice.className = `notice ${kind}`;
  notice.hidden = false;
  noticeText.textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(hideNotice, NOTICE_SHOWN_MS);
}

export function hideNotice() {
  notice.hidden = true;
  noticeText.textContent = "";
}

/** Opens a dialog with a title; returns a function that closes it. */
export function openDialog(title, content, { testid, onClose = () => {} } = {}) {
  const closeButton = el("button", { class: "quiet icon-only", type: "button", "aria-label": "Close", testid: "dialog-close" }, icon("close"));
  const head = el("header", { class: "dialog-head" }, el("h2", { id: "dialog-title", dir: "auto" }, title), closeButton);
  const dialog = el("dialog", { class: "dialog", testid, "aria-labelledby": "dialog-title" }, head, content);
  const close = () => dialog.close();
  closeButton.addEventListener("click", close);
  dialog.addEventListener("mousedown", (event) => event.target === dialog && close());
  dialog.addEventListener("close", () => {
    if (dialog.contains(notice)) document.body.append(notice);
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
  return close;
}

/** Closes whatever is open. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

/** Asks; resolves to whether the answer was yes. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    let answer = false;
    let close;
    const yes = () => {
      answer = true;
      close();
    };
    const buttons = el(
      "div",
      { class: "dialog-actions" },
      el("button", { class: "secondary", type: "button", on: { click: () => close() } }, "Cancel"),
      el("button", { class: "danger", type: "button", autofocus: true, testid: "confirm", on: { click: yes } }, action),
    );
    close = openDialog(title, el("div", { class: "dialog-body" }, el("p", {}, text), buttons), { onClose: () => resolve(answer) });
  });
}
