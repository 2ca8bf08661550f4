// Numbers and times for people. Times are UTC, as the windows and the API's own answers are.

const NUMBER = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOURS = 60 * MINUTE;
export const DAYS = 24 * HOURS;

/** `12,345` */
export const number = (value) => NUMBER.format(value);
/** `12.3K` */
export const compact = (value) => COMPACT.format(value);
/** `43%`, of a share from 0 to 1; what is more than nothing is not shown as nothing, nor less than all as all. */
export const percent = (share) => {
  if (share > 0 && share < 0.01) return "<1%";
  return PERCENT.format(share < 1 ? Math.min(share, 0.99) : share);
};
/** `15 Jan 2024, 14:30 UTC` */
export const moment = (at) => `${MOMENT.format(at)} UTC`;
/** `15 Jan` */
export const day = (at) => DAY.format(at);
/** `14:00` */
export const hour = (at) => HOUR.format(at);
/** `1 request`, `2 requests` */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** `29:05`, of milliseconds that are left; a begun second is a whole one. */
export function countdown(left_ms) {
  const seconds = Math.max(0, Math.ceil(left_ms / SECOND));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** `3 minutes ago`, `in 2 days` */
export function relative(at, now) {
  const away = at - now;
  const far = Math.abs(away);
  if (far < 45 * SECOND) return away > 0 ? "in a moment" : "just now";
  const [unit, length] = far < 50 * MINUTE ? ["minute", MINUTE] : far < 22 * HOURS ? ["hour", HOURS] : ["day", DAYS];
  return RELATIVE.format(Math.round(away / length), unit);
}

/** `1.5 MB` */
export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** power;
  return `${scaled.toFixed(power === 0 || scaled >= 100 ? 0 : 1)} ${units[power]}`;
}
