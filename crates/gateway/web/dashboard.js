// The operator's page: reads /dashboard/events and shows what it says. Loaded by dashboard.html alone.
// fetch instead of EventSource: the key goes into a header, not into addresses that proxies log, and a
// refusal can be read.

import * as graphs from "./dashboard-graphs.js";
import { byId, clock, count, element, ms, span } from "./dashboard-text.js";

const SILENCE_MS = 5_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;
const KEY = "slotcast-dashboard-key";
const WORDS = {
  ok: "OK", degraded: "Degraded", not_ready: "Not ready", stopping: "Stopping",
  waiting: "Connecting", cut: "Feed cut", refused: "Locked",
};
const ICONS = {
  ok: "#1a7f45", degraded: "#c98a1b", stopping: "#c98a1b", not_ready: "#b3261e", cut: "#b3261e",
};
const OTHER_ICON = "#5a6775";
const MODES = { redis: "Redis (primary)", mysql: "MySQL (fallback)", memory: "Memory (this process)" };
const STORE_WORDS = { ok: "online", standby: "stands by", away: "away" };
const TELLING = { ok: "works", failing: "fails", off: "off" };
const LIVE = ["ok", "degraded", "not_ready"];
const GOOD = ["ok", "cached"];
const FAILED = ["store_unavailable", "internal"];

let status = null; // the last look
let skew = 0; // the gateway's clock before this machine's

// ---- what is shown

/** The big word and its sentence; the tab's title and icon say the same. */
function say(state, headline) {
  const text = (id, words) => {
    if (byId(id).textContent !== words) byId(id).textContent = words;
  };
  document.body.dataset.state = state;
  text("word", WORDS[state] ?? state);
  text("headline", headline);
  document.title = `${WORDS[state] ?? state} – slotcast`;
  const colour = ICONS[state] ?? OTHER_ICON;
  const icon = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'>"
    + `<circle cx='4.5' cy='4.5' r='4' fill='${colour}'/></svg>`;
  const address = `data:image/svg+xml,${encodeURIComponent(icon)}`;
  const link = document.querySelector("link[rel=icon]");
  if (link.href !== address) link.href = address;
}

function draw() {
  byId("key-form").hidden = true;
  byId("all").hidden = false;
  say(status.state, status.headline);
  byId("footer").textContent = `slotcast ${status.version}. Averages, p99 and lags are of the last minute, `
    + "cache hits of the last ten, rates of the last 5 s. In a terminal: slotcast status --watch";
  // Somebody marks a text to copy it: it stays.
  if (getSelection().isCollapsed) {
    byId("troubles").replaceChildren(...status.troubles.map((trouble) => element("li", trouble)));
    drawFacts();
    drawTables();
  }
  graphs.draw(status.availability.exists ? "nobody asked" : "no cache without MySQL");
}

function fact(title, word, note, dot = "") {
  const box = element("div");
  const value = element("dd", word);
  if (dot) value.prepend(element("span", "", `dot ${dot}`));
  if (note) value.append(element("small", note));
  box.append(element("dt", title), value);
  return box;
}

function drawFacts() {
  const { at, storage, stores, outbox } = status;
  const lasted = (since) => `for ${span(at - since)}`;
  const storeFact = (title, store) => {
    const follows = store.follows ? `, follows by ${store.follows}` : "";
    const word = STORE_WORDS[store.status] ?? store.status;
    return fact(title, word, lasted(store.since) + follows, store.status);
  };
  const redis = stores.find((store) => store.name === "redis");
  const mysql = stores.find((store) => store.name === "mysql");
  const isFallback = redis && storage.mode === "mysql";
  const boxes = [
    redis ? storeFact("Redis", redis) : fact("Redis", "not used", "no redis.url"),
    fact(
      "Storage mode",
      MODES[storage.mode] ?? storage.mode,
      storage.stale ? `${lasted(storage.since)}, takes no writes` : lasted(storage.since),
      storage.stale ? "away" : isFallback ? "standby" : "ok",
    ),
  ];
  if (mysql) boxes.push(storeFact("MySQL", mysql));
  if (outbox) {
    const waiting = outbox.waiting === null ? "not known yet" : `${count(outbox.waiting)} bookings not told`;
    boxes.push(fact("Telling WordPress", TELLING[outbox.status] ?? outbox.status, waiting, outbox.status));
  }
  boxes.push(fact("Heartbeat interval", `${status.heartbeat_interval_secs} s`, "of old pages' polls"));
  boxes.push(fact("Running", span(at - status.started_at), `${count(status.clients)} clients connected`));
  byId("facts").replaceChildren(...boxes);
}

