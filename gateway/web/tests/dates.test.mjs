// Points in time as a reader sees them, in the reader's own zone and language.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const AT = "2026-03-03T22:30:00.000Z";
const NOW = Date.parse("2026-03-04T12:00:00.000Z");

function shown(zone, language) {
  const code = `import("./dates.js").then((d) => console.log(JSON.stringify([d.dayLabel("${AT}", ${NOW}), d.timeOfDay("${AT}"),
    d.briefly("2024-03-03T12:00:00Z", ${NOW}), d.since("2026-03-04T11:55:00Z", ${NOW}), d.dayOf("${AT}"), d.fullTime("${AT}")])))`;
  const env = { ...process.env, TZ: zone, LC_ALL: language, LANG: language };
  return JSON.parse(execFileSync(process.execPath, ["-e", code], { env, cwd: new URL("..", import.meta.url).pathname, encoding: "utf8" }));
}

test("the reader's zone decides the day and the hour", () => {
  const [day, time, , , key] = shown("Europe/Berlin", "en_GB");
  assert.deepEqual([day, time, key], ["Yesterday", "23:30", "2026-3-3"]);
  const [later, early, , , next] = shown("Asia/Tokyo", "en_GB");
  assert.deepEqual([later, early, next], ["Today", "07:30", "2026-3-4"]);
});

test("the reader's language decides the words and their order", () => {
  const [day, , old, since, , full] = shown("Europe/Berlin", "de_DE");
  assert.deepEqual([day, old, since], ["Gestern", "3. März 2024", "vor 5 Minuten"]);
  assert.match(full, /Dienstag, 3\. März 2026/);
  const [, time, us] = shown("America/New_York", "en_US");
  assert.match(time, /05:30\sPM/u);
  assert.equal(us, "Mar 3, 2024");
});
