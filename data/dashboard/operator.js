// The operators' page: signs in, and shows one of its views, which the address names after `#`.

import { Away, Refused, Server, SignedOut, checkToken, repeat, unescaped } from "./api.js";
import { announce, byId, el, failed, render } from "./dom.js";
import { SECOND } from "./format.js";
import { AccountView } from "./operator-account.js";
import { AccountsView } from "./operator-accounts.js";
import { PlansView } from "./operator-plans.js";
import { AuditView, HealthView } from "./operator-server.js";

const REFRESH_PAUSE = 5 * SECOND;
const TABS = [
  { path: "accounts", text: "Accounts", view: AccountsView },
  { path: "plans", text: "Plans", view: PlansView },
  { path: "server", text: "Server", view: HealthView },
  { path: "audit", text: "Audit trail", view: AuditView },
];

const server = new Server("/healthz", {
  away: () => banner("The server does not answer. What you see may be old; trying again …"),
  back() {
    banner("");
    announce("The server is back.");
    refresh();
  },
  signedOut: () => endSession("The admin token is not taken any more. Sign in again to go on."),
});

/** The view that is shown: it has `load()`, and `refresh()` if it goes stale by itself. */
let current = null;

function banner(text) {
  byId("banner").textContent = text;
  byId("banner").hidden = text === "";
}

/** Runs a view's work; what the server refuses is said in its place, or as a message if the view has something to show. */
async function attempt(view, work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Away || error instanceof SignedOut) return;
    if (!(error instanceof Refused)) throw error;
    if (view !== current) return;
    if (view.isLoaded) announce(error.message);
    else render(byId("view"), el("div", { class: "card" }, failed(error, show)));
  }
}

/** Shows the view that the address names. */
function show() {
  if (!server.token) return;
  const [path, id] = location.hash.replace(/^#\/?/, "").split("/");
  const tab = TABS.find((each) => each.path === path) ?? TABS[0];
  render(byId("tabs"), TABS.map((each) => el("a", {
    href: `#/${each.path}`, "aria-current": each === tab ? "page" : undefined, "data-hold": each.path,
  }, each.text)));
  current?.leave?.();
  render(byId("view"));
  const isAccount = tab.path === "accounts" && id;
  const view = isAccount ? new AccountView(byId("view"), server, unescaped(id)) : new tab.view(byId("view"), server);
  current = view;
  scrollTo(0, 0);
  return attempt(view, async () => {
    await view.load();
    view.isLoaded = true;
  });
}

function refresh() {
  const view = current;
  if (!server.token || !view) return undefined;
  // What never came is asked for anew.
  if (!view.isLoaded) return show();
  return view.refresh ? attempt(view, () => view.refresh()) : undefined;
}

function face(isIn) {
  byId("sign-in").hidden = isIn;
  for (const id of ["view", "tabs", "sign-out"]) byId(id).hidden = !isIn;
  if (!isIn) byId("token").focus();
}

async function signIn(token) {
  byId("sign-in-fault").textContent = "";
  try {
    checkToken(token);
    server.token = token;
    await server.get("/admin/v1/plans?limit=1");
  } catch (error) {
    server.token = null;
    byId("sign-in-fault").textContent = error instanceof SignedOut ? "This is not the admin token." : error.message;
    return;
  }
  byId("token").value = "";
  face(true);
  await show();
}

function endSession(text) {
  if (byId("view").hidden) return;
  server.token = null;
  current?.leave?.();
  current = null;
  render(byId("view"));
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  byId("sign-in-text").textContent = text;
  face(false);
  announce(text);
}

repeat(server, REFRESH_PAUSE, refresh);
setInterval(() => current?.tick?.(), SECOND);
addEventListener("hashchange", show);
byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(byId("token").value.trim());
});
byId("sign-out").addEventListener("click", () => endSession("You have signed out."));
face(false);
