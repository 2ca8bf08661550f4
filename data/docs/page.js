// Makes the page from /openapi.json. All text goes in as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
/** Who may call, and what a shell holds it in. */
const KEYS = {
  apiKey: { label: "API key", header: "X-API-Key: $KEY" },
  session: { label: "Session (JWT)", header: "Authorization: Bearer $JWT" },
  adminToken: { label: "Admin token", header: "Authorization: Bearer $ADMIN_TOKEN" },
};
/** How deep fields are shown within fields. */
const DEPTH_MAX = 4;
/** Characters of JSON that are shown on one line. */
const LINE_CHARS = 48;

const $ = (id) => document.getElementById(id);
let api;

function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child instanceof Node || typeof child === "string"));
  return made;
}

/** Text with `code` and **bold**. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}

function prose(text) {
  const paragraphs = (text ?? "").trim().split(/\n\s*\n/).filter(Boolean);
  return el("div", { class: "prose" }, paragraphs.map((paragraph) => el("p", {}, inline(paragraph))));
}

/** What a reference leads to; anything else as it is. */
function follow(value) {
  while (value?.$ref) {
    value = value.$ref.slice(2).split("/").reduce((part, name) => part[name.replaceAll("~1", "/")], api);
  }
  return value ?? {};
}

/** A schema without references and `allOf`, and with what `oneOf` says besides null. */
function flat(schema) {
  const found = follow(schema);
  const parts = (found.allOf ?? []).map(flat);
  const kinds = (found.oneOf ?? []).map(follow);
  const other = kinds.filter((kind) => kind.type !== "null");
  const nullable = kinds.length > other.length || [found.type].flat().includes("null") || parts.some((part) => part.nullable);
  if (other.length === 1) parts.push(flat(other[0]));
  const joined = Object.assign({}, ...parts, found, { nullable });
  if (parts.length) {
    const properties = Object.assign({}, ...parts.map((part) => part.properties), found.properties);
    if (Object.keys(properties).length) joined.properties = properties;
    joined.required = [...parts, found].flatMap((part) => part.required ?? []);
    joined.type = found.type ?? parts.map((part) => part.type).find(Boolean);
  }
  return joined;
}

function typeOf(schema) {
  const types = [schema.type ?? (schema.const !== undefined || schema.enum ? "string" : "object")].flat();
  const main = types.find((type) => type !== "null");
  const named = { "date-time": "RFC 3339 time", date: "date", uuid: "UUID" }[schema.format];
  const text = main === "array" ? `array of ${typeOf(flat(schema.items))}s` : (named ?? (main === "integer" ? "whole number" : main));
  return schema.nullable || types.includes("null") ? `${text} or null` : text;
}

/** The bounds of a value, in words. */
function rules(schema) {
  const found = [];
  const span = (low, high, unit) => {
    const grouped = (number) => number.toLocaleString("en");
    if (low !== undefined && high !== undefined) found.push([`${grouped(low)} to ${grouped(high)}${unit}`]);
    else if (low !== undefined && low > 0) found.push([`at least ${grouped(low)}${unit}`]);
    else if (high !== undefined) found.push([`at most ${grouped(high)}${unit}`]);
  };
  span(schema.minimum, schema.maximum, "");
  span(schema.minLength, schema.maxLength, " characters");
  span(schema.minItems, schema.maxItems, " items");
  span(schema.minProperties, schema.maxProperties, " entries");
  if (schema.pattern) found.push(["matches ", el("code", {}, schema.pattern)]);
  const values = (schema.enum ?? (schema.const === undefined ? [] : [schema.const])).filter((value) => value !== null);
  if (values.length) found.push([values.length > 1 ? "one of " : "always ", ...list(values)]);
  if (schema.default !== undefined) found.push(["default ", el("code", {}, String(schema.default))]);
  return found.flatMap((rule, place) => (place ? [" · ", ...rule] : rule));
}

