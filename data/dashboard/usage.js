// What an account used and was denied: a chart over time, and the keys and endpoints that took most of it.

import { Refused } from "./api.js";
import { Bars, ranking } from "./chart.js";
import { el, empty, failed, render, table } from "./dom.js";
import { HOURS, count, day, hour, moment, number, percent } from "./format.js";

const SPANS = [
  { id: "24h", text: "24 hours", hours: 24 },
  { id: "7d", text: "7 days", hours: 7 * 24 },
  { id: "30d", text: "30 days", hours: 30 * 24 },
];
/** Rows of each ranking. */
const TOP = 8;

/** One point for each hour of the span, those without requests too. */
function points(hours, first, length) {
  const found = new Map(hours.map((row) => [Date.parse(row.hour), row]));
  return Array.from({ length }, (_, place) => {
    const at = first + place * HOURS;
    const { used = 0, denied = 0 } = found.get(at) ?? {};
    return { at, label: `${day(at)}, ${hour(at)}–${hour(at + HOURS)}`, used, denied };
  });
}

/** Labels below the chart: few enough for a phone. */
function ticks(series) {
  const isLong = series.length > 24;
  const each_hours = isLong ? 24 : 6;
  const marks = series.map((point, place) => [place, point.at]).filter(([, at]) => at % (each_hours * HOURS) === 0);
  const each = Math.ceil(marks.length / 6);
  return marks.filter((_, place) => place % each === 0).map(([place, at]) => [place, isLong ? day(at) : hour(at)]);
}

/** What stands for the keys beyond the most that an account has rows for. */
const OTHER_KEYS = "00000000-0000-0000-0000-000000000000";

const total = (series, name) => series.reduce((sum, point) => sum + point[name], 0);
const byWeight = (a, b) => b.used + b.denied - a.used - a.denied;

export class Usage {
  #span = SPANS[0];
  #shown = null;
  #loading = null;
  #chart = null;
  #ranges = el("div", { class: "segments", role: "group", "aria-label": "Span" });
  #body = el("div");
  #totals = el("div", { class: "totals" });
  #canvas = el("div", { class: "chart" });
  #table = el("details", { class: "as-table", ontoggle: () => this.#fillTable() },
    el("summary", {}, "Show as a table"), el("div", { class: "scroll" }));
  #topKeys = el("div");
  #topEndpoints = el("div");
  #tops;

  /** `path` answers usage; `keyName` names a key by its id. */
  constructor(container, server, { path, keyName }) {
    Object.assign(this, { server, path, keyName });
    const card = (title, ...children) => el("section", { class: "card", "aria-label": title }, ...children);
    this.#tops = el("div", { class: "columns", hidden: true },
      card("Busiest keys", el("h2", {}, "Busiest keys"), this.#topKeys),
      card("Busiest endpoints", el("h2", {}, "Busiest endpoints"), this.#topEndpoints));
    render(this.#ranges, SPANS.map((span) =>
      el("button", { type: "button", id: `span-${span.id}`, onclick: () => this.#choose(span) }, span.text)));
    container.append(
      card("Requests", el("div", { class: "heading" }, el("h2", {}, "Requests"), this.#ranges), this.#body), this.#tops);
    this.#press();
  }

  #choose(span) {
    this.#span = span;
    this.#press();
    this.#again();
  }

  #press() {
    SPANS.forEach((span, place) => this.#ranges.children[place].setAttribute("aria-pressed", String(span === this.#span)));
  }

  /** Loads once more, for a button: what fails is shown already. */
  #again = () => this.load().catch(() => {});

  async load() {
    // The answer for a span that is no longer wanted must not come last.
    this.#loading?.abort();
    const [loading, length] = [new AbortController(), this.#span.hours];
    this.#loading = loading;
    const end = (Math.floor(this.server.now() / HOURS) + 1) * HOURS;
    const first = end - length * HOURS;
    const query = `from=${new Date(first).toISOString()}&to=${new Date(end).toISOString()}`;
    try {
      const answer = await this.server.get(`${this.path}?${query}`, loading.signal);
      this.#shown = { total: answer.total, series: points(answer.hours, first, length) };
      this.show();
    } catch (error) {
      if (loading.signal.aborted) return;
      if (error instanceof Refused) {
        this.#clear();
        render(this.#body, failed(error, this.#again));
      }
      throw error;
    }
  }

  forget() {
    this.#loading?.abort();
    this.#clear();
  }

  #clear() {
    [this.#shown, this.#chart] = [null, null];
    this.#tops.hidden = true;
    render(this.#canvas);
    render(this.#body);
  }

  show() {
    if (!this.#shown) return;
    const { series } = this.#shown;
    const [used, denied] = [total(series, "used"), total(series, "denied")];
    const span = `the last ${this.#span.text}`;
    if (used + denied === 0) {
      const shown = this.#shown;
      this.#clear();
      this.#shown = shown;
      render(this.#body, empty(`No requests in ${span}`, "One that is sent with a key shows up here within seconds."));
      return;
    }
    if (!this.#chart) {
      render(this.#body, this.#totals, this.#canvas, this.#table);
      this.#chart = new Bars(this.#canvas, { used: "used", denied: "denied" });
    }
    const figure = (kind, value, text) =>
      el("div", { class: `figure-box ${kind}` }, el("span", { class: "big" }, value), el("span", { class: "muted" }, text));
    render(this.#totals, figure("used", number(used), "used"), figure("denied", number(denied), "denied"),
      figure("", percent(denied / (used + denied)), "denied share"));
    this.#chart.show(series, ticks(series), `${number(used)} requests used and ${number(denied)} denied in ${span}.`);
    this.#fillTable();
    this.#showTops();
  }

  #fillTable() {
    if (!this.#table.open || !this.#shown) return;
    const rows = this.#shown.series.filter((point) => point.used + point.denied > 0).reverse();
    render(this.#table.lastChild, table("Requests by hour", ["Hour (UTC)", "Used", "Denied"],
      rows.map((point) => [moment(point.at).replace(" UTC", ""), number(point.used), number(point.denied)])));
  }

  #showTops() {
    this.#tops.hidden = false;
    const { by_key, by_endpoint } = this.#shown.total;
    const errors = (row) => (row.errors > 0 ? count(row.errors, "error") : "");
    const times = (row) => (row.p99_ms === null ? "" : `half within ${number(row.p50_ms)} ms, 99% within ${number(row.p99_ms)} ms`);
    const name = (id) => (id === OTHER_KEYS ? "other keys" : this.keyName(id) ?? "a removed key");
    const keys = by_key.map((row) => ({ ...row, name: name(row.key_id), alarm: errors(row) }));
    const endpoints = by_endpoint.map((row) => ({ ...row, name: row.endpoint, alarm: errors(row), note: times(row) }));
    this.#top(this.#topKeys, keys.sort(byWeight), "keys");
    this.#top(this.#topEndpoints, endpoints.sort(byWeight), "endpoints", { mono: true });
  }

  #top(place, rows, what, options) {
    const wasOpen = place.querySelector("details")?.open;
    const rest = rows.slice(TOP);
    const more = rest.length > 0 && el("details", { open: wasOpen },
      el("summary", { "data-hold": "more" }, `${number(rest.length)} more`), ranking(rest, { ...options, of: rows }));
    render(place, rows.length > 0 ? ranking(rows.slice(0, TOP), options) : empty("Nothing yet"), more);
  }
}
