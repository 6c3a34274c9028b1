// The scrolling log of a conversation. It opens at the first unread message, else at the end; stays at the
// end while the user is there, whatever grows or shrinks around it; and keeps its place otherwise. What the
// user has seen is read.

import { el, icon, reconcile } from "./dom.js";
import { dayLabel } from "./dates.js";
import { rowView } from "./message-view.js";
import { shownPart } from "./past.js";
import { roving } from "./roving.js";
import { timeline } from "./timeline.js";
import { actionsIn } from "./toolbar-view.js";

const NEAR_END_PX = 40;
const LOAD_WITHIN_PX = 400;
/** Room above the line before the unread messages. */
const ABOVE_UNREAD_PX = 48;

/** `actions`: what can be done with a message. Returns `{node, open(id), render(c), toEnd(), rows, dispose()}`. */
export function logView(chat, actions) {
  let id = null;
  let unread = null; // where the unread messages begin, and how many: {from, count}
  let isPlaced = false; // the log has been brought to where it opens
  let atEnd = true;
  let size = "";
  let rows = [];
  const listening = new AbortController();
  const nameOf = (userId) => chat.people.nameOf(userId);

  const log = el("ol", { class: "log", "aria-label": "Messages" });
  const older = el("div", { class: "older", role: "status" });
  const empty = el("p", { class: "log-empty" });
  const scroller = el("div", { class: "log-scroll", role: "log", "aria-label": "Messages", testid: "log" }, older, empty, log);
  const count = el("span", { testid: "jump-count" });
  const below = el("span", { class: "unread" }, count, el("span", { class: "for-readers" }, " unread below"));
  const jump = el("button", { class: "jump", type: "button", testid: "jump", hidden: true, on: { click: () => toNewest() } }, icon("down"), el("span", { class: "for-readers" }, "To the newest message"), below);
  const node = el("div", { class: "log-frame" }, scroller, jump);

  const conversation = () => chat.conversations.ensure(id);
  const topOf = (row) => row.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  const line = () => log.rows?.get("unread")?.node;

  /** To the end; but not past the first unread message while nobody looks. */
  const toEnd = () => {
    const most = line() && (!isPlaced || !isLooking()) ? scroller.scrollTop + topOf(line()) - ABOVE_UNREAD_PX : Infinity;
    scroller.scrollTop = Math.min(scroller.scrollHeight, most);
    atEnd = isAtEnd();
  };
  const isAtEnd = () => !conversation().past && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
  /** Whether it has, since the last call. */
  const isResized = () => {
    const before = size;
    size = `${scroller.clientHeight}/${scroller.scrollHeight}`;
    return size !== before;
  };
  const toNewest = () => {
    if (conversation().past) chat.showNewest(id);
    unread = null;
    atEnd = true;
    chat.onChange();
    scroller.scrollTop = scroller.scrollHeight;
  };

  const renderJump = () => {
    const { unread: left } = conversation();
    jump.hidden = atEnd || !isPlaced;
    below.hidden = left === 0;
    count.textContent = left > 99 ? "99+" : String(left);
  };

  /** What can be seen now has been read, if the user looks. */
  const looked = () => {
    if (!id || !isPlaced || !isLooking()) return;
    const c = conversation();
    const seen = atEnd ? null : lastAbove(log.children, scroller.getBoundingClientRect().bottom);
    chat.reading.upTo(id, atEnd ? c.position : seqUpTo(seen));
  };
  const settled = () => {
    renderJump();
    looked();
  };

  scroller.addEventListener("scroll", () => {
    if (!id || !isPlaced) return;
    // Where the log has become higher or lower, the browser has moved it, not the user.
    if (!isResized()) atEnd = isAtEnd();
    if (scroller.scrollTop < LOAD_WITHIN_PX) chat.history.older(id);
    if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < LOAD_WITHIN_PX) chat.history.newer(id);
    settled();
  });
  const sizes = new ResizeObserver(() => {
    if (!id || !isPlaced) return;
    if (atEnd) toEnd();
    isResized();
    settled();
  });
  sizes.observe(scroller);
  sizes.observe(log);
  window.addEventListener("focus", looked, { signal: listening.signal });
  document.addEventListener("visibilitychange", () => (isLooking() ? looked() : chat.reading.tell()), { signal: listening.signal });

  const messages = () => [...log.querySelectorAll(":scope > .message")];
  const rove = roving(log, messages, { first: (all) => all.at(-1) });
  log.addEventListener("keydown", (event) => moveInside(event));
  log.addEventListener("click", ({ target }) => {
    // Without a pointer that hovers, a tap shows what can be done with a message.
    const touched = target.closest("button, a") ? null : target.closest(".message");
    for (const other of log.querySelectorAll(".is-touched")) if (other !== touched) other.classList.remove("is-touched");
    if (touched?.classList.toggle("is-touched")) touched.querySelector(".toolbar")?.scrollIntoView({ block: "nearest" });
  });

  const render = (c) => {
    const isLoading = chat.history.loading.has(id);
    // What comes while nobody looks is told apart from what was there.
    if (isPlaced && !isLooking() && c.unread > 0) unread = { from: c.readSeq, count: c.unread };
    const view = { kind: c.kind, me: chat.me, nameOf, pictureOf: (userId) => chat.people.pictureOf(userId), actions, closed: c.closed !== null };
    const place = isPlaced ? anchor(log, scroller, topOf) : null;
    rows = timeline(c, chat.outbox.of(id), chat.me, unread);
    reconcile(log, rows, {
      key: (row) => row.key,
      sign: (row) => JSON.stringify([row, view.closed, shownIn(row, view)]),
      build: (row) => rowView(row, view),
    });
    rove();
    const hasFailed = chat.history.failed.has(id) && shownPart(c).hasOlder && !isLoading;
    renderOlder(older, hasFailed ? "failed" : isLoading ? "loading" : "", () => {
      chat.history.again(id);
      if (isPlaced) chat.history.older(id);
    });
    empty.textContent = rows.length === 0 && !isLoading && !shownPart(c).hasOlder ? "Nothing here yet. Say hello." : "";
    const isThere = unread ? !isLoading && (rows.length > 0 || !c.hasOlder) : !isLoading || rows.length > 0;
    if (!isPlaced && isThere) {
      toEnd();
      isPlaced = true;
    } else if (!isPlaced) {
      // It could not be loaded, and there was no connection perhaps.
      if (!isLoading) chat.history.around(id, c.readSeq);
    } else if (atEnd) toEnd();
    else if (place) scroller.scrollTop += topOf(log.rows.get(place.key)?.node ?? place.node) - place.top;
    isResized();
    if (isPlaced && !isLoading && scroller.scrollHeight <= scroller.clientHeight) (c.past ? chat.history.newer(id) : chat.history.older(id));
    settled();
  };

  return {
    node,
    open(next) {
      id = next;
      log.replaceChildren();
      log.rows = new Map();
      rows = [];
      atEnd = true;
      isPlaced = false;
      jump.hidden = true;
      const c = id && conversation();
      unread = c?.unread > 0 ? { from: c.readSeq, count: c.unread } : null;
    },
    render,
    toNewest,
    get rows() {
      return rows;
    },
    dispose() {
      listening.abort();
      sizes.disconnect();
    },
  };
}

