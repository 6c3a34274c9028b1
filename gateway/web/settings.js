// What the user has chosen for this browser: whether it notifies and makes a sound.

const KEY = "gochat.settings";
const DEFAULTS = { notify: false, sound: false };

export function settings(storage = globalThis.localStorage) {
  try {
    return { ...DEFAULTS, ...JSON.parse(storage.getItem(KEY)) };
  } catch {
    return { ...DEFAULTS };
  }
}

export function changeSettings(change, storage = globalThis.localStorage) {
  storage.setItem(KEY, JSON.stringify({ ...settings(storage), ...change }));
}
