// Calls to the server that the page came from, and what they say besides their answers: the time by its clock, and
// whether it is there at all.

import { SECOND } from "./format.js";

const CALL_TIMEOUT = 20 * SECOND;
/** Pauses between tries while the server is away: short at first, for a restart; then such as harm nobody. */
const PAUSES = [1, 1, 2, 3, 5, 10].map((seconds) => seconds * SECOND);

/** The server did not answer. */
export class Away extends Error {
  constructor() {
    super("The server does not answer. Whether a change was made is not known; look again when it is back.");
  }
}

/** The token is no longer, or was never, one that the server takes. */
export class SignedOut extends Error {}

/** The server answered that it will not. The message is its own. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/**
 * Refuses a token that no request can carry: it was cut off, or changed on its way here. Operators may have chosen one with
 * spaces.
 */
export function checkToken(token) {
  if (/^[ -~]+$/.test(token)) return;
  throw new Error("This is not a whole token: no token has a line break or a sign such as “…” in it.");
}

/** A part of an address as it was meant, or as it stands if its escapes are none. */
export function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export class Server {
  token = null;
  #probe;
  #listener;
  #isAway = false;
  /** The server's clock minus this page's monotonic one; the browser's own clock is not asked, for it may be wrong. */
  #offset = null;
  #hasLimits = false;

  /** `probe` is a path that answers whoever asks; `listener` has `away(seconds)`, `back()` and `signedOut(message)`. */
  constructor(probe, listener) {
    this.#probe = probe;
    this.#listener = listener;
    addEventListener("online", () => this.#retryNow?.());
  }

  /** The time by the server's clock, in milliseconds. */
  now() {
    return (this.#offset ?? 0) + performance.now();
  }

  get knowsTime() {
    return this.#offset !== null;
  }

  get isAway() {
    return this.#isAway;
  }

  get = (path, signal) => this.call("GET", path, undefined, signal);
  post = (path, body = {}) => this.call("POST", path, body);
  put = (path, body) => this.call("PUT", path, body);
  patch = (path, body) => this.call("PATCH", path, body);
  remove = (path) => this.call("DELETE", path);

  /** The JSON (or else the text) of an answer, `null` if it has none. Fails with one of the errors above. */
  async call(method, path, body, signal) {
    const token = this.token;
    const response = await this.#send(method, path, body, token, signal);
    const text = await this.#read(response, signal);
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    const answer = text === "" ? null : isJson ? JSON.parse(text) : text;
    if (response.ok) return answer;
    const detail = answer?.detail ?? `The server answered ${response.status}.`;
    if (response.status === 401) {
      // An answer to a token that was replaced meanwhile says nothing of the new one.
      if (token === this.token) this.#listener.signedOut(detail);
      throw new SignedOut(detail);
    }
    throw new Refused(response.status, detail);
  }

  async #send(method, path, body, token, signal) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    if (body !== undefined) headers["content-type"] = "application/json";
    const limit = AbortSignal.timeout(CALL_TIMEOUT);
    const options = {
      method, headers, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    };
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      throw this.#lost(error, signal);
    }
    // Of a proxy in front, which has lost the server. The server's own 503 says what is wrong with it.
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    if ([502, 503, 504].includes(response.status) && !isJson) throw this.#lost(null, signal);
    this.#readClock(response.headers);
    return response;
  }

  async #read(response, signal) {
    try {
      return await response.text();
    } catch (error) {
      throw this.#lost(error, signal);
    }
  }

  /** A call that was given up on purpose says nothing of the server. */
  #lost(error, signal) {
    if (signal?.aborted) return error;
    if (!this.#isAway) this.#wait();
    return new Away();
  }

  /** The reset minus the seconds to it is the instant that the figures are of; else the answer's date will do. */
  #readClock(headers) {
    const reset = Number(headers.get("x-ratelimit-reset"));
    const left = /;t=(\d+)/.exec(headers.get("ratelimit") ?? "");
    const isExact = Boolean(reset && left);
    const at = isExact ? (reset - Number(left[1])) * SECOND : Date.parse(headers.get("date"));
    if (Number.isNaN(at) || (this.#hasLimits && !isExact)) return;
    this.#hasLimits = isExact;
    const offset = at - performance.now();
    // Both are whole seconds: the page's estimate may be ahead of them by as much, and then is the better one.
    const ahead = this.#offset === null ? -1 : this.#offset - offset;
    if (ahead < 0 || ahead > SECOND) this.#offset = offset;
  }

  #retryNow = null;

  /** Asks until the server answers, whatever it says. */
  async #wait() {
    this.#isAway = true;
    for (let tries = 0; ; tries += 1) {
      const pause = PAUSES[Math.min(tries, PAUSES.length - 1)];
      this.#listener.away(pause / SECOND);
      await new Promise((resolve) => {
        this.#retryNow = resolve;
        setTimeout(resolve, pause);
      });
      try {
        const response = await fetch(this.#probe, { cache: "no-store", signal: AbortSignal.timeout(5 * SECOND) });
        if (![502, 503, 504].includes(response.status)) break;
      } catch {
        // Still away.
      }
    }
    this.#isAway = false;
    this.#retryNow = null;
    this.#listener.back();
  }
}

/** Runs `work` now and again after each pause, while the page is looked at and the server is there. */
export function repeat(server, pause_ms, work) {
  let running = false;
  const run = async () => {
    if (running || document.hidden || server.isAway || !server.token) return;
    running = true;
    try {
      await work();
    } catch (error) {
      // Whoever is away or signed out is shown by the listener; what the server refuses, by `work` itself.
      if (!(error instanceof Away || error instanceof SignedOut)) throw error;
    } finally {
      running = false;
    }
  };
  setInterval(run, pause_ms);
  document.addEventListener("visibilitychange", run);
  return run;
}
