// Charts in SVG: bars over time, a ring for a share, a line of small bars, a list with bars.

import { el, render, svg } from "./dom.js";
import { compact, number } from "./format.js";

const HEIGHT = 240;
const MARGIN = { top: 12, right: 8, bottom: 26, left: 46 };
/** A label's characters are about as wide, at most. */
const CHAR_WIDTH = 7.5;
/** A bar is narrower than this only where there are more bars than room. */
const GAP_FROM = 5;

/** The steps of an axis from 0 that ends at or above `max`: 1, 2 or 5 times a power of ten. */
export function steps(max) {
  const rough = Math.max(max, 4) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough));
  const end = Math.ceil(Math.max(max, 1) / step);
  return Array.from({ length: end + 1 }, (_, place) => place * step);
}

/**
 * Bars over time, one for each of `points` (`{label, used, denied}`), denied on top of used. `ticks` are the places
 * of the labels below, as `[place, text]`. The arrow keys, or the pointer, walk over the bars and say their figures.
 */
export class Bars {
  #points = [];
  #ticks = [];
  #at = null;
  #canvas;
  #tip = el("div", { class: "tip", hidden: true });
  #spoken = el("p", { class: "unseen", "aria-live": "polite" });

  constructor(container, names) {
    this.names = names;
    this.#canvas = el("div", {
      class: "canvas", tabindex: "0", role: "group", "aria-roledescription": "chart",
      onpointermove: (event) => this.#point(event), onpointerdown: (event) => this.#point(event),
      onpointerleave: () => this.#walkTo(null), onblur: () => this.#walkTo(null),
      onkeydown: (event) => this.#key(event),
    });
    container.append(this.#canvas, this.#tip, this.#spoken);
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
  }

  show(points, ticks, summary) {
    [this.#points, this.#ticks] = [points, ticks];
    this.#canvas.setAttribute("aria-label", `${summary} Use the arrow keys to walk over the bars.`);
    if (this.#at !== null && this.#at >= points.length) this.#at = null;
    this.#draw();
  }

  #layout() {
    const width = Math.max(this.#canvas.clientWidth, 200);
    const inner = width - MARGIN.left - MARGIN.right;
    return { width, slot: inner / Math.max(1, this.#points.length) };
  }

  #draw() {
    const points = this.#points;
    if (points.length === 0 || this.#canvas.clientWidth === 0) return;
    const { width, slot } = this.#layout();
    const axis = steps(Math.max(...points.map((point) => point.used + point.denied)));
    const top = axis.at(-1);
    const base = HEIGHT - MARGIN.bottom;
    const y = (value) => base - (value / top) * (base - MARGIN.top);
    const gap = slot >= GAP_FROM ? Math.min(6, slot * 0.28) : 0;
    const bar = (place, from, to) => {
      const left = MARGIN.left + place * slot + gap / 2;
      return `M${left.toFixed(2)} ${y(from).toFixed(2)}V${y(to).toFixed(2)}h${(slot - gap).toFixed(2)}V${y(from).toFixed(2)}z`;
    };
    const used = points.map((point, place) => (point.used ? bar(place, 0, point.used) : "")).join("");
    const denied = points
      .map((point, place) => (point.denied ? bar(place, point.used, point.used + point.denied) : "")).join("");
    const grid = axis.map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, compact(value)),
    ]);
    const below = this.#ticks.map(([place, text]) => {
      // Under its bar, but not beyond the edge.
      const half = (text.length * CHAR_WIDTH) / 2;
      const x = Math.min(MARGIN.left + (place + 0.5) * slot, width - half);
      return svg("text", { class: "tick", x, y: HEIGHT - 7, "text-anchor": "middle" }, text);
    });
    const mark = this.#at === null ? [] : [svg("rect", {
      class: "mark", x: MARGIN.left + this.#at * slot, y: MARGIN.top, width: Math.max(slot, 1), height: base - MARGIN.top,
    })];
    render(this.#canvas, svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" },
      grid.flat(), mark, svg("path", { class: "used", d: used }), svg("path", { class: "denied", d: denied }), below));
    this.#tell(slot, width);
  }

  #tell(slot, width) {
    const point = this.#at === null ? null : this.#points[this.#at];
    this.#tip.hidden = point === null;
    if (point === null) return;
    const line = (kind, value) => el("span", { class: `key ${kind}` }, `${number(value)} ${this.names[kind]}`);
    render(this.#tip, el("strong", {}, point.label), line("used", point.used), line("denied", point.denied));
    // Beside the bar, on the side that has more room.
    const middle = MARGIN.left + (this.#at + 0.5) * slot;
    const beside = slot / 2 + 8;
    const left = middle < width / 2 ? middle + beside : middle - beside - this.#tip.offsetWidth;
    this.#tip.style.left = `${Math.max(0, left)}px`;
  }

  #walkTo(place) {
    if (place === this.#at) return;
    this.#at = place;
    this.#draw();
  }

  #point(event) {
    const { slot } = this.#layout();
    const place = Math.floor((event.clientX - this.#canvas.getBoundingClientRect().left - MARGIN.left) / slot);
    this.#walkTo(Math.min(Math.max(place, 0), this.#points.length - 1));
  }

  #key(event) {
    const last = this.#points.length - 1;
    const from = this.#at ?? last + 1;
    const places = { ArrowLeft: from - 1, ArrowRight: Math.min(from, last) + 1, Home: 0, End: last, Escape: null };
    if (last < 0 || !(event.key in places)) return;
    event.preventDefault();
    const place = places[event.key];
    this.#walkTo(place === null ? null : Math.min(Math.max(place, 0), last));
    const point = this.#points[this.#at];
    if (point) {
      const { used, denied } = this.names;
      this.#spoken.textContent = `${point.label}: ${number(point.used)} ${used}, ${number(point.denied)} ${denied}`;
    }
  }
}

