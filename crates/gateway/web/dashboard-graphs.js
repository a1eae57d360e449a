// The last minutes as graphs: a strip of the deciding store, and a card for each number. Fed by dashboard.js.
// Pointing at one graph shows the numbers of that time on all of them.

import { byId, clock, count, element, ms, percent, span } from "./dashboard-text.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
/** Rows further apart than this have a gap between them. */
const GAP_MS = 3_500;
/** A young gateway's graphs are stretched, down to this. */
const SHORTEST_MS = 120_000;
const STORES = { redis: "Redis", mysql: "MySQL", memory: "Memory", away: "none" };

// A number's name in the rows, its title, how it is written; perhaps a second one beside it, and its word.
const CARDS = [
  ["selections", "Active selections", count],
  ["locks", "Locked slots", count],
  ["connections", "Connections", count],
  ["rooms", "Rooms looked at", count],
  ["average_ms", "Response time, average", ms],
  ["p99_ms", "Response time, p99", ms],
  ["store_ms", "Store round trip, p99", ms],
  ["hit_rate", "Availability cache hits", percent],
  ["event_lag_ms", "Event lag, p99", ms],
  ["expiry_lag_ms", "Expiry lag, p99", ms],
  ["deliveries", "Deliveries a second", count],
  ["requests", "Requests a second", count, "polls", "polls"],
];

let rows = []; // [at, store, …numbers], oldest first
let column = {}; // a number's place in a row
let covers = 600_000;
let cursor = null; // the time pointed at; null is now
let withoutHits = ""; // what stands instead of a hit rate that there is none of

/** Takes over what the gateway remembers. */
export function begin({ covers_ms, names, rows: kept }) {
  covers = covers_ms;
  column = Object.fromEntries(names.map((name, place) => [name, place + 2]));
  rows = kept;
}

/** Adds the newest row. A clock that was set back begins anew, as it does on the gateway. */
export function add(row) {
  rows = rows.filter(([at]) => at < row[0] && at >= row[0] - covers);
  rows.push(row);
}

export function draw(noHits) {
  withoutHits = noHits;
  if (rows.length === 0) return;
  drawStrip();
  drawCards();
}

const newest = () => rows.at(-1)[0];
const shown = () => Math.min(covers, Math.max(SHORTEST_MS, newest() - rows[0][0]));
const x = (at) => (1 - (newest() - at) / shown()) * WIDTH;

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function drawStrip() {
  const runs = [];
  for (const [at, store] of rows) {
    const last = runs.at(-1);
    if (last?.store === store && at - last.to < GAP_MS) last.to = at;
    else runs.push({ store, from: at, to: at });
  }
  const bar = ({ store, from, to }) => {
    const left = Math.max(0, x(from - 1_000));
    return shape("rect", { class: store, x: left, width: Math.max(1, x(to) - left), y: 0, height: 10 });
  };
  byId("strip").replaceChildren(...runs.map(bar));
  const lasted = {};
  for (const { store, from, to } of runs) lasted[store] = (lasted[store] ?? 0) + to - from + 1_000;
  const words = Object.entries(lasted).map(([store, time]) => `${STORES[store] ?? store} ${span(time)}`);
  byId("strip-words").textContent = `Deciding store: ${words.join(" · ")}`;
  byId("strip-from").textContent = `${span(Math.round(shown() / 10_000) * 10_000)} ago`;
}

const cards = CARDS.map(([name, title, write, second, secondWord]) => {
  const card = element("article", "", "card");
  const value = element("p", "–", "value");
  const peak = element("p", "", "peak");
  const viewBox = `0 0 ${WIDTH} 46`;
  const svg = shape("svg", { viewBox, preserveAspectRatio: "none", "aria-hidden": "true" });
  const area = shape("path", { class: "area" });
  const line = shape("path", { class: "line" });
  const other = shape("path", { class: "other" });
  const mark = shape("line", { y1: 0, y2: 46, visibility: "hidden" });
  svg.append(area, other, line, mark);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    if (rows.length) point(newest() - shown() * (1 - (event.clientX - box.left) / box.width));
  });
  svg.addEventListener("pointerleave", () => point(null));
  card.append(element("h3", title), value, peak, svg);
  return { name, write, second, secondWord, card, value, peak, area, line, other, mark };
});
byId("cards").append(...cards.map(({ card }) => card));

function point(at) {
  cursor = at;
  if (rows.length) drawCards();
}

function drawCards() {
  const nearer = (best, row) => (Math.abs(row[0] - cursor) < Math.abs(best[0] - cursor) ? row : best);
  const row = cursor === null ? rows.at(-1) : rows.reduce(nearer);
  byId("cursor").textContent = cursor === null ? "now" : `numbers of ${clock(row[0])}`;
  for (const card of cards) drawCard(card, row);
}

function drawCard({ name, write, second, secondWord, value, peak, area, line, other, mark }, row) {
  const [place, beside] = [column[name], column[second]];
  const highestIn = (at) => rows.reduce((highest, { [at]: number }) => Math.max(highest, number ?? 0), 0);
  const highest = highestIn(place);
  const top = name === "hit_rate" ? 1 : Math.max(highest, second ? highestIn(beside) : 0) || 1;
  if (row[place] === null) {
    value.replaceChildren(element("small", name === "hit_rate" ? withoutHits : "none lately"));
  } else {
    value.textContent = write(row[place]);
  }
  if (second) value.append(element("small", ` and ${write(row[beside])} ${secondWord}`));
  const isAny = rows.some(({ [place]: number }) => number !== null);
  peak.textContent = isAny ? `highest ${write(highest)}` : "\u00a0";
  const drawn = paths(place, top);
  line.setAttribute("d", drawn.line);
  area.setAttribute("d", drawn.area);
  if (second) other.setAttribute("d", paths(beside, top).line);
  for (const side of ["x1", "x2"]) mark.setAttribute(side, x(row[0]).toFixed(1));
  mark.setAttribute("visibility", cursor === null ? "hidden" : "visible");
}

/** A number's line and the area below it; both are open where nothing was measured. */
function paths(place, top) {
  let line = "", area = "", from = null, last = null;
  const close = () => {
    if (from !== null) area += `V46H${from}Z`;
    from = null;
  };
  for (const row of rows) {
    if (row[place] === null || (last !== null && row[0] - last > GAP_MS)) close();
    last = row[0];
    if (row[place] === null) continue;
    const left = x(row[0]).toFixed(1);
    const here = `${from === null ? "M" : "L"}${left} ${(44 - (row[place] / top) * 40).toFixed(1)}`;
    line += here;
    area += here;
    from ??= left;
  }
  close();
  return { line, area };
}