function renderOlder(parent, state, tryAgain) {
  reconcile(parent, [state], {
    key: () => "state",
    sign: (each) => each,
    build: () =>
      state === "failed"
        ? el("span", {}, "Messages could not be loaded. ", el("button", { class: "link", type: "button", testid: "load-again", on: { click: tryAgain } }, "Try again"))
        : el("span", {}, state === "loading" ? "Loading messages…" : ""),
  });
}

/** Whether the user has this page before their eyes. */
export function isLooking() {
  return document.visibilityState === "visible" && document.hasFocus();
}

/** The topmost message that can be seen, and where it is; a day may begin anew above it. */
function anchor(log, scroller, topOf) {
  let node = lastAbove(log.children, scroller.getBoundingClientRect().top)?.nextElementSibling ?? log.firstElementChild;
  while (node && !node.dataset.seq) node = node.nextElementSibling;
  return node && { node, key: node.dataset.key, top: topOf(node) };
}

/** The last of the rows that ends above this height of the screen. */
function lastAbove(rows, bottom) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].getBoundingClientRect().bottom <= bottom + 1) low = middle + 1;
    else high = middle;
  }
  return rows[low - 1];
}

function seqUpTo(row) {
  for (let at = row; at; at = at.previousElementSibling) if (at.dataset.seq) return Number(at.dataset.seq);
  return 0;
}

/** From a message into what can be done with it and back: right and left, Enter and Escape. */
function moveInside(event) {
  const row = event.target.closest(".message");
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  const parts = actionsIn(row);
  const at = parts.indexOf(event.target);
  const isOnRow = event.target === row;
  let next = null;
  if (event.key === "ArrowRight" || (event.key === "Enter" && isOnRow)) next = parts[at + 1];
  else if (event.key === "ArrowLeft") next = parts[at - 1] ?? row;
  else if (event.key === "Escape") next = row;
  if (!next || (isOnRow && next === row)) return;
  event.preventDefault();
  next.focus();
}

/** What a row shows beside itself: it is drawn anew when that changes. */
function shownIn(row, { kind, nameOf, pictureOf }) {
  if (row.kind === "day") return dayLabel(row.at);
  if (row.kind === "system") return (row.message.content.match(/\d{3,}/g) ?? []).map(nameOf);
  if (row.kind !== "message") return null;
  const shown = kind === "single" ? [] : [row.senderId, ...row.readBy];
  return [pictureOf(row.senderId), ...[...shown, ...row.reactions.flatMap((reaction) => reaction.userIds)].map(nameOf)];
}
