// The dialog about oneself: the name and picture that others see, and what this browser does when
// somebody writes.

import { openDialog, showNotice } from "./dialogs.js";
import { avatar, el, isWebAddress } from "./dom.js";
import { FieldError, complain, field, submits } from "./forms.js";
import { askToNotify, playSound } from "./notify.js";
import { changeSettings, settings } from "./settings.js";

const NAME_CHARS_MAX = 64;

export function profileDialog(chat) {
  const { people, me } = chat;
  const face = el("div", { class: "profile-face" });
  const drawFace = (url) => face.replaceChildren(avatar(me, people.nameOf(me), { url }));
  const name = field("Name others see", "displayName", { maxlength: NAME_CHARS_MAX, autocomplete: "name", dir: "auto", testid: "profile-name" });
  const picture = field("Picture, as a web address", "avatarUrl", {
    type: "url",
    placeholder: "https://…",
    autocomplete: "off",
    spellcheck: "false",
    testid: "profile-picture",
  });
  const [nameInput, pictureInput] = [name, picture].map((each) => each.querySelector("input"));
  pictureInput.addEventListener("change", () => drawFace(pictureInput.value.trim()));
  const form = submits(
    el(
      "form",
      { class: "profile" },
      el("div", { class: "profile-line" }, face, name),
      picture,
      el("div", { class: "dialog-actions" }, el("button", { class: "primary", type: "submit", testid: "profile-submit" }, "Save")),
    ),
    async (data) => {
      const [displayName, avatarUrl] = [data.get("displayName").trim(), data.get("avatarUrl").trim()];
      if (!displayName) throw new FieldError("displayName", "Enter the name that others see.");
      if (avatarUrl && !isWebAddress(avatarUrl)) throw new FieldError("avatarUrl", "A picture's address begins with https:// or http://.");
      await chat.changeProfile({ displayName, avatarUrl });
      drawFace(avatarUrl);
      showNotice("Your profile is saved.", "info");
    },
  );
  const show = (user) => {
    nameInput.value = user.displayName || user.username;
    pictureInput.value = user.avatarUrl ?? "";
    drawFace(pictureInput.value);
  };
  show({ username: people.nameOf(me), avatarUrl: people.pictureOf(me) });
  let isTouched = false;
  form.addEventListener("input", () => (isTouched = true));
  chat.api.me().then(
    (user) => {
      people.learnUser(user);
      if (!isTouched) show(user);
    },
    (error) => showNotice(error.message),
  );
  openDialog("Profile and settings", el("div", { class: "dialog-body" }, form, choices()), { testid: "profile-dialog" });
}

function choices() {
  const chosen = settings();
  const choice = (name, label) => {
    const box = el("input", { type: "checkbox", name, testid: `setting-${name}` });
    box.checked = chosen[name];
    return el("div", { class: "field" }, el("label", { class: "choice" }, box, el("span", {}, label)));
  };
  const form = el(
    "form",
    { class: "choices", "aria-label": "When somebody writes" },
    el("h3", {}, "When somebody writes, and this page is not in view"),
    choice("notify", "Show a notification"),
    choice("sound", "Play a sound"),
  );
  form.addEventListener("change", async ({ target }) => {
    const refusal = target.name === "notify" && target.checked ? await askToNotify() : null;
    if (refusal) {
      target.checked = false;
      complain(target, refusal);
    }
    changeSettings({ [target.name]: target.checked });
    if (target.name === "sound" && target.checked) playSound();
  });
  return form;
}
