// The account holder's page: signs in, keeps what it shows fresh, and says when it cannot.

import { Links } from "./account-links.js";
import { Away, Refused, Server, SignedOut, checkToken, repeat, unescaped } from "./api.js";
import { ring } from "./chart.js";
import { announce, badge, byId, el, failed, render } from "./dom.js";
import { MINUTE, SECOND, countdown, moment, number, relative } from "./format.js";
import { Keys } from "./keys.js";
import { Usage } from "./usage.js";

const BASE = "/api/v1/public";
/** How often the gauge is asked for: the call is not counted, and costs the server as much as a health check. */
const GAUGE_PAUSE = 3 * SECOND;
const USAGE_PAUSE = 20 * SECOND;
const REST_PAUSE = MINUTE / 2;

const server = new Server("/dashboard/icon.svg", {
  away() {
    banner("away", "The server does not answer. What you see may be old; trying again …");
  },
  back() {
    banner();
    announce("The server is back.");
    if (server.token) loadAll();
  },
  signedOut: () => endSession("Your session has ended. Paste a new token to go on."),
});

const usage = new Usage(byId("usage"), server, { path: `${BASE}/usage`, keyName: (id) => keys.name(id) });
const links = new Links(server);
const keys = new Keys(byId("keys"), server, {
  create: (fields) => server.post(`${BASE}/keys`, fields),
  rotate: (id, grace_seconds) => server.post(`${BASE}/keys/${id}/rotate`, { grace_seconds }),
  revoke: (id) => server.remove(`${BASE}/keys/${id}`),
  changed: () => settle(loadKeys()),
});
let standing = null;

function banner(kind = "", text = "") {
  const place = byId("banner");
  place.className = `banner ${kind}`;
  place.textContent = text;
  place.hidden = text === "";
}

/** Waits for work whose failures are shown already. */
async function settle(...work) {
  for (const done of await Promise.allSettled(work)) {
    if (done.status === "fulfilled") continue;
    const error = done.reason;
    if (!(error instanceof Away || error instanceof SignedOut || error instanceof Refused)) throw error;
  }
}

/** Shows one of the two views. */
function view(name) {
  byId("sign-in").hidden = name !== "sign-in";
  byId("dashboard").hidden = name !== "dashboard";
  byId("sign-out").hidden = name !== "dashboard";
  if (name === "sign-in") byId("token").focus();
}

async function signIn(token) {
  forget();
  byId("sign-in-fault").textContent = "";
  try {
    checkToken(token);
    server.token = token;
    const account = await server.get(`${BASE}/account`);
    byId("token").value = "";
    view("dashboard");
    showAccount(account);
    await loadAll();
  } catch (error) {
    server.token = null;
    const isToken = error instanceof SignedOut;
    view("sign-in");
    byId("sign-in-fault").textContent = isToken ? "This token is not valid, or has expired." : error.message;
  }
}

function endSession(text) {
  if (byId("dashboard").hidden) return;
  server.token = null;
  forget();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  byId("who").textContent = "";
  byId("sign-in-title").textContent = "Sign in again";
  byId("sign-in-text").textContent = text;
  view("sign-in");
  announce(text);
}

/** Another account may sign in next: nothing of this one stays on the page. */
function forget() {
  standing = null;
  for (const id of ["hour", "plan", "keys"]) render(byId(id));
  usage.forget();
  links.forget();
}

async function loadAll() {
  await settle(loadGauge(), loadKeys(), loadAccount(), usage.load(), links.load());
}

async function loadAccount() {
  showAccount(await server.get(`${BASE}/account`));
}

async function loadKeys() {
  try {
    const page = await server.get(`${BASE}/keys`);
    keys.show(page.items);
    usage.show();
  } catch (error) {
    if (error instanceof Refused) render(byId("keys"), failed(error, () => settle(loadKeys())));
    throw error;
  }
}