function list(values) {
  return values.flatMap((value, place) => [place ? ", " : "", el("code", {}, String(value))]);
}

/** The object whose fields a value has, if it has any: its own, or those of its items or entries. */
function inside(schema) {
  if (schema.type === "array") return flat(schema.items);
  return schema;
}

function field(name, given, required, depth, marks = true) {
  const schema = flat(given);
  const description = given.description ?? schema.description;
  const words = rules(schema);
  const deeper = inside(schema);
  const nested = deeper.properties && depth < DEPTH_MAX;
  return el("div", { class: "field" },
    el("dt", {}, el("code", {}, name), el("span", { class: "type" }, typeOf(schema)), required && el("span", { class: "need" }, "required")),
    el("dd", {},
      description && el("p", {}, inline(description)),
      words.length > 0 && el("p", { class: "rule" }, words),
      nested && el("details", { class: "inner" }, el("summary", {}, schema.type === "array" ? "Fields of each" : "Fields"), fields(deeper, marks, depth + 1))));
}

/** `marks`: whether it is said which fields must be there; in an answer it would be said of nearly all. */
function fields(schema, marks, depth = 0) {
  const required = new Set(marks ? schema.required : []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, value]) => field(name, value, required.has(name), depth, marks));
  return el("dl", { class: "fields" }, rows);
}

/** A body's fields, or for one that is no object what it is. */
function body(schema, marks) {
  const whole = flat(schema);
  const deeper = inside(whole);
  const note = whole.type === "array" && el("p", { class: "rule" }, typeOf(whole), rules(whole).length ? " · " : "", rules(whole));
  if (deeper.properties) return [whole.description && prose(whole.description), note, fields(deeper, marks)];
  return [el("p", { class: "rule" }, typeOf(whole))];
}

/** Something that a schema allows. */
function sample(given, depth = 0) {
  const schema = flat(given);
  const said = given.example ?? schema.example ?? schema.examples?.[0];
  if (said !== undefined) return said;
  if (schema.examples) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.nullable) return null;
  switch ([schema.type].flat()[0]) {
    case "array": return [sample(schema.items, depth + 1)];
    case "integer": return schema.minimum ?? 0;
    case "boolean": return false;
    case "string": return schema.format === "uuid" ? "01a20d52-461a-7338-adff-a30110273d8d" : "…";
    case "null": return null;
    default: {
      if (depth > DEPTH_MAX) return {};
      const entries = Object.entries(schema.properties ?? {}).map(([name, value]) => [name, sample(value, depth + 1)]);
      return Object.fromEntries(entries);
    }
  }
}

/** JSON with its parts marked. */
function colored(value) {
  const text = JSON.stringify(value, null, 2);
  return text.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d[\d.eE+-]*|true|false|null)/).map((part, place) => {
    if (place % 2 === 0) return part;
    const kind = part.endsWith(":") ? "name" : part.startsWith("\"") ? "string" : "number";
    return el("span", { class: kind }, part);
  });
}

function panel(title, text, shown) {
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const pre = el("pre", { tabindex: "0", "aria-label": title }, shown ?? text);
  return el("div", { class: "sample" }, el("div", {}, title, navigator.clipboard && copy), pre);
}

/** Which listeners serve a path. */
function listener(item) {
  const servers = item.servers ?? api.servers;
  if (servers.length > 1) return { label: "Both listeners", variable: "$API" };
  return servers[0].variables.admin ? { label: "Admin listener", variable: "$ADMIN" } : { label: "Public listener", variable: "$API" };
}

/** JSON on one line where it fits. */
function compact(value) {
  const line = JSON.stringify(value);
  return line.length <= LINE_CHARS ? line : JSON.stringify(value, null, 2).replaceAll("\n", "\n  ");
}

