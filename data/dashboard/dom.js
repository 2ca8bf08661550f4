// Elements, dialogs and messages. All text comes in as text: nothing here or elsewhere reads markup, and the page's
// policy (Trusted Types) has the browser refuse it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element; attributes that begin with `on` are listeners, children are elements or texts. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Puts children in place of what a container holds. Whoever had the focus in it has it again, by `data-hold`. */
export function render(container, ...children) {
  const active = document.activeElement;
  const held = container.contains(active) ? active.dataset.hold : undefined;
  container.replaceChildren(...children.flat().filter(Boolean));
  if (held) container.querySelector(`[data-hold="${CSS.escape(held)}"]`)?.focus();
}

/** A button; `hold` names it for `render`. */
export function button(text, onclick, { kind = "", hold, label } = {}) {
  return el("button", { type: "button", class: `button ${kind}`, onclick, "data-hold": hold, "aria-label": label }, text);
}

let ids = 0;

/** A labelled control of a form, with a hint below it. */
export function field(label, control, hint) {
  ids += 1;
  control.id = control.id || `field-${ids}`;
  const hintId = `${control.id}-hint`;
  if (hint) control.setAttribute("aria-describedby", hintId);
  return el("div", { class: "field" },
    el("label", { for: control.id }, label), control, hint && el("p", { class: "hint", id: hintId }, hint));
}

/** A select of `[value, text]` pairs. */
export function select(name, options, chosen) {
  const option = ([value, text]) => el("option", { value, selected: value === chosen }, text);
  return el("select", { name }, options.map(option));
}

/** Says something to everybody: it shows for a while, and is read out. */
export function announce(text) {
  const line = el("div", { class: "toast" }, text);
  // What lies below an open dialog is neither seen well nor read out.
  (document.querySelector("dialog[open] .toasts") ?? byId("toasts")).append(line);
  setTimeout(() => line.remove(), 5000);
}

/** Opens a dialog; the answer is kept until it closes. `build` gets a function that closes it. */
export function openDialog(title, build) {
  const close = () => dialog.close();
  const opener = document.activeElement;
  const heading = el("h2", { id: "dialog-title" }, title);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, heading, build(close),
    el("div", { class: "toasts", role: "status" }));
  document.body.append(dialog);
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      // What it showed, such as a secret, goes with it.
      dialog.replaceChildren();
      dialog.remove();
      // The browser gives the focus back to what had it, unless that was rendered anew meanwhile.
      const hold = opener?.isConnected ? undefined : opener?.dataset.hold;
      if (hold) document.querySelector(`[data-hold="${CSS.escape(hold)}"]`)?.focus();
      resolve();
    });
  });
  dialog.showModal();
  return closed;
}

/**
 * Asks in a form, and runs `run` with its values when it is sent. The dialog closes once that has gone well, and the
 * answer is what it answered; else it says why, and stays. Undefined if nobody sent it.
 */
export async function ask({ title, text, fields = [], submit, danger = false, run }) {
  let result;
  await openDialog(title, (close) => {
    const fault = el("p", { class: "fault", role: "alert" });
    const send = el("button", { type: "submit", class: danger ? "button danger" : "button primary" }, submit);
    const onsubmit = async (event) => {
      event.preventDefault();
      send.disabled = true;
      fault.textContent = "";
      try {
        result = (await run(new FormData(form))) ?? true;
        close();
      } catch (error) {
        fault.textContent = error.message;
        send.disabled = false;
      }
    };
    const form = el("form", { onsubmit }, text && el("p", { class: "muted" }, text), ...fields, fault,
      el("div", { class: "actions" }, button("Cancel", close), send));
    return form;
  });
  return result;
}

/** Copies a text; where the browser forbids that, selects it in `place`. */
export async function copy(text, place) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied.");
  } catch {
    getSelection().selectAllChildren(place);
    announce("Selected: press Ctrl+C or ⌘C to copy.");
  }
}

/** Shows a secret for this once. */
export function showSecret(title, text, secret) {
  return openDialog(title, (close) => {
    const shown = el("code", { class: "secret", tabindex: "0", "aria-label": "The secret" }, secret);
    return el("div", {}, el("p", { class: "muted" }, text), shown,
      el("div", { class: "actions" }, button("Done", close),
        button("Copy", () => copy(secret, shown), { kind: "primary" })));
  });
}

/** What stands in a section that has nothing to show. */
export function empty(title, text, action) {
  return el("div", { class: "empty" }, el("p", { class: "strong" }, title), text && el("p", {}, text), action);
}

/** What stands in a section that could not be loaded. */
export function failed(error, again) {
  return el("div", { class: "empty", role: "alert" }, el("p", { class: "strong" }, "This could not be loaded"),
    el("p", {}, error.message), button("Try again", again, { hold: "again" }));
}

/** A small word in a pill; `tone` is its colour. */
export function badge(text, tone = "") {
  return el("span", { class: `badge ${tone}` }, text);
}

/** A table whose cells carry their column's name, for narrow screens. `columns` are texts, `""` for actions. */
export function table(caption, columns, rows) {
  const head = columns.map((column) =>
    el("th", { scope: "col", "data-column": column }, column || el("span", { class: "unseen" }, "Actions")));
  const cells = (row) => row.map((cell, place) => el("td", { "data-column": columns[place] }, cell));
  return el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, rows.map((row) => el("tr", {}, cells(row)))));
}