async function loadGauge() {
  const now = await server.get(`${BASE}/keys/rate-limit`);
  const isSame = standing && ["limit", "remaining", "reset_at"].every((name) => standing[name] === now[name]);
  standing = now;
  if (!isSame) showGauge();
  tick();
}

/** Why no key of the account opens the API; empty if they do. */
let stopped = "";

function showGauge() {
  if (!standing) return;
  const { limit, remaining } = standing;
  const used = limit - remaining;
  const share = limit === 0 ? 0 : used / limit;
  const middle = stopped
    ? [el("span", { class: "strong" }, stopped)]
    : [el("span", { class: "big", id: "remaining" }, number(remaining)), el("span", { class: "muted" }, "left")];
  const fact = (name, value, id) => [el("dt", {}, name), el("dd", { id }, value)];
  render(byId("hour"), ring(share, `${number(used)} of ${number(limit)} requests used this hour`, ...middle),
    el("dl", { class: "facts" }, fact("Used", number(used), "used"), fact("Limit", number(limit), "limit"),
      fact("Resets in", "", "reset-in"), fact("Resets at", moment(Date.parse(standing.reset_at)).slice(-9), "reset-at")),
    !stopped && remaining === 0 && el("p", { class: "note-box near" },
      "The limit is reached: requests are answered 429 until the hour ends."));
}

function showAccount(account) {
  const { name, plan, trial, suspended, api_access, limit } = account;
  stopped = suspended ? "Suspended" : api_access ? "" : "No API access";
  byId("who").textContent = name;
  const onTrial = trial && Date.parse(trial.ends_at) > server.now();
  const ends = trial && Date.parse(trial.ends_at);
  const fact = (term, ...value) => [el("dt", {}, term), el("dd", {}, ...value)];
  render(byId("plan"),
    el("p", { class: "plan-name" }, el("span", { id: "plan-name" }, plan),
      suspended ? badge("Suspended", "full") : onTrial ? badge(`${trial.plan} on trial`, "info") : null),
    el("dl", { class: "facts" }, fact("Requests an hour", number(limit)),
      fact("API access", stopped ? "No" : "Yes"),
      onTrial && fact("Trial ends", el("time", { datetime: trial.ends_at, title: moment(ends) }, relative(ends, server.now()))),
      trial && !onTrial && fact("Trial", "Ended"),
      fact("Shared by", "all of your keys")),
    suspended && el("p", { class: "note-box full" },
      "This account is suspended: every key is answered 403. Ask whoever runs this API."),
    !suspended && !api_access && el("p", { class: "note-box near" },
      "This plan has no API access: keys are answered 403 until the plan changes."));
  showGauge();
}

/** What changes by itself each second. */
function tick() {
  if (!standing || !server.knowsTime) return;
  const left = Date.parse(standing.reset_at) - server.now();
  const place = byId("reset-in");
  if (place) place.textContent = countdown(left);
  byId("clock").textContent = `The server’s clock shows ${moment(server.now())}.`;
  if (left <= 0) pollGauge();
}

/** The token in the address, taken out of it at once: `#token=…`. */
function takeToken() {
  const fragment = /^#token=(.+)$/.exec(location.hash);
  if (!fragment) return false;
  history.replaceState(null, "", location.pathname + location.search);
  signIn(unescaped(fragment[1]).trim());
  return true;
}

const pollGauge = repeat(server, GAUGE_PAUSE, () => settle(loadGauge()));
repeat(server, USAGE_PAUSE, () => settle(usage.load()));
repeat(server, REST_PAUSE, () => settle(loadKeys(), loadAccount(), links.load()));
setInterval(tick, SECOND);

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(byId("token").value.trim());
});
byId("sign-out").addEventListener("click", () => endSession("You have signed out."));
byId("create-key").addEventListener("click", () => keys.create());
addEventListener("hashchange", takeToken);
if (!takeToken()) view("sign-in");
