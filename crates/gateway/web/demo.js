// The booking page of /demo: a plain page over the client, as any site could have it. Started by demo.html.
// Invariant: what is on the page follows from the room's view and the page's own step; nothing else keeps slots.

import { connect } from "./slotcast.js";

/** @typedef {import("./slotcast.js").RoomView} RoomView */
/** @typedef {import("./slotcast.js").SlotcastError} SlotcastError */
/** @typedef {"free" | "selecting" | "yours" | "locked" | "booked"} SlotState */

const PEOPLE = ["Amara Okafor", "Jonas Lind", "Mei Tanaka", "Sofia Rossi", "Daniel Weiss"];
const DAY = 24 * 60 * 60 * 1000;
const WEEK = 7;
const SECOND = 1000;
/** @type {Record<SlotState, string>} */
const WORDS = {
  free: "free",
  selecting: "being selected",
  yours: "yours",
  locked: "locked",
  booked: "booked",
};
/** @type {Record<string, string>} */
const ENDED = {
  expired: "Your time for it is over.",
  superseded: "You chose in another window.",
  booked: "It has been booked.",
  lost: "Somebody else has it now.",
};
/** @type {Record<string, string>} */
const CLOSED = {
  past_date: "This day is over.",
  non_working_day: "Nobody works on this day.",
  blackout_date: "We are closed on this day.",
};

/** @param {string} id @returns {HTMLElement} */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id @returns {HTMLInputElement} */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));
/** @param {number} at */
const dateOf = (at) => new Date(at).toISOString().slice(0, 10);
/** @param {Date} day @param {Intl.DateTimeFormatOptions} options */
const written = (day, options) => day.toLocaleDateString("en-GB", { timeZone: "UTC", ...options });

const asked = new URLSearchParams(location.search);
const tomorrow = dateOf(Date.now() + DAY);
let employeeId = Number(asked.get("employee")) || 1;
let date = /^\d{4}-\d\d-\d\d$/.test(asked.get("date") ?? "") ? String(asked.get("date")) : tomorrow;
let weekFrom = Date.parse(date) || Date.parse(tomorrow);

const rooms = connect();
/** @type {RoomView | undefined} */
let view;
/** @type {{ time: string, day: string, strongId: string } | undefined} what was booked here last */
let booked;
let unsubscribe = () => {};
/** @type {string | undefined} the slot that Tab reaches */
let reached;

// --- who and when ---

/** @param {string} name @param {string} value @param {boolean} checked @param {string} text @param {string} [small] */
function pick(name, value, checked, text, small) {
  const label = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name, value, checked });
  label.className = "pick";
  label.append(radio);
  if (small) label.append(Object.assign(document.createElement("small"), { textContent: small }));
  label.append(text);
  return label;
}

function showPeople() {
  const names = PEOPLE.map((name, at) => ({ id: at + 1, name }));
  if (employeeId > PEOPLE.length) names.push({ id: employeeId, name: `Employee ${employeeId}` });
  element("people").replaceChildren(
    ...names.map(({ id, name }) => pick("employee", String(id), id === employeeId, name)),
  );
}

function showDays() {
  const days = Array.from({ length: WEEK }, (_, at) => new Date(weekFrom + at * DAY));
  const picks = days.map((day) => {
    const value = dateOf(day.getTime());
    const label = pick(
      "day",
      value,
      value === date,
      String(day.getUTCDate()),
      written(day, { weekday: "short" }),
    );
    label.firstElementChild?.setAttribute(
      "aria-label",
      written(day, { weekday: "long", day: "numeric", month: "long" }),
    );
    return label;
  });
  element("days").replaceChildren(...picks);
  element("earlier").toggleAttribute("disabled", weekFrom <= Date.parse(dateOf(Date.now())));
}

/** Another room: what is only selected here is let go of. */
function watch() {
  const mine = view?.mine.selected;
  if (view && mine) rooms.deselect(view.date, view.employeeId, mine).catch(() => {});
  unsubscribe();
  view = booked = reached = undefined;
  const here = new URL(location.href);
  here.searchParams.set("employee", String(employeeId));
  here.searchParams.set("date", date);
  history.replaceState(null, "", here);
  element("second").setAttribute("href", here.href);
  const day = new Date(date);
  element("day-text").textContent = written(day, { weekday: "long", day: "numeric", month: "long" });
  element("notice").hidden = true;
  show();
  const [watchedDate, watchedEmployee] = [date, employeeId];
  unsubscribe = rooms.subscribe(date, employeeId, (next) => {
    view = next;
    show();
  });
  rooms.availability(date, employeeId).then(
    ({ unavailable, reason }) => {
      const isSame = watchedDate === date && watchedEmployee === employeeId;
      if (isSame && unavailable === "all") notice(CLOSED[reason ?? ""] ?? "This day cannot be booked.");
    },
    () => {},
  );
}

