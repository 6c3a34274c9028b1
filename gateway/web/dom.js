// Builds elements. Text is always inserted as text, never as markup.

import { Isolated } from "./bidi.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `props`: `class`, `testid`, `on: {event: handler}`, `dataset`, properties of form fields
 * (`value`, `disabled` …) and attributes; null and false leave one out. Children: nodes, strings, pieces of sentences, null.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name === "testid") node.dataset.testid = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.map((child) => (child instanceof Isolated ? el("bdi", {}, child.text) : child)));
  return node;
}

const SHAPES = {
  back: ["M15 5l-7 7 7 7"],
  send: ["M4.5 12h14", "M12.5 5.5L19 12l-6.5 6.5"],
  plus: ["M12 5v14", "M5 12h14"],
  people: ["M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7z", "M2.5 20c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5", "M16 4.3a3.5 3.5 0 010 6.4", "M18 14.8c2 .8 3.2 2.6 3.5 5.2"],
  globe: ["M12 3a9 9 0 100 18 9 9 0 000-18z", "M3 12h18", "M12 3c5 5 5 13 0 18c-5-5-5-13 0-18z"],
  leave: ["M14 4h4a2 2 0 012 2v12a2 2 0 01-2 2h-4", "M4 12h11", "M8 8l-4 4 4 4"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  smile: ["M12 3a9 9 0 100 18 9 9 0 000-18z", "M8.5 14.5c1.8 2.3 5.2 2.3 7 0", "M9 9.5v.5", "M15 9.5v.5"],
  edit: ["M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19z", "M14 6.5l3.5 3.5"],
  recall: ["M5 7h14", "M10 4h4", "M7 7l1 13h8l1-13", "M10.5 11v5.5", "M13.5 11v5.5"],
  info: ["M12 3a9 9 0 100 18 9 9 0 000-18z", "M12 11v5.5", "M12 7.5v.3"],
  down: ["M6 9l6 6 6-6"],
  settings: ["M12 9a3 3 0 100 6 3 3 0 000-6z", "M19 12a7 7 0 01-.2 1.6l2 1.5-2 3.4-2.3-1a7 7 0 01-2.8 1.6L13.3 21.5h-3.6l-.4-2.4a7 7 0 01-2.8-1.6l-2.3 1-2-3.4 2-1.5a7 7 0 010-3.2l-2-1.5 2-3.4 2.3 1a7 7 0 012.8-1.6l.4-2.4h3.6l.4 2.4a7 7 0 012.8 1.6l2.3-1 2 3.4-2 1.5a7 7 0 01.2 1.6z"],
  pending: ["M12 4a8 8 0 100 16 8 8 0 000-16z", "M12 8v4.5l2.5 1.5"],
  accepted: ["M5 12.5l4.5 4.5L19 7.5"],
  stored: ["M2 12.5l4.5 4.5L16 7.5", "M11 16l1 1 9.5-9.5"],
  failed: ["M12 4a8 8 0 100 16 8 8 0 000-16z", "M12 8v5", "M12 16v.2"],
};

/** A drawing of 24 by 24, in the colour of the text around it; hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  for (const d of SHAPES[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/**
 * A round mark for a person or group: initials on one of eight colours, always the same for an id, and
 * over them the picture at `url`, if there is one and it can be loaded.
 */
export function avatar(id, name, { kind = "single", online = null, url = "" } = {}) {
  const hue = [...String(id)].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 9973, 7) % 8;
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const unknown = name.match(/^User ….*(\d\d)$/);
  const initials = unknown?.[1] ?? words.slice(0, 2).map((word) => [...word][0]).join("").toUpperCase();
  return el(
    "span",
    { class: `avatar hue-${hue}`, "aria-hidden": "true" },
    kind === "world" ? icon("globe") : kind === "group" ? icon("people") : initials || "?",
    isWebAddress(url) ? picture(url) : null,
    online === null ? null : el("span", { class: `presence ${online ? "is-online" : ""}` }),
  );
}

function picture(url) {
  const image = el("img", { alt: "", loading: "lazy", referrerpolicy: "no-referrer", testid: "avatar-image" });
  image.addEventListener("error", () => image.remove());
  image.src = url;
  return image;
}

/** Whether a text is the address of something on the web. */
export function isWebAddress(text) {
  try {
    return ["http:", "https:"].includes(new URL(text).protocol);
  } catch {
    return false;
  }
}

/**
 * Makes the children of `parent` those of `items`, keeping the elements of items that look the same.
 * `key(item)`, `sign(item)`: equal strings mean equal looks; `build(item)`.
 */
export function reconcile(parent, items, { key, sign, build }) {
  const before = (parent.rows ??= new Map());
  const after = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    const signature = sign(item);
    let row = before.get(id);
    if (!row || row.signature !== signature) {
      const node = build(item);
      node.dataset.key = id;
      if (row) {
        if (place === row.node) place = node;
        replace(row.node, node);
      }
      row = { node, signature };
    }
    after.set(id, row);
    if (place === row.node) place = place.nextSibling;
    else parent.insertBefore(row.node, place);
  }
  for (const [id, { node }] of before) if (!after.has(id)) node.remove();
  parent.rows = after;
}

/** Puts `fresh` in the place of `old`; the focus stays on the part of the same name. */
function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.dataset.testid : null;
  old.replaceWith(fresh);
  if (!focused) return;
  const part = fresh.dataset.testid === focused ? fresh : fresh.querySelector(`[data-testid="${focused}"]`);
  part?.focus({ preventScroll: true });
}
