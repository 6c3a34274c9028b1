// How points in time are written for a reader: in the language, the order and the time zone that the
// reader's browser is set to.

const DAY_MS = 86_400_000;
const format = (options) => new Intl.DateTimeFormat(undefined, options);
const clock = format({ hour: "2-digit", minute: "2-digit" });
const weekday = format({ weekday: "long" });
const shortWeekday = format({ weekday: "short" });
const date = format({ day: "numeric", month: "long" });
const dateOfYear = format({ day: "numeric", month: "long", year: "numeric" });
const shortDate = format({ day: "numeric", month: "short" });
const shortDateOfYear = format({ day: "numeric", month: "short", year: "numeric" });
const full = format({ dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** The language of what these functions return, for the `lang` of an element. */
export const DATE_LANGUAGE = clock.resolvedOptions().locale;

/** 14:05 */
export function timeOfDay(at) {
  return clock.format(new Date(at));
}

/** Tuesday, 3 March 2026 at 14:05:06 CET */
export function fullTime(at) {
  return full.format(new Date(at));
}

/** Today · Yesterday · Monday · 3 March · 3 March 2024 */
export function dayLabel(at, now = Date.now()) {
  const age = daysAgo(at, now);
  if (age === 0 || age === 1) return capital(relative.format(-age, "day"));
  if (age > 1 && age < 7) return weekday.format(new Date(at));
  return (isThisYear(at, now) ? date : dateOfYear).format(new Date(at));
}

/** For a list: 14:05 · Yesterday · Mon · 3 Mar · 3 Mar 2024 */
export function briefly(at, now = Date.now()) {
  if (!at) return "";
  const age = daysAgo(at, now);
  if (age <= 0) return timeOfDay(at);
  if (age === 1) return capital(relative.format(-1, "day"));
  if (age < 7) return shortWeekday.format(new Date(at));
  return (isThisYear(at, now) ? shortDate : shortDateOfYear).format(new Date(at));
}

/** now · 5 minutes ago · 14:05 · Monday, 14:05 */
export function since(at, now = Date.now()) {
  const minutes = Math.max(0, Math.floor((now - Date.parse(at)) / 60_000));
  if (minutes < 1) return relative.format(0, "second");
  if (minutes < 60) return relative.format(-minutes, "minute");
  return daysAgo(at, now) === 0 ? timeOfDay(at) : `${dayLabel(at, now)}, ${timeOfDay(at)}`;
}

/** The reader's own calendar day, as a key. */
export function dayOf(at) {
  const then = new Date(at);
  return `${then.getFullYear()}-${then.getMonth() + 1}-${then.getDate()}`;
}

function daysAgo(at, now) {
  const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(at)) / DAY_MS);
}

function isThisYear(at, now) {
  return new Date(at).getFullYear() === new Date(now).getFullYear();
}

function capital(text) {
  const [first = "", ...rest] = text;
  return first.toLocaleUpperCase(DATE_LANGUAGE) + rest.join("");
}
