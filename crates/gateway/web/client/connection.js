// What a page asks over its line, and what it holds: requests and their answers, rooms, the way back after a loss.
// Used by slotcast.js. Invariant: a promise settles once, and a confirm is asked again until it is answered.

import { attempt, renewed, tell } from "./care.js";
import { Line } from "./line.js";
import { ANSWERS_WITHIN } from "./polling.js";
import { Room } from "./room.js";

/** @typedef {import("../slotcast.js").State} State */
/** @typedef {import("../slotcast.js").Released} Released */
/** @typedef {import("./room.js").Frame} Frame */
/**
 * @typedef {{ frame: Frame, sent: boolean, timer: ReturnType<typeof setTimeout>,
 *   resolve(frame: Frame): void, reject(error: Error): void }} Request
 */

const ASK_AGAIN = 2_000;
// By these answers the slot is not ours, whatever we believed.
const NOT_OURS = ["slot_locked", "slot_booked", "slot_closed", "lock_lost", "not_owner"];
/** @type {Record<string, string>} */
const LEFT_BY = { select: "deselect", lock: "unlock" };
const PASSING = ["store_unavailable", "rate_limited", "timeout"];
// Nobody knows whether it was done.
const DOUBTFUL = ["disconnected", ...PASSING];

export class SlotcastError extends Error {
  /** @param {string} code @param {string} message @param {object} [more] */
  constructor(code, message, more) {
    super(message);
    Object.assign(this, { name: "SlotcastError", code }, more);
  }
}

export class Connection {
  users = 0;
  /** @type {Map<string, Room>} */
  rooms = new Map();
  /** @type {Map<number, Request>} */
  requests = new Map();
  lastId = 0;
  /** @type {{ state: Set<(state: State) => void>, released: Set<(released: Released) => void> }} */
  listeners = { state: new Set(), released: new Set() };

  /** @param {string} url @param {string} clientId */
  constructor(url, clientId) {
    /** @type {State} */
    this.state = { connected: false, stale: false, storageMode: null, transport: null, clientId };
    this.url = url;
    this.clientId = clientId;
    /** @type {Line} */
    this.line = new Line(this);
    this.storageKey = `slotcast_locks ${clientId}`;
    this.recallLocks();
  }

  // --- the line ---

  /** @param {State["transport"]} transport */
  onUp(transport) {
    this.setState({ connected: true, transport });
    for (const room of this.rooms.values()) {
      if (room.watchers.size) this.subscribe(room);
      // The selection last: one that a lost lock leaves behind gives way to it.
      for (const time of [...room.locks.keys(), room.selected]) if (time) this.holdAgain(room, time);
    }
    for (const request of this.requests.values()) this.transmit(request);
  }

  onDown() {
    this.setState({ connected: false, transport: null });
    for (const [id, request] of this.requests) {
      if (request.frame.type === "confirm") request.sent = false;
      else if (request.sent) this.fail(id, "disconnected", "The connection was lost");
    }
  }

  /** Another tab of this browser is the same client, and would keep alive what this page selected. */
  onLeave() {
    for (const room of this.rooms.values()) {
      if (room.selected) this.line.link?.send(room.frame("deselect", { time: room.selected }));
    }
  }

  end() {
    this.onLeave();
    this.line.end();
    for (const id of this.requests.keys()) this.fail(id, "closed", "The connection was closed");
  }

  /** @param {Frame} frame */
  onFrame(frame) {
    const room = this.rooms.get(`${frame.date} ${frame.employee_id}`);
    const { type, storage_mode, stale, client_id } = frame;
    if (client_id) this.setState({ clientId: client_id });
    if (storage_mode) this.onStorage(storage_mode, type === "welcome" ? this.state.stale : !!stale);
    if (type === "snapshot") room?.onSnapshot(frame);
    if (type === "diff" && room && !room.syncing && !room.onDiff(frame)) {
      room.syncing = true;
      this.ask(room.frame("sync")).catch(() => (room.syncing = false));
    }
    if (type === "released" && room) this.release(room, frame.time, frame.hold, frame.reason);
    const request = this.requests.get(frame.id);
    if (!request) return;
    this.requests.delete(frame.id);
    clearTimeout(request.timer);
    if (type !== "error") return request.resolve(frame);
    const { code, message, suggested, fields } = frame;
    request.reject(new SlotcastError(code, message, { suggested, fields }));
  }

