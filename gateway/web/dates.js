// How points in time are written for a reader, in the reader's own time zone.

const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat("en", { weekday: "long" });
const shortWeekday = new Intl.DateTimeFormat("en", { weekday: "short" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" });
const dateOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** 14:05 */
export function timeOfDay(at) {
  return clock.format(new Date(at));
}

/** Today · Yesterday · Monday · 3 March · 3 March 2024 */
export function dayLabel(at, now = Date.now()) {
  const age = daysAgo(at, now);
  const then = new Date(at);
  if (age === 0) return "Today";
  if (age === 1) return "Yesterday";
  if (age > 1 && age < 7) return weekday.format(then);
  return (then.getFullYear() === new Date(now).getFullYear() ? date : dateOfYear).format(then);
}

/** For a list: 14:05 · Yesterday · Mon · 3 Mar */
export function briefly(at, now = Date.now()) {
  if (!at) return "";
  const age = daysAgo(at, now);
  if (age <= 0) return timeOfDay(at);
  if (age === 1) return "Yesterday";
  return (age < 7 ? shortWeekday : shortDate).format(new Date(at));
}

/** just now · 5 min ago · 14:05 · Monday 14:05 */
export function since(at, now = Date.now()) {
  const minutes = Math.floor((now - Date.parse(at)) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return daysAgo(at, now) === 0 ? `at ${timeOfDay(at)}` : `${dayLabel(at, now)} at ${timeOfDay(at)}`;
}

function daysAgo(at, now) {
  const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(at)) / DAY_MS);
}