function curl(call) {
  const needs = call.operation.security?.[0] ?? {};
  const of = (place) => call.parameters.filter((parameter) => parameter.in === place);
  const value = (parameter) => String(parameter.example ?? sample(parameter.schema));
  const path = of("path").reduce((path, parameter) => path.replace(`{${parameter.name}}`, value(parameter)), call.path);
  const query = of("query").filter((parameter) => parameter.required || parameter.example !== undefined);
  const asked = query.map((parameter) => `${parameter.name}=${encodeURIComponent(value(parameter)).replaceAll("%2C", ",")}`).join("&");
  const lines = [`curl -s "${listener(call.item).variable}${path}${asked && "?" + asked}"`];
  const request = call.body;
  const method = call.method.toUpperCase();
  if (method !== "GET" && !(method === "POST" && request)) lines[0] += ` -X ${method}`;
  lines.push(...Object.keys(needs).map((name) => `-H "${KEYS[name].header}"`));
  lines.push(...of("header").filter((parameter) => parameter.example).map((parameter) => `-H "${parameter.name}: ${value(parameter)}"`));
  if (request?.type === "application/json") lines.push(`--json '${compact(request.example)}'`);
  else if (request) lines.push(`-H "Content-Type: ${request.type}" --data-binary @backup.jsonl`);
  return lines.join(" \\\n  ");
}

function answer(status, given) {
  const response = follow(given);
  const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
  const headers = Object.entries(response.headers ?? {}).map(([name, header]) => field(name, { ...follow(header).schema, description: follow(header).description }, false, DEPTH_MAX));
  const kind = { 2: "ok", 3: "far", 4: "theirs", 5: "ours" }[status[0]];
  const short = response.description.split(/[.;:] /)[0].replace(/\.$/, "");
  const rest = short.length + 1 < response.description.trim().length;
  const shape = media?.schema && type === "application/json" ? body(media.schema, false) : [];
  const within = [
    rest && prose(response.description),
    type && el("p", { class: "type" }, type, response.content["application/problem+json"] ? " or application/problem+json" : ""),
    ...shape,
    headers.length > 0 && [el("h5", {}, "Headers"), el("dl", { class: "fields" }, headers)],
  ];
  const summary = el("summary", {}, el("code", { class: `status ${kind}` }, status), el("span", {}, inline(short)));
  return el("details", { class: "answer" }, summary, el("div", { class: "within" }, within.flat()));
}

function parameters(call) {
  const titles = { path: "Path", query: "Query", header: "Headers" };
  return Object.entries(titles).flatMap(([place, title]) => {
    const found = call.parameters.filter((parameter) => parameter.in === place);
    if (!found.length) return [];
    const rows = found.map((parameter) => field(parameter.name, { ...follow(parameter.schema), description: parameter.description }, parameter.required, 0));
    return [el("h4", {}, title), el("dl", { class: "fields" }, rows)];
  });
}

function marked(path) {
  return path.split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? el("b", {}, part) : part));
}

function section(call) {
  const { operation } = call;
  const needs = (operation.security ?? []).map((need) => Object.keys(need).map((name) => KEYS[name].label).join(" and ") || "anybody");
  const who = operation.security?.length ? needs.join(" or ") : "Anybody";
  const request = call.body && [
    el("h4", {}, `Body (${call.body.type})${call.body.required ? "" : ", may be absent"}`),
    ...body(call.body.schema, true),
  ];
  const answers = Object.entries(operation.responses).map(([status, response]) => answer(status, response));
  const [status, first] = Object.entries(operation.responses)[0];
  const shown = follow(first).content?.["application/json"]?.schema;
  const command = curl(call);
  return el("article", { class: "call", id: operation.operationId, "aria-labelledby": `${operation.operationId}-title` },
    el("header", {},
      el("h3", { id: `${operation.operationId}-title` }, el("a", { href: `#${operation.operationId}` }, operation.summary)),
      el("div", { class: "line" },
        el("span", { class: `method ${call.method}` }, call.method.toUpperCase()),
        el("span", { class: "path" }, marked(call.path)),
        el("span", { class: "pill" }, who),
        el("span", { class: "pill" }, listener(call.item).label))),
    el("div", { class: "text" },
      operation.description && prose(operation.description),
      ...parameters(call),
      ...(request ?? []),
      el("h4", {}, "Answers"),
      el("div", { class: "answers" }, answers)),
    el("div", { class: "samples" },
      panel("Request", command),
      shown && panel(`Answer, ${status}`, JSON.stringify(sample(shown), null, 2), colored(sample(shown)))));
}

