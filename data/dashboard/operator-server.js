// The server itself: whether it is well, what it holds, what it counts; and the trail of who changed what.

import { Refused } from "./api.js";
import { badge, button, el, empty, failed, render, table } from "./dom.js";
import { bytes, compact, moment, number, relative } from "./format.js";

const AUDIT_ROWS = 50;
/** What stands first in the names of changes whose target is an account. */
const ACCOUNT_ACTIONS = ["account.", "rate-limit.", "token."];

/** The samples of a page of metrics, as `[name with labels, value]`. */
function samples(text) {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), line.slice(line.lastIndexOf(" ") + 1)]);
}

export class HealthView {
  #samples = [];

  constructor(container, server) {
    this.server = server;
    this.state = el("div", {});
    this.figures = el("div", { class: "figures" });
    this.top = el("div", { id: "top-accounts" });
    this.filter = el("input", {
      type: "search", placeholder: "Part of a name", autocomplete: "off", "aria-label": "Filter metrics",
      oninput: () => this.#showMetrics(),
    });
    this.metrics = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Metrics" });
    const card = (title, ...children) => el("section", { class: "card", "aria-label": title }, el("h2", {}, title), ...children);
    render(container, el("div", { class: "title" }, el("h1", {}, "Server"), this.state), this.figures,
      card("Busiest accounts of the hour", this.top),
      card("Metrics", el("div", { class: "search" }, this.filter), this.metrics));
  }

  load() {
    return this.refresh();
  }

  async refresh() {
    const [ready, stats, metrics] = await Promise.all([
      this.server.get("/readyz").catch((error) => {
        // It says what it cannot do.
        if (!(error instanceof Refused)) throw error;
        return error;
      }),
      this.server.get("/admin/v1/stats"), this.server.get("/metrics"),
    ]);
    const isReady = !(ready instanceof Refused);
    render(this.state, badge(isReady ? "Ready" : `Not ready: ${ready.message}`, isReady ? "good" : "full"));
    this.#showFigures(stats);
    await this.#showTop(stats.hour.top_accounts);
    this.#samples = samples(metrics);
    this.#showMetrics();
  }

  #showFigures(stats) {
    const figure = (name, value, title) => el("div", { class: "card figure-card", title },
      el("span", { class: "muted" }, name), el("span", { class: "big" }, value));
    render(this.figures,
      figure("Used this hour", compact(stats.hour.used), number(stats.hour.used)),
      figure("Active accounts", number(stats.hour.active_accounts)),
      figure("Accounts", number(stats.accounts)), figure("API keys", number(stats.keys)),
      figure("On disk", bytes(stats.disk_bytes)),
      figure("Commits", compact(stats.commits), `${number(stats.commits)} since the start`),
      figure("Failed commits", number(stats.commit_failures)));
  }

  async #showTop(top) {
    // One that was removed meanwhile has no name.
    const names = await Promise.all(top.map(({ account_id }) =>
      this.server.get(`/admin/v1/accounts/${account_id}`).then((account) => account.name, () => account_id)));
    const rows = top.map((row, place) => [
      el("a", { href: `#/accounts/${row.account_id}`, "data-hold": row.account_id }, names[place]), number(row.used),
    ]);
    render(this.top, rows.length > 0 ? table("Busiest accounts", ["Account", "Used"], rows) : empty("Nothing was used this hour"));
  }

  #showMetrics() {
    const wanted = this.filter.value.trim().toLowerCase();
    const rows = this.#samples.filter(([name]) => name.toLowerCase().includes(wanted))
      .map(([name, value]) => [el("code", { class: "break" }, name), Number.isNaN(Number(value)) ? value : number(Number(value))]);
    render(this.metrics, rows.length > 0 ? table("Metrics", ["Name", "Value"], rows) : empty("No such metric"));
  }
}

/** Of names and e-mail addresses the trail has no values. */
function changeText({ field, from, to }) {
  return from === null && to === null ? field : `${field}: ${from ?? "none"} → ${to ?? "none"}`;
}

export class AuditView {
  #cursors = [""];
  #next = null;

  constructor(container, server) {
    this.server = server;
    this.list = el("div", { id: "audit" });
    render(container, el("div", { class: "title" }, el("div", {}, el("h1", {}, "Audit trail"),
      el("span", { class: "muted" }, "Who changed what, newest first"))),
      el("section", { class: "card", "aria-label": "Audit trail" }, this.list));
  }

  async load() {
    const after = this.#cursors.at(-1);
    const page = await this.server.get(`/admin/v1/audit?limit=${AUDIT_ROWS}${after ? `&after=${after}` : ""}`);
    this.#next = page.next;
    const now = this.server.now();
    const rows = page.items.map((entry) => {
      const at = Date.parse(entry.at);
      return [
        el("time", { datetime: entry.at, title: entry.at }, now - at < 3600e3 ? relative(at, now) : moment(at)),
        el("span", { class: "strong whole" }, entry.action),
        this.#target(entry),
        el("span", { class: "break" }, entry.changed.map(changeText).join(", ")),
        el("span", { class: "break" }, entry.actor),
        el("code", { class: "muted break" }, entry.request_id),
      ];
    });
    render(this.list,
      rows.length > 0 ? table("Audit trail", ["When", "What", "Of", "Changed", "By", "Request"], rows) : empty("Nothing was changed yet"),
      this.#pager());
  }

  /** Of an account, the way there. */
  #target({ action, target }) {
    const text = el("code", { class: "break" }, target);
    const isAccount = ACCOUNT_ACTIONS.some((prefix) => action.startsWith(prefix));
    return isAccount ? el("a", { href: `#/accounts/${encodeURIComponent(target)}` }, text) : text;
  }

  /** The newest page follows what happens; an older one stays, to be read. */
  async refresh() {
    if (this.#cursors.length === 1) await this.load();
  }

  #pager() {
    const place = this.#cursors.length;
    if (place === 1 && !this.#next) return null;
    const turn = (move) => async () => {
      move();
      await this.load().catch((error) => {
        if (error instanceof Refused) render(this.list, failed(error, turn(() => {})));
      });
    };
    return el("nav", { class: "pager", "aria-label": "Pages of the audit trail" },
      place > 1 && button("Newer", turn(() => this.#cursors.pop()), { hold: "newer" }),
      el("span", { class: "muted" }, `Page ${number(place)}`),
      this.#next && button("Older", turn(() => this.#cursors.push(this.#next)), { hold: "older" }));
  }
}
