// The table of an account's keys and what can be done with them, for account holders and operators alike.

import { announce, ask, badge, button, el, empty, field, render, select, showSecret, table } from "./dom.js";
import { DAYS, count, moment, relative } from "./format.js";

const NAME_CHARS_MAX = 100;
const EXPIRIES = [["", "Never"], ["7", "In 7 days"], ["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"]];
const GRACES = [["0", "At once"], ["3600", "After 1 hour"], ["86400", "After 1 day"], ["604800", "After 7 days"]];

/** `"active"`, `"ending"`, `"expired"` or `"revoked"`. */
function state(key, now) {
  if (key.revoked_at) return "revoked";
  if (!key.expires_at) return "active";
  const left = Date.parse(key.expires_at) - now;
  return left <= 0 ? "expired" : left < 8 * DAYS ? "ending" : "active";
}

const TONES = { active: "good", ending: "near", expired: "", revoked: "" };

export class Keys {
  #showsEnded = false;
  #keys = [];

  /** `calls` has `create(fields)`, `rotate(id, grace)` and `revoke(id)`, and `changed()`, run after each. */
  constructor(container, server, calls) {
    Object.assign(this, { container, server, calls });
  }

  show(keys) {
    this.#keys = keys;
    const now = this.server.now();
    const isLive = (key) => ["active", "ending"].includes(state(key, now));
    const live = keys.filter(isLive);
    const ended = keys.filter((key) => !isLive(key));
    const shown = this.#showsEnded ? [...live, ...ended] : live;
    const text = this.#showsEnded ? "Hide ended keys" : `Show ${count(ended.length, "ended key")}`;
    const toggle = ended.length > 0 && button(text, () => {
      this.#showsEnded = !this.#showsEnded;
      this.show(this.#keys);
    }, { kind: "quiet", hold: "ended" });
    const create = button("Create a key", () => this.create(), { kind: "primary", hold: "first" });
    render(this.container,
      shown.length > 0 ? this.#table(shown, now) : empty("No keys yet", "A key lets your programs call the API.", create),
      toggle);
  }

  /** The name of a key, by its id. */
  name(id) {
    return this.#keys.find((key) => key.id === id)?.name;
  }

  #table(keys, now) {
    const columns = ["Name", "Key", "Access", "Last used", "Created", "State", ""];
    return table("API keys", columns, keys.map((key) => [
      el("span", { class: "strong" }, key.name),
      el("code", {}, key.display),
      key.scope === "read_only" ? "Read only" : "Read and write",
      this.#when(key.last_used_at, now, "Never"),
      this.#when(key.created_at, now),
      this.#state(key, now),
      this.#actions(key, now),
    ]));
  }

  #when(text, now, never = "") {
    if (!text) return el("span", { class: "muted" }, never);
    const at = Date.parse(text);
    return el("time", { datetime: text, title: moment(at) }, relative(at, now));
  }

  #state(key, now) {
    const is = state(key, now);
    const texts = { active: "Active", expired: "Expired", revoked: "Revoked" };
    const text = texts[is] ?? `Ends ${relative(Date.parse(key.expires_at), now)}`;
    const end = key.revoked_at ?? key.expires_at;
    const pill = badge(text, TONES[is]);
    if (end) pill.title = `${key.revoked_at ? "Revoked" : "Ends"} ${moment(Date.parse(end))}`;
    return pill;
  }

  #actions(key, now) {
    if (!["active", "ending"].includes(state(key, now))) return el("span", {});
    return el("div", { class: "row-actions" },
      button("Rotate", () => this.#rotate(key), { kind: "small", hold: `rotate-${key.id}`, label: `Rotate ${key.name}` }),
      button("Revoke", () => this.#revoke(key),
        { kind: "small danger-quiet", hold: `revoke-${key.id}`, label: `Revoke ${key.name}` }));
  }

  async create() {
    const made = await ask({
      title: "Create a key",
      fields: [
        field("Name", el("input", { name: "name", required: true, maxlength: NAME_CHARS_MAX, autocomplete: "off", autofocus: true }),
          "What will use it, such as “billing service”."),
        field("Access", select("scope", [["read_write", "Read and write"], ["read_only", "Read only"]], "read_write")),
        field("Expires", select("days", EXPIRIES, "")),
      ],
      submit: "Create the key",
      run: (form) => this.calls.create({
        name: form.get("name"),
        scope: form.get("scope"),
        ...this.#expiry(Number(form.get("days"))),
      }),
    });
    if (made) await this.#made(made, "Your new key");
  }

  /** By the server's clock: the browser's may be wrong. */
  #expiry(days) {
    return days ? { expires_at: new Date(this.server.now() + days * DAYS).toISOString() } : {};
  }

  async #rotate(key) {
    const made = await ask({
      title: `Rotate ${key.name}`,
      text: "You get a new key with the same name and access. Put it where the old one is in use before the old one ends.",
      fields: [field("The old key ends", select("grace", GRACES, "3600"))],
      submit: "Rotate",
      run: (form) => this.calls.rotate(key.id, Number(form.get("grace"))),
    });
    if (made) await this.#made(made, "The new key");
  }

  async #made(made, title) {
    const text = "Copy it now and keep it safe: it is shown this once, and nobody can show it again.";
    const shown = showSecret(title, text, made.key);
    this.calls.changed();
    await shown;
  }

  async #revoke(key) {
    const done = await ask({
      title: `Revoke ${key.name}?`,
      text: `${key.display} stops working at once, in everything that uses it. This cannot be undone.`,
      submit: "Revoke the key",
      danger: true,
      run: () => this.calls.revoke(key.id),
    });
    if (!done) return;
    announce(`${key.name} is revoked.`);
    this.calls.changed();
  }
}
