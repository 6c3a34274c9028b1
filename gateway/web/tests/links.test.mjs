// Addresses in what people write: where they begin and end, and what they lead to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { linkify } from "../links.js";

/** The links of a text, as `[text, href]`; the pieces together are the text. */
const links = (text) => {
  const pieces = linkify(text);
  assert.equal(pieces.map((piece) => piece.text).join(""), text);
  return pieces.filter((piece) => piece.href).map(({ text: shown, href }) => [shown, href]);
};
const check = (text, ...expected) => assert.deepEqual(links(text), expected, text);

test("web addresses are links, with or without their scheme", () => {
  check("see https://example.org/a?b=c#d now", ["https://example.org/a?b=c#d", "https://example.org/a?b=c#d"]);
  check("www.example.org and WWW.EXAMPLE.ORG/x", ["www.example.org", "https://www.example.org/"], ["WWW.EXAMPLE.ORG/x", "https://www.example.org/x"]);
  check("HTTP://localhost:8080/", ["HTTP://localhost:8080/", "http://localhost:8080/"]);
  check("http://[::1]:80/a", ["http://[::1]:80/a", "http://[::1]/a"]);
  check("awww.example.org, xhttps://no.example and www. alone");
});

test("mail addresses are links", () => {
  check("to ann.b+c@mail.example.org.", ["ann.b+c@mail.example.org", "mailto:ann.b+c@mail.example.org"]);
  check("mailto:ann@example.org", ["ann@example.org", "mailto:ann@example.org"]);
  check("@ann, ann@, ann@host, a@b..c");
});

test("brackets belong to an address that opened them", () => {
  check("(see https://en.wikipedia.org/wiki/Rust_(language))", ["https://en.wikipedia.org/wiki/Rust_(language)", "https://en.wikipedia.org/wiki/Rust_(language)"]);
  check("(https://example.org/a).", ["https://example.org/a", "https://example.org/a"]);
  check("[www.example.org], {https://a.example/{x}}", ["www.example.org", "https://www.example.org/"], ["https://a.example/{x}", "https://a.example/%7Bx%7D"]);
  check("<https://example.org/a>", ["https://example.org/a", "https://example.org/a"]);
  check("（https://example.org/你好）。", ["https://example.org/你好", "https://example.org/%E4%BD%A0%E5%A5%BD"]);
});

test("punctuation of the sentence is not part of an address", () => {
  for (const end of [".", ",", "!", "?", ":", ";", "...", "!?", "…", "'", '"', "”", "。", "**"]) {
    check(`https://example.org/a${end}`, ["https://example.org/a", "https://example.org/a"]);
  }
  check("https://example.org/a/ next", ["https://example.org/a/", "https://example.org/a/"]);
  check("https://example.org/?a=1&b=2.5, ok", ["https://example.org/?a=1&b=2.5", "https://example.org/?a=1&b=2.5"]);
});

test("nothing that runs or misleads is a link", () => {
  check("javascript:alert(1) data:text/html,x file:///etc/passwd vbscript:x");
  check("https://bank.example@evil.example/ and https://user:pw@host.example/");
  check("https://");
  check("https://exa\u202emple.org", ["https://exa", "https://exa/"]);
});

test("a host with letters that may look like others shows its plain form", () => {
  const [link] = linkify("https://аpple.com/x");
  assert.equal(link.host, "xn--pple-43d.com");
  assert.equal(linkify("https://example.org/ä")[0].host, null);
  assert.equal(linkify("www.bücher.example")[0].host, "www.xn--bcher-kva.example");
});
