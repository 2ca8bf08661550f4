// One account: its hour, its terms and what can be done about them, its keys, its usage.

import { Refused } from "./api.js";
import { ring } from "./chart.js";
import { announce, ask, badge, button, el, field, render, select, showSecret } from "./dom.js";
import { DAYS, SECOND, countdown, moment, number, relative } from "./format.js";
import { Keys } from "./keys.js";
import { badges, loadPlans, planOptions } from "./operator-accounts.js";
import { Usage } from "./usage.js";

const USAGE_PAUSE = 20 * SECOND;
const LIMIT_MAX = 4294967295;
const TRIAL_DAYS_DEFAULT = 14;
const SESSIONS = [["3600", "1 hour"], ["86400", "1 day"], ["604800", "7 days"]];

export class AccountView {
  #account = null;
  #standing = null;
  #plans = [];
  #usageAt = -USAGE_PAUSE;

  constructor(container, server, id) {
    Object.assign(this, { container, server, id, path: `/admin/v1/accounts/${encodeURIComponent(id)}` });
  }

  async load() {
    [this.#account, this.#plans] = await Promise.all([this.server.get(this.path), loadPlans(this.server)]);
    this.#build();
    await this.refresh();
  }

  async refresh() {
    const [account, standing, page] = await Promise.all([
      this.server.get(this.path),
      this.server.get(`${this.path}/rate-limit`),
      this.server.get(`${this.path}/keys?limit=1000`),
    ]);
    [this.#account, this.#standing] = [account, standing];
    this.#show();
    this.keys.show(page.items);
    await this.#loadUsage();
  }

  /** Not each time: a month of a busy account is a lot to add up. */
  async #loadUsage() {
    const now = performance.now();
    if (now - this.#usageAt < USAGE_PAUSE) return;
    this.#usageAt = now;
    await this.usage.load().catch((error) => {
      // It says so in its own place.
      if (!(error instanceof Refused)) throw error;
    });
  }

  leave() {
    this.usage?.forget();
  }

  tick() {
    const place = document.getElementById("reset-in");
    if (!place || !this.#standing) return;
    place.textContent = countdown(Date.parse(this.#standing.reset_at) - this.server.now());
  }

  #build() {
    const card = (title, ...children) => el("section", { class: "card", "aria-label": title }, ...children);
    [this.head, this.hour, this.terms] = [el("div", { class: "title" }), el("div", { class: "gauge" }), el("div")];
    const keys = el("div");
    const usage = el("div", { class: "stack" });
    render(this.container,
      el("a", { href: "#/accounts", class: "back" }, "← All accounts"), this.head,
      el("div", { class: "columns hour" },
        card("This hour", el("h2", {}, "This hour"), this.hour),
        card("Terms", el("h2", {}, "Terms"), this.terms)),
      card("API keys", el("div", { class: "heading" }, el("h2", {}, "API keys"),
        button("Create key", () => this.keys.create(), { kind: "primary" })), keys),
      usage);
    this.keys = new Keys(keys, this.server, {
      create: (fields) => this.server.post(`${this.path}/keys`, fields),
      rotate: (key, grace_seconds) => this.server.post(`/admin/v1/keys/${key}/rotate`, { grace_seconds }),
      revoke: (key) => this.server.remove(`/admin/v1/keys/${key}`),
      changed: () => this.#again(),
    });
    this.usage = new Usage(usage, this.server, { path: `${this.path}/usage`, keyName: (key) => this.keys.name(key) });
  }

  #again() {
    this.refresh().catch(() => {});
  }

  #show() {
    const [account, now] = [this.#account, this.server.now()];
    render(this.head,
      el("div", {}, el("h1", {}, account.name),
        el("p", { class: "muted pills" }, account.email && el("span", {}, account.email), el("code", {}, account.id),
          ...badges(account, now))),
      el("div", { class: "actions" },
        button("Session token", () => this.#token(), { hold: "token" }),
        button(account.suspended ? "Lift suspension" : "Suspend", () => this.#suspend(),
          { kind: account.suspended ? "" : "danger-quiet", hold: "suspend" }),
        button("Delete", () => this.#remove(), { kind: "danger-quiet", hold: "delete" })));
    this.#showHour();
    this.#showTerms(account, now);
  }

  #showHour() {
    const { limit, used, remaining, reset_at } = this.#standing;
    const fact = (name, value, id) => [el("dt", {}, name), el("dd", { id }, value)];
    const share = limit === 0 ? 0 : used / limit;
    render(this.hour,
      ring(share, `${number(used)} of ${number(limit)} requests used this hour`,
        el("span", { class: "big", id: "remaining" }, number(remaining)), el("span", { class: "muted" }, "left")),
      el("div", {}, el("dl", { class: "facts" }, fact("Used", number(used), "used"), fact("Limit", number(limit), "limit"),
        fact("Resets in", "", "reset-in"), fact("Resets at", moment(Date.parse(reset_at)).slice(-9))),
      el("div", { class: "actions" }, button("Set counter", () => this.#setUsed(), { kind: "small", hold: "set-used" }),
        button("Reset to 0", () => this.#reset(), { kind: "small", hold: "reset" }))));
    this.tick();
  }

  #showTerms(account, now) {
    const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
    const { trial, custom_limit } = account;
    const ends = trial && Date.parse(trial.ends_at);
    render(this.terms,
      el("p", { class: "plan-name" }, el("span", { id: "plan-name" }, account.plan), !account.api_access && badge("No API access")),
      el("dl", { class: "facts" },
        fact("Limit in force", number(account.limit)),
        fact("Custom limit", custom_limit === null ? "None" : number(custom_limit)),
        fact("Trial", trial ? el("time", { datetime: trial.ends_at, title: moment(ends) },
          `${trial.plan}, ${ends > now ? "ends" : "ended"} ${relative(ends, now)}`) : "None"),
        fact("Created", el("time", { datetime: account.created_at, title: account.created_at },
          moment(Date.parse(account.created_at))))),
      el("div", { class: "actions" }, button("Edit", () => this.#edit(), { hold: "edit" }),
        button("Trial", () => this.#trial(), { hold: "trial" }),
        button("Change plan", () => this.#changePlan(), { kind: "primary", hold: "plan" })));
  }

  /** Changes the account; it acts on its next request. */
  async #change(fields) {
    await this.server.patch(this.path, fields);
    this.#again();
  }

  async #changePlan() {
    const custom = el("input", {
      name: "custom", type: "number", min: 0, max: LIMIT_MAX, step: 1, inputmode: "numeric", value: this.#account.custom_limit,
    });
    const done = await ask({
      title: "Change plan",
      text: "The change acts on the account’s next request. What it has used of this hour stays used.",
      fields: [
        field("Plan", select("plan", planOptions(this.#plans), this.#account.plan)),
        field("Custom limit", custom, "Requests an hour in place of the plan’s. Leave it empty for the plan’s own."),
      ],
      submit: "Change",
      run: (form) => this.#change({
        plan: form.get("plan"), custom_limit: form.get("custom") === "" ? null : Number(form.get("custom")),
      }),
    });
    if (done) announce("The new terms are in force.");
  }

  async #trial() {
    const days = el("input", { name: "days", type: "number", min: 1, max: 3650, step: 1, value: TRIAL_DAYS_DEFAULT, required: true });
    const options = [...planOptions(this.#plans), ["", "End the trial"]];
    const done = await ask({
      title: "Trial",
      text: "While a trial runs, the account has the better of its plan and the trial’s.",
      fields: [field("Plan to try", select("plan", options, this.#account.trial?.plan ?? "growth")), field("Days from now", days)],
      submit: "Save",
      run: (form) => this.#change({
        trial: form.get("plan") === "" ? null : {
          plan: form.get("plan"), ends_at: new Date(this.server.now() + Number(form.get("days")) * DAYS).toISOString(),
        },
      }),
    });
    if (done) announce("The trial is saved.");
  }

  async #edit() {
    const { name, email } = this.#account;
    await ask({
      title: "Edit account",
      fields: [
        field("Name", el("input", { name: "name", value: name, required: true, maxlength: 100, autocomplete: "off" })),
        field("E-mail", el("input", { name: "email", type: "email", value: email, autocomplete: "off" }), "May be left out."),
      ],
      submit: "Save",
      run: (form) => this.#change({ name: form.get("name"), email: form.get("email") || null }),
    });
  }

  async #suspend() {
    const { suspended, name } = this.#account;
    await ask({
      title: suspended ? `Lift the suspension of ${name}?` : `Suspend ${name}?`,
      text: suspended ? "Its keys work again from the next request on." : "Every key of it is answered 403 until this is lifted.",
      submit: suspended ? "Lift" : "Suspend the account",
      danger: !suspended,
      run: () => this.#change({ suspended: !suspended }),
    });
  }

  async #reset() {
    const done = await ask({
      title: "Reset this hour’s counter?",
      text: "The account may use its whole limit again before the hour ends.",
      submit: "Reset",
      run: () => this.#set(0),
    });
    if (done) announce("The counter is 0.");
  }

  async #setUsed() {
    const used = el("input", { name: "used", type: "number", min: 0, max: LIMIT_MAX, step: 1, required: true, value: this.#standing.used });
    await ask({
      title: "Set this hour’s counter",
      fields: [field("Used", used)],
      submit: "Set",
      run: (form) => this.#set(Number(form.get("used"))),
    });
  }

  async #set(used) {
    await this.server.put(`${this.path}/rate-limit`, { used });
    this.#again();
  }

  async #token() {
    const made = await ask({
      title: "Session token",
      text: "With it the account holder opens the dashboard and manages keys. It cannot be taken back before it ends.",
      fields: [field("Valid for", select("ttl", SESSIONS, "3600"))],
      submit: "Make a token",
      run: (form) => this.server.post(`${this.path}/tokens`, { ttl_seconds: Number(form.get("ttl")) }),
    });
    if (made) await showSecret("Session token", `For /dashboard on the public listener. It ends ${moment(Date.parse(made.expires_at))}.`, made.token);
  }

  async #remove() {
    const { name } = this.#account;
    const done = await ask({
      title: `Delete ${name}?`,
      text: "It is removed with its keys, counters, usage, links and kept answers, for good; its links answer 404.",
      fields: [field("Type the account’s name to go on", el("input", { name: "name", required: true, autocomplete: "off" }))],
      submit: "Delete the account",
      danger: true,
      run: (form) => {
        if (form.get("name").trim() !== name) throw new Error("This is not the account’s name.");
        return this.server.remove(this.path);
      },
    });
    if (!done) return;
    announce(`${name} is deleted.`);
    location.hash = "#/accounts";
  }
}