/** @param {string} text */
function notice(text) {
  element("notice").textContent = text;
  element("notice").hidden = false;
}

// --- the times ---

/** The day's times: every half hour from nine to five, and whatever else has something in it. */
function times() {
  const grid = Array.from(
    { length: 16 },
    (_, at) => `${String(9 + (at >> 1)).padStart(2, "0")}:${at % 2 ? "30" : "00"}`,
  );
  const others = view ? [...view.active, ...view.locked, ...view.booked] : [];
  return [...new Set([...grid, ...others])].sort();
}

/** @param {string} time @returns {SlotState} */
function stateOf(time) {
  if (!view) return "free";
  const { mine, booked, locked, active } = view;
  if (booked.includes(time)) return "booked";
  if (mine.selected === time || mine.locks.some((lock) => lock.time === time)) return "yours";
  if (locked.includes(time)) return "locked";
  return active.includes(time) ? "selecting" : "free";
}

function showTimes() {
  const box = element("times");
  const wanted = times();
  const known = [...box.querySelectorAll("button")];
  if (known.map((button) => button.dataset.time).join() !== wanted.join()) {
    box.replaceChildren(
      ...wanted.map((time) => known.find((button) => button.dataset.time === time) ?? slot(time)),
    );
  }
  if (!reached || !wanted.includes(reached)) reached = wanted[0];
  for (const button of box.querySelectorAll("button")) {
    const time = button.dataset.time ?? "";
    const state = stateOf(time);
    button.tabIndex = time === reached ? 0 : -1;
    if (button.dataset.state === state) continue;
    button.dataset.state = state;
    button.setAttribute("aria-pressed", String(state === "yours"));
    button.setAttribute("aria-disabled", String(state !== "free" && state !== "yours"));
    const word = /** @type {HTMLElement} */ (button.lastElementChild);
    word.textContent = WORDS[state];
  }
}

/** @param {string} time */
function slot(time) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "slot" });
  button.dataset.time = time;
  button.append(
    Object.assign(document.createElement("b"), { textContent: time }),
    document.createElement("small"),
  );
  return button;
}

/** @param {KeyboardEvent} event */
function move(event) {
  const buttons = [...element("times").querySelectorAll("button")];
  const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  const columns = buttons.filter((button) => button.offsetTop === buttons[0]?.offsetTop).length;
  /** @type {Record<string, number>} */
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    Home: -at,
    End: buttons.length - 1 - at,
  };
  const to = buttons[at + (steps[event.key] ?? NaN)];
  if (at < 0 || !to) return;
  event.preventDefault();
  reached = to.dataset.time;
  showTimes();
  to.focus();
}

// --- the panel ---

/** The lock that the form is about. */
const lock = () => view?.mine.locks[0];

function showPanel() {
  const step = booked ? "booked" : lock() ? "locked" : view?.mine.selected ? "selected" : "none";
  const panel = element("panel");
  for (const part of panel.querySelectorAll("[data-step]")) {
    /** @type {HTMLElement} */ (part).hidden = /** @type {HTMLElement} */ (part).dataset.step !== step;
  }
  const time = lock()?.time ?? view?.mine.selected ?? "";
  for (const place of panel.querySelectorAll(".slot-time")) place.textContent = time;
  if (booked) {
    element("booked-text").textContent = `${booked.time}, ${booked.day}`;
    element("booked-number").textContent = `Your number: ${booked.strongId}`;
  }
  // Who works by keyboard goes on where the page goes on.
  if (panel.dataset.at !== step && panel.contains(document.activeElement)) panel.focus();
  // On a phone it lies below the times.
  if (panel.dataset.at !== step && step !== "none") panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
  panel.dataset.at = step;
  showCountdown();
}

function showCountdown() {
  const held = lock();
  if (!held) return;
  const left = Math.max(0, Math.ceil((held.until - Date.now()) / SECOND));
  element("countdown").textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  const progress = /** @type {HTMLProgressElement} */ (element("left"));
  progress.max = Math.max(progress.max, left);
  progress.value = left;
}

function show() {
  showTimes();
  showPanel();
  if (view?.error) notice(view.error.message);
}

/** @param {string} text */
function say(text) {
  const toast = element("toast");
  toast.textContent = text;
  // It must not lie over the form for long; to screen readers it has been said.
  toast.animate([{ opacity: 1 }, { opacity: 1, offset: 0.9 }, { opacity: 0 }], { duration: 5 * SECOND, fill: "forwards" });
}