/** `good`, `near` or `full`: how near a share is to the whole. */
export function tone(share) {
  return share >= 1 ? "full" : share >= 0.8 ? "near" : "good";
}

/** A ring that is filled by a share from 0 to 1, around what stands in `middle`. */
export function ring(share, label, ...middle) {
  const radius = 84;
  const length = 2 * Math.PI * radius;
  const filled = Math.min(share, 1) * length;
  const circle = (kind, dash) => svg("circle", { class: kind, cx: 100, cy: 100, r: radius, "stroke-dasharray": dash });
  return el("div", {
    class: `ring ${tone(share)}`, role: "meter", "aria-label": label,
    "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(Math.min(share, 1) * 100)),
  },
    svg("svg", { viewBox: "0 0 200 200", "aria-hidden": "true" }, circle("rest", `${length} 0`),
      filled > 0 && circle("part", `${filled} ${length - filled}`)),
    el("div", { class: "middle" }, ...middle));
}

/** A bar that is filled by a share from 0 to 1. */
export function bar(share, kind = tone(share)) {
  const part = el("span", { class: `part ${kind}` });
  part.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return el("span", { class: "bar", "aria-hidden": "true" }, part);
}

/** Small bars without axes, for a table's row. */
export function spark(values, label) {
  const [width, height] = [120, 28];
  const top = Math.max(...values, 1);
  const slot = width / Math.max(1, values.length);
  const path = values.map((value, place) => {
    const tall = value === 0 ? 1 : Math.max(2, (value / top) * height);
    return `M${(place * slot).toFixed(2)} ${height}v${-tall.toFixed(2)}h${Math.max(1, slot - 1).toFixed(2)}v${tall.toFixed(2)}z`;
  }).join("");
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("path", { d: path }));
}

/**
 * What used most, the most first: rows of `{name, used, denied, note, alarm}`, with a bar each, as long as the row's
 * share of the longest of `of`.
 */
export function ranking(rows, { mono = false, of = rows } = {}) {
  const most = Math.max(...of.map((row) => row.used + row.denied), 1);
  return el("ol", { class: "ranking" }, rows.map((row) => el("li", {},
    el("span", { class: mono ? "name mono" : "name", title: row.name }, row.name),
    el("span", { class: "figure" }, el("span", { class: "unseen" }, "used "), number(row.used),
      row.denied > 0 && el("span", { class: "denied-figure" }, `+${number(row.denied)} denied`)),
    bar((row.used + row.denied) / most, "plain"),
    (row.note || row.alarm) && el("span", { class: "note" }, row.note,
      row.alarm && el("span", { class: "denied-figure" }, row.alarm)))));
}
