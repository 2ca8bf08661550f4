// The account's links, with their clicks on each of the last days.

import { Refused } from "./api.js";
import { spark } from "./chart.js";
import { badge, button, byId, el, empty, failed, render, table } from "./dom.js";
import { DAYS, count, number } from "./format.js";

const BASE = "/api/v1/public/account/links";
const PER_PAGE = 10;
const SHOWN_DAYS = 30;

export class Links {
  #page = 1;
  #turn = 0;
  /** In front of another API there are no links. */
  #isOff = false;

  constructor(server) {
    this.server = server;
  }

  async load() {
    if (this.#isOff) return;
    this.#turn += 1;
    const turn = this.#turn;
    try {
      const list = await this.server.get(`${BASE}?page=${this.#page}&per_page=${PER_PAGE}`);
      const stats = list.items.map((link) => this.server.get(`${BASE}/${link.id}/stats`));
      const days = (await Promise.all(stats)).map((each) => each.days);
      // A later page was asked for meanwhile.
      if (turn === this.#turn) this.#show(list, days);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#isOff = error.status === 404;
      byId("links-card").hidden = this.#isOff;
      render(byId("links"), failed(error, () => this.load().catch(() => {})));
    }
  }

  forget() {
    this.#turn += 1;
    this.#page = 1;
    render(byId("links"));
    byId("links-count").textContent = "";
  }

  #show(list, days) {
    byId("links-card").hidden = false;
    byId("links-count").textContent = list.total > 0 ? count(list.total, "link") : "";
    if (list.total === 0) {
      render(byId("links"), empty("No links yet", "POST /api/v1/public/links makes one."));
      return;
    }
    const rows = list.items.map((link, place) => this.#row(link, days[place]));
    const columns = ["Name", "Short URL", "Clicks", `Last ${SHOWN_DAYS} days`, "State"];
    const turn = (step) => () => {
      this.#page += step;
      this.load().catch(() => {});
    };
    const pager = list.pages > 1 && el("nav", { class: "pager", "aria-label": "Pages of links" },
      this.#page > 1 && button("Newer", turn(-1), { hold: "newer" }),
      el("span", { class: "muted" }, `Page ${number(list.page)} of ${number(list.pages)}`),
      this.#page < list.pages && button("Older", turn(1), { hold: "older" }));
    render(byId("links"), table("Links", columns, rows), pager);
  }

  #row(link, days) {
    const byDate = new Map(days.map((each) => [each.date, each.clicks]));
    const today = Math.floor(this.server.now() / DAYS);
    const clicks = Array.from({ length: SHOWN_DAYS }, (_, place) => {
      const date = new Date((today - SHOWN_DAYS + 1 + place) * DAYS).toISOString().slice(0, 10);
      return byDate.get(date) ?? 0;
    });
    const lately = clicks.reduce((sum, each) => sum + each, 0);
    return [
      el("span", { class: "strong" }, link.name),
      // Not a link to follow: that would be a click.
      el("code", { class: "break" }, link.short_url.replace(/^https?:\/\//, "")),
      number(link.click_count),
      spark(clicks, `${number(lately)} clicks in the last ${SHOWN_DAYS} days, ${number(clicks.at(-1))} today`),
      this.#state(link),
    ];
  }

  #state(link) {
    if (!link.is_active) return badge("Off");
    const isOver = link.expires_at && Date.parse(link.expires_at) <= this.server.now();
    return isOver ? badge("Expired") : badge("Live", "good");
  }
}
