// One room as this page sees it: the three lists, kept by snapshots and diffs, and what the page itself holds.
// Used by connection.js. Invariant: a list is one the gateway had; what did not change keeps its identity.

import { renewed, tell } from "./care.js";

/** @typedef {import("../slotcast.js").RoomView} RoomView */
/** @typedef {Record<string, any>} Frame */

export class Room {
  /** @type {Set<(view: RoomView) => void>} */
  watchers = new Set();
  /** @type {string | number | null | undefined} */
  exclude;
  /** @type {string | null} */
  selected = null;
  /** @type {Map<string, import("../slotcast.js").Lock>} */
  locks = new Map();
  epoch = "";
  rev = 0;
  // Requests whose answer changes what is held here: a room that is left meanwhile must not become two.
  asking = 0;
  // A snapshot has been asked for: diffs count for nothing until it is here.
  syncing = false;

  /** @param {string} date @param {number} employeeId */
  constructor(date, employeeId) {
    /** @type {RoomView} */
    this.view = {
      date,
      employeeId,
      ready: false,
      active: [],
      locked: [],
      booked: [],
      ownBooking: null,
      mine: { selected: null, locks: [] },
      error: null,
      updatedAt: 0,
    };
  }

  /** @param {string} type @param {Frame} [more] @returns {Frame} */
  frame(type, more) {
    return { type, date: this.view.date, employee_id: this.view.employeeId, ...more };
  }

  /** @param {Frame} frame */
  onSnapshot({ epoch, rev, active, locked, booked, own_booking }) {
    this.syncing = false;
    this.epoch = epoch;
    this.rev = rev;
    this.show({ active, locked, booked, ownBooking: own_booking ?? null, ready: true, error: null });
  }

  /** Whether the diff fitted; if not, the room needs a snapshot. @param {Frame} frame */
  onDiff({ epoch, rev, ...frame }) {
    if (epoch !== this.epoch || rev !== this.rev + 1) return false;
    this.rev = rev;
    /** @type {Frame} */
    const changed = {};
    for (const list of /** @type {const} */ (["active", "locked", "booked"])) {
      if (!frame[list]) continue;
      const times = new Set(this.view[list]);
      for (const time of frame[list].remove) times.delete(time);
      for (const time of frame[list].add) times.add(time);
      changed[list] = [...times].sort();
    }
    this.show(changed);
    return true;
  }

  /** Notes what a request of this page came to. @param {string} time @param {Frame} ok */
  onHeld(time, { status, ttl, fence }) {
    if (status === "selected") this.selected = time;
    else if (this.selected === time) this.selected = null;
    const known = this.locks.get(time);
    // A gateway that has yet to hear of the lock, or an answer by REST, does not say all of it.
    const until = known && !ttl ? known.until : Date.now() + ttl * 1000;
    if (status === "locked") this.locks.set(time, { time, until, fence: fence ?? known?.fence });
    else if (status !== "deselected") this.locks.delete(time);
    this.showMine();
  }

  /** Whether there was such a hold to lose. @param {string} time @param {"selection" | "lock"} hold */
  lose(time, hold) {
    const had = hold === "lock" ? this.locks.delete(time) : this.selected === time;
    if (had && hold === "selection") this.selected = null;
    this.showMine();
    return had;
  }

  showMine() {
    this.show({ mine: { selected: this.selected, locks: [...this.locks.values()] } });
  }

  /** Tells the watchers, if there is anything new in these parts of the view. @param {Frame} parts */
  show(parts) {
    const view = renewed(this.view, parts);
    if (!view) return;
    this.view = { ...view, updatedAt: Date.now() };
    tell(this.watchers, this.view);
  }
}
