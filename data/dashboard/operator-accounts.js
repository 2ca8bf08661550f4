// The list of accounts: the nearest to their limit first, searched and paged by the server.

import { bar, tone } from "./chart.js";
import { ask, badge, button, el, empty, field, render, select, table } from "./dom.js";
import { number, percent } from "./format.js";

const PER_PAGE = 25;
/** How long typing must rest before it is searched for. */
const TYPING_MS = 250;

/** All plans: there are few. */
export async function loadPlans(server) {
  return (await server.get("/admin/v1/plans?limit=1000")).items;
}

/** Plans to choose from: their ids, and what each gives. */
export const planOptions = (plans) => plans.map((plan) =>
  [plan.id, `${plan.name}: ${plan.api_access ? `${number(plan.requests_per_hour)} an hour` : "no API access"}`]);

/** What an account is, besides its plan, in pills. */
export function badges(account, now) {
  const onTrial = account.trial && Date.parse(account.trial.ends_at) > now;
  return [
    account.suspended && badge("Suspended", "full"),
    !account.api_access && badge("No API access"),
    onTrial && badge(`${account.trial.plan} on trial`, "info"),
    account.custom_limit !== null && badge("Custom limit", "info"),
  ].filter(Boolean);
}

export class AccountsView {
  #search = "";
  /** The cursors of the pages up to this one; the first page has none. */
  #cursors = [""];
  #next = null;
  #asking = null;

  constructor(container, server) {
    this.server = server;
    let timer;
    this.input = el("input", {
      type: "search", id: "search", placeholder: "Name, e-mail, plan or id", autocomplete: "off", maxlength: 100,
      "aria-label": "Search accounts",
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(() => this.#lookFor(this.input.value.trim()), TYPING_MS);
      },
    });
    this.total = el("span", { class: "muted", id: "accounts-total" });
    this.list = el("div", { id: "accounts", "aria-busy": "true" });
    render(container,
      el("div", { class: "title" }, el("div", {}, el("h1", {}, "Accounts"), this.total),
        button("New account", () => this.#create(), { kind: "primary" })),
      el("section", { class: "card", "aria-label": "Accounts" }, el("div", { class: "search" }, this.input), this.list));
  }

  async load() {
    const [{ accounts, hour }] = await Promise.all([this.server.get("/admin/v1/stats"), this.refresh()]);
    this.total.textContent = `${number(accounts)} in all, ${number(hour.active_accounts)} active this hour`;
  }

  leave() {
    this.#asking?.abort();
  }

  async #lookFor(text) {
    if (text === this.#search) return;
    [this.#search, this.#cursors] = [text, [""]];
    await this.#turn();
  }

  /** Asked for by a person: what fails is in the banner or will be asked for again. */
  async #turn() {
    await this.refresh().catch(() => {});
  }

  async refresh() {
    // Only the last of several searches is shown.
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    this.list.setAttribute("aria-busy", "true");
    const query = new URLSearchParams({ sort: "usage", limit: PER_PAGE });
    if (this.#search) query.set("search", this.#search);
    if (this.#cursors.at(-1)) query.set("after", this.#cursors.at(-1));
    let page;
    try {
      page = await this.server.get(`/admin/v1/accounts?${query}`, asking.signal);
    } catch (error) {
      if (asking.signal.aborted) return;
      throw error;
    }
    this.#next = page.next;
    this.list.setAttribute("aria-busy", "false");
    this.#show(page.items);
  }

  #show(accounts) {
    if (accounts.length === 0) {
      const none = this.#search
        ? empty("No account holds this text", "It is looked for in names, e-mail addresses, plans and ids.")
        : empty("No accounts yet", "An account owns API keys and has a plan.",
          button("New account", () => this.#create(), { kind: "primary", hold: "first" }));
      render(this.list, none, this.#pager());
      return;
    }
    const now = this.server.now();
    const rows = accounts.map((account) => [
      el("span", { class: "stacked" },
        el("a", { href: `#/accounts/${account.id}`, class: "strong", "data-hold": account.id }, account.name),
        account.email && el("span", { class: "muted small" }, account.email)),
      el("span", { class: "pills" }, el("span", { class: "plan" }, account.plan), ...badges(account, now)),
      this.#used(account),
    ]);
    render(this.list, table("Accounts", ["Account", "Plan", "This hour"], rows), this.#pager());
  }

  #used({ api_access, used, limit }) {
    if (!api_access) return el("span", { class: "muted" }, used > 0 ? `${number(used)} used` : "–");
    const share = limit === 0 ? 0 : used / limit;
    return el("span", { class: "meter-cell" },
      el("span", { class: "meter-text" }, `${number(used)} / ${number(limit)}`,
        el("span", { class: `share ${tone(share)}` }, percent(share))), bar(share));
  }

  #pager() {
    const place = this.#cursors.length;
    if (place === 1 && !this.#next) return null;
    const back = () => {
      this.#cursors.pop();
      this.#turn();
    };
    const on = () => {
      this.#cursors.push(this.#next);
      this.#turn();
    };
    return el("nav", { class: "pager", "aria-label": "Pages of accounts" },
      place > 1 && button("Previous", back, { hold: "previous" }), el("span", { class: "muted" }, `Page ${number(place)}`),
      this.#next && button("Next", on, { hold: "next" }));
  }

  async #create() {
    const plans = await loadPlans(this.server);
    const made = await ask({
      title: "New account",
      fields: [
        field("Name", el("input", { name: "name", required: true, maxlength: 100, autocomplete: "off", autofocus: true })),
        field("E-mail", el("input", { name: "email", type: "email", autocomplete: "off" }), "May be left out."),
        field("Plan", select("plan", planOptions(plans), "free")),
      ],
      submit: "Create the account",
      run: (form) => this.server.post("/admin/v1/accounts", {
        name: form.get("name"), email: form.get("email") || null, plan: form.get("plan"),
      }),
    });
    if (made) location.hash = `#/accounts/${made.id}`;
  }
}