const cell = (text, className = "") => element("td", text, className);
const number = (value, className = "") =>
  value ? cell(count(value), `number ${className}`) : cell("–", "number none");
const time = (value) => (value === null ? cell("–", "number none") : cell(ms(value), "number"));

function line(...cells) {
  const made = element("tr");
  made.append(...cells);
  return made;
}

function drawTables() {
  byId("kinds").replaceChildren(...status.kinds.map((kind) => line(
    cell(kind.name), number(kind.count), time(kind.average_ms), time(kind.p99_ms),
    number(kind.refused, "refused"), number(kind.failed, "failed"),
  )));
  const outcome = (done) =>
    cell(done, FAILED.includes(done) ? "failed" : GOOD.includes(done) ? "" : "refused");
  const lines = status.operations.map((done) => line(
    cell(clock(done.at)), cell(done.what), outcome(done.outcome), time(done.ms), cell(done.store ?? "memory"),
    cell(`${done.date} ${done.time ?? ""}`.trim()), cell(done.employee_id, "number"),
  ));
  const none = () => line(Object.assign(cell("None since the start", "none"), { colSpan: 7 }));
  byId("operations").replaceChildren(...(lines.length ? lines : [none()]));
}

// ---- the feed

const on = {
  history: graphs.begin,
  status(look) {
    status = look;
    skew = look.at - Date.now();
    draw();
  },
  look({ status: look, row }) {
    graphs.add(row);
    on.status(look);
  },
  stopping() {
    say("stopping", "The gateway stopped; waiting for it to come back");
  },
};

/** One connection to its end. */
async function listen(key) {
  const abort = new AbortController();
  const unlessSilent = (work) => {
    const silence = setTimeout(() => abort.abort("silent"), SILENCE_MS);
    return work.finally(() => clearTimeout(silence));
  };
  // A header holds nothing else, and neither does a key.
  const headers = /^[ -~]+$/.test(key ?? "") ? { Authorization: `Bearer ${key}` } : {};
  const asked = fetch("/dashboard/events", { headers, cache: "no-store", signal: abort.signal });
  const response = await unlessSilent(asked);
  if (!response.ok) {
    throw Object.assign(new Error((await response.text()).trim()), { status: response.status });
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { done, value } = await unlessSilent(reader.read());
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event) ?? [];
      on[name]?.(JSON.parse(data));
    }
  }
}

/** Resolves to the key that somebody typed. */
function askForKey(refused) {
  const isKeyWanted = refused.status === 401;
  say("refused", isKeyWanted ? "The gateway wants its dashboard key" : "The gateway does not show this here");
  byId("refusal").textContent = refused.message;
  byId("key-fields").hidden = !isKeyWanted;
  byId("key-form").hidden = false;
  byId("all").hidden = true;
  byId("feed").textContent = "";
  return new Promise((resolve) => {
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      resolve(byId("key").value);
      byId("key").value = "";
    };
  });
}

/** The key, from the address or from before a reload. It leaves the address at once: that is seen and kept. */
function knownKey() {
  const address = new URL(location.href);
  const given = address.searchParams.get("key");
  if (given !== null) {
    sessionStorage.setItem(KEY, given);
    address.searchParams.delete("key");
    history.replaceState(null, "", address);
  }
  return sessionStorage.getItem(KEY);
}

async function waitUntil(at) {
  const feed = (words) => {
    const ago = () => `Last heard ${span(Date.now() + skew - status.at)} ago, at ${clock(status.at)}. `;
    byId("feed").textContent = (status ? ago() : "") + words;
  };
  while (Date.now() < at) {
    feed(`Trying again in ${Math.ceil((at - Date.now()) / 1000)} s`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(500, at - Date.now())));
  }
  feed("Trying again …");
}

function inWords(error) {
  if (error === "silent") return "The gateway says nothing any more";
  return error.status ? error.message : "The gateway cannot be reached";
}

async function run() {
  let key = knownKey();
  let wait = FIRST_WAIT_MS;
  for (;;) {
    const before = status;
    let trouble = "The gateway ended the feed";
    try {
      await listen(key);
    } catch (error) {
      if (error.status === 401 || error.status === 403) {
        sessionStorage.removeItem(KEY);
        key = await askForKey(error);
        sessionStorage.setItem(KEY, key);
        continue;
      }
      trouble = inWords(error);
    }
    if (status !== before) wait = FIRST_WAIT_MS;
    const isOld = status ? "; what stands below is old" : "";
    if (document.body.dataset.state !== "stopping") say("cut", trouble + isOld);
    await waitUntil(Date.now() + wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

setInterval(() => {
  if (LIVE.includes(document.body.dataset.state)) byId("feed").textContent = `Live · ${clock(status.at)}`;
}, 250);
run();
