// Plans: what there is, and changing it.

import { announce, ask, badge, button, el, empty, field, render, table } from "./dom.js";
import { number } from "./format.js";
import { loadPlans } from "./operator-accounts.js";

const BASE = "/admin/v1/plans";
const LIMIT_MAX = 4294967295;

export class PlansView {
  constructor(container, server) {
    this.server = server;
    this.list = el("div", { id: "plans" });
    render(container,
      el("div", { class: "title" }, el("h1", {}, "Plans"), button("New plan", () => this.#create(), { kind: "primary" })),
      el("section", { class: "card", "aria-label": "Plans" }, this.list));
  }

  async load() {
    const plans = await loadPlans(this.server);
    plans.sort((a, b) => a.requests_per_hour - b.requests_per_hour);
    const columns = ["Plan", "API access", "Requests an hour", "Best for", ""];
    const rows = plans.map((plan) => [
      el("span", { class: "stacked" }, el("span", { class: "strong" }, plan.name), el("code", { class: "muted" }, plan.id)),
      plan.api_access ? badge("Yes", "good") : badge("No"),
      number(plan.requests_per_hour),
      plan.best_for,
      el("div", { class: "row-actions" },
        button("Edit", () => this.#edit(plan), { kind: "small", hold: `edit-${plan.id}`, label: `Edit ${plan.name}` }),
        button("Remove", () => this.#remove(plan),
          { kind: "small danger-quiet", hold: `remove-${plan.id}`, label: `Remove ${plan.name}` })),
    ]);
    render(this.list, rows.length > 0 ? table("Plans", columns, rows) : empty("No plans", "Accounts need one."));
  }

  #fields(plan) {
    const access = el("input", { name: "api_access", type: "checkbox", checked: plan.api_access, id: "plan-access" });
    return [
      field("Name", el("input", { name: "name", value: plan.name, required: true, maxlength: 100, autocomplete: "off" })),
      el("div", { class: "check" }, access, el("label", { for: "plan-access" }, "API access")),
      field("Requests an hour", el("input", {
        name: "limit", type: "number", min: 0, max: LIMIT_MAX, step: 1, required: true, value: plan.requests_per_hour,
      })),
      field("Best for", el("input", { name: "best_for", value: plan.best_for, maxlength: 100, autocomplete: "off" })),
    ];
  }

  #values(form) {
    return {
      name: form.get("name"), api_access: form.has("api_access"), requests_per_hour: Number(form.get("limit")),
      best_for: form.get("best_for"),
    };
  }

  async #create() {
    const plan = { name: "", api_access: true, requests_per_hour: 100, best_for: "" };
    const id = el("input", { name: "id", required: true, maxlength: 32, autocomplete: "off", autofocus: true });
    await this.#save("New plan", [field("Id", id, "Small letters, digits, - and _. It stays."), ...this.#fields(plan)],
      (form) => this.server.post(BASE, { id: form.get("id"), ...this.#values(form) }));
  }

  async #edit(plan) {
    await this.#save(`Edit ${plan.name}`, this.#fields(plan),
      (form) => this.server.patch(`${BASE}/${plan.id}`, this.#values(form)),
      "Its accounts have the new terms from their next request on.");
  }

  async #save(title, fields, run, text) {
    const done = await ask({ title, text, fields, submit: "Save the plan", run });
    if (!done) return;
    announce("The plan is saved.");
    await this.#again();
  }

  async #remove(plan) {
    const done = await ask({
      title: `Remove ${plan.name}?`,
      text: "Only a plan that no account is on, or tries, can be removed.",
      submit: "Remove the plan",
      danger: true,
      run: () => this.server.remove(`${BASE}/${plan.id}`),
    });
    if (!done) return;
    announce(`${plan.name} is removed.`);
    await this.#again();
  }

  async #again() {
    await this.load().catch(() => {});
  }
}