  /** @param {NonNullable<State["storageMode"]>} storageMode @param {boolean} stale */
  onStorage(storageMode, stale) {
    const before = this.state.storageMode;
    this.setState({ storageMode, stale });
    if (!before || before === storageMode) return;
    const back = storageMode === "redis";
    console.info(back ? "Redis restored, using Redis primary" : "Redis unavailable, using MySQL fallback");
  }

  /** @param {Partial<State>} parts */
  setState(parts) {
    const state = renewed(this.state, parts);
    if (state) tell(this.listeners.state, (this.state = state));
  }

  // --- requests ---

  /** @param {Frame} asked @returns {Promise<Frame>} */
  ask(asked) {
    return new Promise((resolve, reject) => {
      const id = ++this.lastId;
      const late = () => {
        this.line.check();
        if (asked.type !== "confirm") return this.fail(id, "timeout", "No answer in time");
        request.sent = false;
        request.timer = setTimeout(late, ANSWERS_WITHIN);
        this.transmit(request);
      };
      const timer = setTimeout(late, ANSWERS_WITHIN);
      const request = { frame: { ...asked, id }, sent: false, timer, resolve, reject };
      this.requests.set(id, request);
      if (this.line.ended) this.fail(id, "closed", "The connection was closed");
      else this.transmit(request);
    });
  }

  /** @param {Request} request */
  transmit(request) {
    const { link } = this.line;
    if (!link || request.sent) return;
    request.sent = true;
    link.send(request.frame);
  }

  /** Asks again where the refusal will pass; a new line does it by itself. @param {string} code @param {() => unknown} ask */
  later(code, ask) {
    if (PASSING.includes(code)) setTimeout(() => this.line.link && ask(), ASK_AGAIN);
  }

  /** @param {number} id @param {string} code @param {string} message */
  fail(id, code, message) {
    this.onFrame({ type: "error", id, code, message });
  }

  /** @param {string} type @param {string} date @param {number} employeeId @param {string} time @param {Frame} [more] */
  async act(type, date, employeeId, time, more) {
    const room = this.room(date, employeeId);
    room.asking++;
    try {
      const { type: _, id, ...ok } = await this.ask(room.frame(type, { time, ...more }));
      this.onHeld(room, time, ok);
      return ok;
    } catch (error) {
      const refusal = /** @type {any} */ (error);
      if (NOT_OURS.includes(refusal.code)) this.onHeld(room, time, { status: "unlocked" });
      else if (DOUBTFUL.includes(refusal.code) && type in LEFT_BY && !this.holds(room, time)) {
        // Whether it was granted is unknown, and the page is told that it was not.
        const leave = this.ask(room.frame(LEFT_BY[type], { time })).catch(() => {});
        // If it was granted, that ended the selection made before.
        leave.then(() => void (room.selected && this.holdAgain(room, room.selected)));
      }
      if (more) refusal.idempotencyKey = more.idempotency_key;
      throw error;
    } finally {
      room.asking--;
      this.tidy(room);
    }
  }

  // --- holds ---

  /** @param {Room} room @param {string} time */
  holds(room, time) {
    return room.selected === time || room.locks.has(time);
  }

