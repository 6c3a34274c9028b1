// One tab stop for many elements: the arrow keys move between them, Home and End to the ends.

const STEPS = {
  vertical: { ArrowUp: -1, ArrowDown: 1 },
  horizontal: { ArrowLeft: -1, ArrowRight: 1 },
};

/**
 * `items()`: the elements in order. `first(items)`: which one Tab reaches before any was focused.
 * Returns a function to call when elements have come or gone.
 */
export function roving(parent, items, { axis = "vertical", first = (all) => all[0] } = {}) {
  let current = null; // its element
  const refresh = () => {
    const all = items();
    const stays = all.includes(current) ? current : current && all.find((item) => keyOf(item) === keyOf(current));
    const stop = stays ?? first(all);
    current = stays ?? null;
    for (const item of all) {
      const tabIndex = item === stop ? 0 : -1;
      if (item.tabIndex !== tabIndex || !item.hasAttribute("tabindex")) item.tabIndex = tabIndex;
    }
  };
  parent.addEventListener("focusin", ({ target }) => {
    const item = items().find((each) => each.contains(target));
    if (!item || item === current) return;
    current = item;
    refresh();
  });
  parent.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[axis][event.key];
    const next = step ? all[at + step] : event.key === "Home" ? all[0] : event.key === "End" ? all.at(-1) : null;
    if (next) next.focus();
    if (next || step) event.preventDefault();
  });
  refresh();
  return refresh;
}

/** An element that was drawn anew stands for the one it replaces. */
function keyOf(item) {
  return item.closest("[data-key]")?.dataset.key ?? item;
}