/** All calls of the document, in its order. */
function calls() {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const operation = item[method];
      const content = Object.entries(operation.requestBody?.content ?? {})[0];
      const request = content && {
        type: content[0],
        schema: content[1].schema,
        required: operation.requestBody.required,
        example: content[1].example ?? sample(content[1].schema),
      };
      const shared = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(follow);
      return { path, item, method, operation, body: request, parameters: shared };
    }));
}

function entry(call) {
  const words = `${call.operation.summary} ${call.method} ${call.path} ${call.operation.operationId}`.toLowerCase();
  const link = el("a", { href: `#${call.operation.operationId}` }, el("span", {}, call.operation.summary),
    el("span", { class: `method ${call.method}` }, call.method.toUpperCase()));
  return el("li", { "data-words": words }, link);
}

function build() {
  const found = calls();
  const groups = api.tags.map((tag) => ({ tag, calls: found.filter((call) => call.operation.tags[0] === tag.name) }));
  const used = groups.filter((group) => group.calls.length);
  $("toc").replaceChildren(...used.map(({ tag, calls }) =>
    el("section", { class: "group" }, el("h2", {}, tag.name), el("ul", {}, calls.map(entry)))));
  $("main").replaceChildren(
    el("section", { class: "intro" },
      el("h1", {}, `${api.info.title} `, el("span", { class: "version" }, api.info.version)),
      el("p", { class: "lead" }, api.info.summary),
      prose(api.info.description)),
    ...used.map(({ tag, calls }) =>
      el("section", { class: "tag" }, el("h2", {}, tag.name), prose(tag.description), ...calls.map(section))));
  document.title = `${api.info.title} – API reference`;
}

function find() {
  const wanted = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let some = false;
  for (const group of document.querySelectorAll(".group")) {
    const rows = [...group.querySelectorAll("li")];
    for (const row of rows) row.hidden = !wanted.every((word) => row.dataset.words.includes(word));
    group.hidden = rows.every((row) => row.hidden);
    some ||= !group.hidden;
  }
  $("none").hidden = some;
}

function menu(open) {
  $("side").classList.toggle("open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}

/** Marks the call that is being read. */
function watch() {
  const links = new Map([...document.querySelectorAll("#toc a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const observer = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) seen.add(target.id);
      else seen.delete(target.id);
    }
    const current = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === current) {
        link.setAttribute("aria-current", "true");
        if (innerWidth > 860) link.scrollIntoView({ block: "nearest" });
      } else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-64px 0px -55% 0px" });
  for (const call of document.querySelectorAll(".call")) observer.observe(call);
}

async function start() {
  const state = $("state") ?? $("main").appendChild(el("p", { class: "state", id: "state", role: "status" }));
  state.replaceChildren("Reading the document");
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    api = await response.json();
  } catch (error) {
    const again = el("button", { type: "button" }, "Try again");
    again.addEventListener("click", start);
    state.replaceChildren(`The document cannot be read: ${error.message}.`, again);
    return;
  }
  build();
  watch();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

$("find").addEventListener("input", find);
$("menu").addEventListener("click", () => menu(!$("side").classList.contains("open")));
$("toc").addEventListener("click", (event) => event.target.closest("a") && menu(false));
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    if (innerWidth <= 860) menu(true);
    $("find").focus();
  } else if (event.key === "Escape") menu(false);
});
start();