  /**
   * What became of a hold while the line was away only the gateway knows. To select one's own lock leaves it as it is.
   * @param {Room} room @param {string} time
   */
  async holdAgain(room, time) {
    const wasLock = room.locks.has(time);
    room.asking++;
    try {
      const ok = await this.ask(room.frame("select", { time }));
      if (wasLock && ok.status === "selected") this.release(room, time, "lock", "lost");
      this.onHeld(room, time, ok);
    } catch (error) {
      const { code } = /** @type {any} */ (error);
      if (NOT_OURS.includes(code)) this.release(room, time, wasLock ? "lock" : "selection", "lost");
      this.later(code, () => this.holds(room, time) && this.holdAgain(room, time));
    } finally {
      room.asking--;
      this.tidy(room);
    }
  }

  /** @param {Room} room @param {string} time @param {Frame} ok */
  onHeld(room, time, ok) {
    room.onHeld(time, ok);
    this.rememberLocks();
    if (ok.status === "locked") this.expireLater(room);
  }

  /** The gateway says it first; where it cannot be heard, the time has passed all the same. @param {Room} room */
  expireLater(room) {
    for (const { time, until } of room.view.mine.locks) {
      const isSame = () => room.locks.get(time)?.until === until;
      setTimeout(() => isSame() && this.release(room, time, "lock", "expired"), until - Date.now() + 1_000);
    }
  }

  /** @param {Room} room @param {string} time @param {Released["hold"]} hold @param {Released["reason"]} reason */
  release(room, time, hold, reason) {
    if (!room.lose(time, hold)) return;
    this.rememberLocks();
    const { date, employeeId } = room.view;
    tell(this.listeners.released, { date, employeeId, time, hold, reason });
    this.tidy(room);
  }

  /** A lock outlives a reload of its page. */
  rememberLocks() {
    const locks = [...this.rooms.values()].flatMap(({ view: { date, employeeId, mine } }) =>
      mine.locks.map((lock) => [date, employeeId, lock]),
    );
    attempt(() => (sessionStorage[this.storageKey] = JSON.stringify(locks)));
  }

  recallLocks() {
    for (const [date, employeeId, lock] of attempt(() => JSON.parse(sessionStorage[this.storageKey])) ?? []) {
      if (lock.until <= Date.now()) continue;
      const room = this.room(date, employeeId);
      room.locks.set(lock.time, lock);
      room.showMine();
      this.expireLater(room);
    }
  }

  // --- rooms ---

  /** @param {string} date @param {number} employeeId */
  room(date, employeeId) {
    const key = `${date} ${employeeId}`;
    const room = this.rooms.get(key) ?? new Room(date, employeeId);
    this.rooms.set(key, room);
    return room;
  }

  /**
   * @param {string} date @param {number} employeeId @param {(view: import("../slotcast.js").RoomView) => void} watcher
   * @param {Room["exclude"]} exclude
   */
  watch(date, employeeId, watcher, exclude) {
    const room = this.room(date, employeeId);
    const isWatched = room.watchers.size && room.exclude == exclude;
    room.exclude = exclude;
    room.watchers.add(watcher);
    if (this.line.link && !isWatched) this.subscribe(room);
    if (room.view.ready || room.view.error) watcher(room.view);
    return () => {
      room.watchers.delete(watcher);
      if (room.watchers.size) return;
      this.line.link?.send(room.frame("unsubscribe"));
      this.tidy(room);
    };
  }

  /** @param {Room} room */
  async subscribe(room) {
    const exclude = room.exclude ?? undefined;
    try {
      await this.ask(room.frame("subscribe", { exclude_appointment_id: exclude }));
    } catch (error) {
      const { code } = /** @type {any} */ (error);
      this.later(code, () => room.watchers.size && this.subscribe(room));
      if (!DOUBTFUL.includes(code)) room.show({ error });
    }
  }

  /** @param {Room} room */
  tidy({ watchers, asking, selected, locks, view: { date, employeeId } }) {
    if (!watchers.size && !asking && !selected && !locks.size) this.rooms.delete(`${date} ${employeeId}`);
  }
}
