// The page before signing in: two forms, one shown at a time.

import { el } from "./dom.js";
import { FieldError, field, submits } from "./forms.js";

const USERNAME_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{2,31}$/;
const PASSWORD_BYTES = { min: 8, max: 128 };

/** `onSignIn({username, password, stay})` and `onSignUp({…, displayName})` return promises; `canStay`:
 *  whether this browser can stay signed in for all its tabs. */
export function signInView({ canStay, onSignIn, onSignUp }) {
  const signIn = form("signin", "Sign in", "current-password", canStay, [], async (data) => {
    if (!data.username) throw new FieldError("username", "Enter your username.");
    if (!data.password) throw new FieldError("password", "Enter your password.");
    await onSignIn(data);
  });
  const displayName = field("Name others see", "displayName", {
    autocomplete: "name",
    maxlength: 64,
    placeholder: "Optional",
    dir: "auto",
    testid: "signup-display-name",
  });
  const signUp = form("signup", "Create account", "new-password", canStay, [displayName], async (data) => {
    checkNew(data);
    await onSignUp(data);
  });

  const tabs = {
    signin: tab("show-signin", "Sign in", () => show("signin")),
    signup: tab("show-signup", "Create account", () => show("signup")),
  };
  const show = (which) => {
    signIn.hidden = which !== "signin";
    signUp.hidden = which !== "signup";
    for (const [name, button] of Object.entries(tabs)) button.setAttribute("aria-pressed", String(name === which));
    (which === "signin" ? signIn : signUp).querySelector("input").focus();
  };
  const card = el(
    "section",
    { class: "signin-card", "aria-label": "Sign in to GoChat" },
    el("div", { class: "signin-tabs", role: "group", "aria-label": "Sign in or create an account" }, tabs.signin, tabs.signup),
    signIn,
    signUp,
  );
  const page = el(
    "main",
    { class: "signin" },
    el(
      "div",
      { class: "signin-brand" },
      el("img", { src: "/assets/icon.svg", alt: "", width: 56, height: 56 }),
      el("h1", {}, "GoChat"),
      el("p", {}, "Every message arrives: once, and in order."),
    ),
    card,
  );
  queueMicrotask(() => show("signin"));
  return page;
}

function form(name, action, passwordKind, canStay, extra, submit) {
  const username = field("Username", "username", {
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: 32,
    testid: `${name}-username`,
  });
  const password = field("Password", "password", { type: "password", autocomplete: passwordKind, testid: `${name}-password` });
  const button = el("button", { class: "primary wide", type: "submit", testid: `${name}-submit` }, action);
  const made = el("form", { hidden: true }, username, password, extra, canStay ? stayChoice(name) : null, button);
  return submits(
    made,
    (data) =>
      submit({
        username: data.get("username").trim(),
        password: data.get("password"),
        displayName: data.get("displayName")?.trim() ?? "",
        stay: data.get("stay") === "on",
      }),
    ({ name: failure }) => ({ Unauthenticated: "password", UserExists: "username" })[failure],
  );
}

function stayChoice(name) {
  const box = el("input", { type: "checkbox", name: "stay", testid: `${name}-stay` });
  return el("label", { class: "choice" }, box, el("span", {}, "Stay signed in in this browser"));
}

function tab(testid, label, click) {
  return el("button", { type: "button", testid, on: { click } }, label);
}

function checkNew({ username, password }) {
  if (!USERNAME_FORM.test(username)) {
    throw new FieldError("username", "A username has 3 to 32 letters, digits, dots, dashes or underscores, and starts with a letter or digit.");
  }
  const bytes = new TextEncoder().encode(password).length;
  if (bytes < PASSWORD_BYTES.min) throw new FieldError("password", `A password has at least ${PASSWORD_BYTES.min} characters.`);
  if (bytes > PASSWORD_BYTES.max) throw new FieldError("password", `A password has at most ${PASSWORD_BYTES.max} bytes.`);
}