/** Carries out what a button asks; a refusal is said. @param {() => Promise<string>} work */
async function act(work) {
  try {
    say(await work());
  } catch (error) {
    const { code, message, suggested } = /** @type {SlotcastError} */ (error);
    const others = suggested?.length ? ` Free nearby: ${suggested.join(", ")}.` : "";
    say(code === "disconnected" ? "The connection was lost. Please try again." : `${message}.${others}`);
  }
}

/** @param {HTMLButtonElement} button */
function choose({ dataset: { time = "", state } }) {
  reached = time;
  booked = undefined;
  if (state === "free" && lock()) return say("First book the time you have, or let it go.");
  if (state === "free") {
    return act(async () => {
      await rooms.select(date, employeeId, time);
      return `${time} is yours for now.`;
    });
  }
  if (state === "yours" && !lock()) return letGo();
  say(
    state === "yours" ? `${time} is kept for you.` : `${time} is ${WORDS[/** @type {SlotState} */ (state)]}.`,
  );
  return undefined;
}

function letGo() {
  return act(async () => {
    const held = lock();
    const time = held?.time ?? view?.mine.selected ?? "";
    await (held ? rooms.unlock(date, employeeId, time) : rooms.deselect(date, employeeId, time));
    return `${time} is free again.`;
  });
}

/** @param {Record<string, string>} fields */
function showErrors(fields) {
  for (const name of ["name", "email"]) {
    element(`${name}-error`).textContent = fields[name] ?? "";
    input(name).setAttribute("aria-invalid", String(name in fields));
  }
  const first = ["name", "email"].find((name) => name in fields);
  if (first) input(first).focus();
}

/** @param {SubmitEvent} event */
function book(event) {
  event.preventDefault();
  const held = lock();
  if (!held) return;
  const { time, fence } = held;
  // Another day may be looked at before the answer is there.
  const day = element("day-text").textContent ?? "";
  const button = /** @type {HTMLButtonElement} */ (element("book"));
  button.disabled = true;
  showErrors({});
  act(async () => {
    try {
      const customer = { name: input("name").value, email: input("email").value, fence };
      const { strongId } = await rooms.confirm(date, employeeId, time, customer);
      booked = { time, day, strongId };
      show();
      return `${time} is booked.`;
    } catch (error) {
      showErrors(/** @type {SlotcastError} */ (error).fields ?? {});
      throw error;
    } finally {
      button.disabled = false;
    }
  });
}

// --- the line ---

function showLine() {
  const { connected, stale, storageMode, transport } = rooms.state;
  const line = element("line");
  const stores = { redis: "on Redis", mysql: "on MySQL, Redis is away", memory: "in memory" };
  const store = storageMode ? stores[storageMode] : "";
  line.dataset.state = !connected || stale ? "away" : "live";
  line.dataset.storage = storageMode ?? "";
  line.dataset.transport = transport ?? "";
  let text = transport === "polling" ? `Checking every five seconds · ${store}` : `Live · ${store}`;
  if (stale) text = "The last known state · no store answers";
  if (!connected) text = storageMode ? "Connecting again …" : "Connecting …";
  element("line-text").textContent = text;
}

showPeople();
showDays();
watch();
showLine();
rooms.on("state", showLine);
rooms.on("released", ({ time, reason }) => say(`${time} is not yours any more. ${ENDED[reason]}`));
setInterval(showCountdown, SECOND);

element("people").addEventListener("change", ({ target }) => {
  employeeId = Number(/** @type {HTMLInputElement} */ (target).value);
  watch();
});
element("days").addEventListener("change", ({ target }) => {
  date = /** @type {HTMLInputElement} */ (target).value;
  watch();
});
for (const [id, days] of /** @type {const} */ ([
  ["earlier", -WEEK],
  ["later", WEEK],
])) {
  element(id).addEventListener("click", () => {
    weekFrom = Math.max(weekFrom + days * DAY, Date.parse(dateOf(Date.now())));
    showDays();
  });
}
element("times").addEventListener("keydown", move);
element("times").addEventListener("click", ({ target }) => {
  const button = /** @type {HTMLElement} */ (target).closest("button");
  if (button) choose(button);
});
element("lock").addEventListener("click", () =>
  act(async () => {
    const time = view?.mine.selected ?? "";
    await rooms.lock(date, employeeId, time);
    input("name").focus();
    return `${time} is kept for you.`;
  }),
);
for (const id of ["deselect", "unlock"]) element(id).addEventListener("click", letGo);
element("form").addEventListener("submit", (event) => book(/** @type {SubmitEvent} */ (event)));
element("another").addEventListener("click", () => {
  booked = undefined;
  show();
});
