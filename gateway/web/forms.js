// Forms: one submit at a time, and what is wrong is said at the field that is wrong.

import { hideNotice, showNotice } from "./dialogs.js";
import { el } from "./dom.js";

let ids = 0;

/** What is wrong with the field of that name. */
export class FieldError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** A labelled field; `props` are those of its input. */
export function field(label, name, props = {}) {
  const id = `field-${(ids += 1)}`;
  const input = el("input", { type: "text", ...props, id, name });
  return el("div", { class: "field" }, el("label", { for: id }, label), input);
}

/**
 * Handles a form. A failure goes to the field that it names, or that `fieldOf(error)` names; one that is
 * about no field is a notice.
 */
export function submits(form, action, fieldOf = () => null) {
  form.noValidate = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...form.querySelectorAll("button[type=submit]")];
    if (buttons.some((button) => button.disabled)) return;
    buttons.forEach((button) => (button.disabled = true));
    clearErrors(form);
    try {
      hideNotice();
      await action(new FormData(form));
    } catch (error) {
      const input = form.elements.namedItem(error.field ?? fieldOf(error) ?? fieldNamedBy(error));
      if (input) complain(input, error.message);
      else showNotice(error.message);
    } finally {
      buttons.forEach((button) => (button.disabled = false));
    }
  });
  form.addEventListener("input", ({ target }) => settle(target));
  return form;
}

/** Says at a field what is wrong with it, until it is changed. */
export function complain(input, message) {
  settle(input);
  const id = `error-${(ids += 1)}`;
  const place = input.closest(".field") ?? input.form;
  place.append(el("p", { class: "field-error", id, role: "alert", testid: "field-error" }, message));
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", id);
  input.focus();
}

function clearErrors(form) {
  for (const input of form.querySelectorAll("[aria-invalid=true]")) settle(input);
}

function settle(input) {
  if (input.getAttribute("aria-invalid") !== "true") return;
  document.getElementById(input.getAttribute("aria-describedby"))?.remove();
  input.removeAttribute("aria-invalid");
  input.removeAttribute("aria-describedby");
}

/** The server's sentences about a field begin with its name. */
function fieldNamedBy({ name, message }) {
  return name === "InvalidInput" ? (message.match(/^\w+/)?.[0] ?? "") : "";
}
