// React hooks over the client, and AppointEase's data service for pages written against that. React is handed in, so
// that it works with a bundler and with WordPress' global alike. Invariant: what a component has not read does not
// render it anew.

import { SlotcastError, connect } from "./slotcast.js";

/** @typedef {import("./react.js").SlotsOptions} SlotsOptions */
/** @typedef {import("./slotcast.js").Rooms} Rooms */
/** @typedef {import("./slotcast.js").RoomView} RoomView */

const ANSWERS_WITHIN = 10_000;
const NOTHING = Object.freeze({
  activeSelections: [],
  bookedSlots: [],
  lockedSlots: [],
  isConnected: false,
  lastUpdate: 0,
  storageMode: null,
  stale: false,
  mine: { selected: null, locks: [] },
  error: null,
});

/** @typedef {Omit<import("./react.js").Slots, "select" | "deselect" | "lock" | "unlock" | "confirm">} Shown */

/** @type {typeof import("./react.js").createHooks} */
export function createHooks({ useEffect, useMemo, useSyncExternalStore }, defaults) {
  return {
    useSlots({ selectedTime, ...given }) {
      const options = { ...defaults, ...given };
      const { date, employeeId, clientId, excludeAppointmentId, url, enabled = true } = options;
      // Not the token: pages give a new function with each render.
      const room = useMemo(
        () => new WatchedRoom(enabled ? options : {}),
        [date, employeeId, clientId, excludeAppointmentId, url, enabled],
      );
      const shown = useSyncExternalStore(room.subscribe, room.snapshot, () => NOTHING);
      useEffect(() => room.choose(selectedTime), [room, selectedTime]);
      return useMemo(() => room.slots(), [room, shown]);
    },
  };
}

/** How many components have chosen a slot, by room. @type {Map<string, number>} */
const choices = new Map();

/** One component's look at a room. */
class WatchedRoom {
  /** @type {Rooms | null} */
  rooms = null;
  /** What the component has read. @type {Set<keyof Shown>} */
  read = new Set();
  /** @type {Shown} */
  latest = NOTHING;
  /** @type {Shown} */
  shown = NOTHING;

  /** @param {SlotsOptions} options */
  constructor(options) {
    this.options = options;
    this.date = options.date ?? "";
    this.employeeId = Number(options.employeeId ?? 0);
  }

  /** @param {() => void} changed */
  subscribe = (changed) => {
    if (!this.date || !this.employeeId) return () => {};
    const rooms = (this.rooms = connect(this.options));
    /** @type {RoomView | undefined} */
    let view;
    const update = () => {
      this.latest = shownOf(this.latest, rooms.state, view);
      changed();
    };
    rooms.on("state", update);
    const onView = (/** @type {RoomView} */ next) => {
      view = next;
      update();
    };
    rooms.subscribe(this.date, this.employeeId, onView, this.options);
    update();
    return () => {
      rooms.close();
      if (this.rooms === rooms) this.rooms = null;
    };
  };

  snapshot = () => {
    for (const name of this.read) {
      if (this.latest[name] !== this.shown[name]) this.shown = this.latest;
    }
    return this.shown;
  };

  /**
   * Follows a choice that the page keeps itself, until the returned function is called. What is chosen next, here or by
   * another component, moves the selection; where nothing is, it is let go of.
   * @param {string | null | undefined} time
   */
  choose(time) {
    const { rooms, date, employeeId } = this;
    if (!time || !rooms) return undefined;
    const { url, clientId } = this.options;
    const key = JSON.stringify([url, clientId, date, employeeId]);
    choices.set(key, (choices.get(key) ?? 0) + 1);
    // What is refused shows in the lists.
    rooms.select(date, employeeId, time).catch(() => {});
    return () => {
      choices.set(key, (choices.get(key) ?? 0) - 1);
      // Whoever chooses next does it before that.
      queueMicrotask(() => {
        if (choices.get(key) !== 0) return;
        choices.delete(key);
        rooms.deselect(date, employeeId, time).catch(() => {});
      });
    };
  }

  /** The hook's result: reading it is what makes a component depend on it. @returns {import("./react.js").Slots} */
  slots() {
    /** @type {any} */
    const slots = {};
    for (const name of /** @type {(keyof Shown)[]} */ (Object.keys(NOTHING))) {
      const get = () => {
        this.read.add(name);
        return this.latest[name];
      };
      Object.defineProperty(slots, name, { get, enumerable: true });
    }
    for (const act of /** @type {const} */ (["select", "deselect", "lock", "unlock", "confirm"])) {
      slots[act] = this.acts[act];
    }
    return slots;
  }

  /** The same functions with every render. */
  acts = {
    /** @param {string} time */
    select: async (time) => this.open().select(this.date, this.employeeId, time),
    /** @param {string} time */
    deselect: async (time) => this.open().deselect(this.date, this.employeeId, time),
    /** @param {string} time */
    lock: async (time) => this.open().lock(this.date, this.employeeId, time),
    /** @param {string} time */
    unlock: async (time) => this.open().unlock(this.date, this.employeeId, time),
    /** @param {string} time @param {import("./slotcast.js").Customer} customer */
    confirm: async (time, customer) => this.open().confirm(this.date, this.employeeId, time, customer),
  };

  open() {
    if (!this.rooms)
      throw new SlotcastError("closed", "No room is watched: choose a date and an employee first");
    return this.rooms;
  }
}

/** @param {Shown} before @param {import("./slotcast.js").State} state @param {RoomView | undefined} view */
function shownOf(before, state, view) {
  const own = view?.mine.locks.map((lock) => lock.time) ?? [];
  const locked = view?.locked.filter((time) => !own.includes(time)) ?? [];
  const isSame = locked.join() === before.lockedSlots.join();
  return {
    activeSelections: view?.active ?? before.activeSelections,
    bookedSlots: view?.booked ?? before.bookedSlots,
    lockedSlots: isSame ? before.lockedSlots : locked,
    isConnected: state.connected,
    lastUpdate: view?.updatedAt ?? 0,
    storageMode: state.storageMode,
    stale: state.stale,
    mine: view?.mine ?? before.mine,
    error: view?.error ?? null,
  };
}

/** @type {typeof import("./react.js").createRedisDataService} */
export function createRedisDataService({ onDataUpdate, url, token, clientId: usual } = {}) {
  /** @type {Map<string | undefined, Rooms>} */
  const clients = new Map();
  /** @type {Rooms | undefined} */
  let latest;
  /** @param {string} [clientId] */
  const as = (clientId = usual) => {
    const known = clients.get(clientId);
    const rooms = known ?? connect({ url, token, clientId });
    clients.set(clientId, rooms);
    if (!known) rooms.on("state", ({ storageMode }) => storageMode && report(storageMode));
    return (latest = rooms);
  };
  /** Whoever holds acts for the caller who does not say who that is. */
  const current = () => latest ?? as();
  /** @type {import("./slotcast.js").StorageMode | undefined} */
  let reported;
  /** @param {import("./slotcast.js").StorageMode} storage_mode */
  const report = (storage_mode) => {
    if (storage_mode === reported) return;
    reported = storage_mode;
    onDataUpdate?.({ redis_status: storage_mode === "redis" ? "available" : "unavailable", storage_mode });
  };
  if (onDataUpdate) as();

  return {
    selectSlot: (date, time, employeeId, clientId) =>
      outcome(as(clientId).select(date, Number(employeeId), time)),
    deselectSlot: (date, time, employeeId, clientId) =>
      outcome((clientId ? as(clientId) : current()).deselect(date, Number(employeeId), time)),
    getAvailability: (date, employeeId) => current().availability(date, Number(employeeId)),
    getActiveSelections: (date, employeeId) =>
      new Promise((resolve, reject) => {
        const late = () => settle(new SlotcastError("timeout", "No answer in time"));
        const timer = setTimeout(late, ANSWERS_WITHIN);
        const settle = (/** @type {SlotcastError | null} */ error, /** @type {readonly string[]} */ active = []) => {
          clearTimeout(timer);
          if (error) reject(error);
          else resolve(active);
          queueMicrotask(() => end());
        };
        const end = current().subscribe(date, Number(employeeId), ({ ready, active, error }) => {
          if (ready || error) settle(error, active);
        });
      }),
    async confirmBooking({ date, time, client_id, service_id, idempotency_key, ...booking }) {
      const { name, firstName = "", lastName = "", email, phone, notes } = booking;
      const employeeId = Number(booking.employee_id ?? booking.employeeId ?? booking.staff_id);
      const rooms = client_id ? as(client_id) : current();
      const booked = await rooms.confirm(date.slice(0, 10), employeeId, time ?? date.slice(11, 16), {
        name: name ?? `${firstName} ${lastName}`.trim(),
        email,
        phone,
        notes,
        serviceId: service_id == null ? undefined : Number(service_id),
        idempotencyKey: idempotency_key,
      });
      return { success: true, appointment_id: booked.appointmentId, strong_id: booked.strongId };
    },
    isRedisEnabled: () => (reported ?? "redis") === "redis",
    getStorageMode: () => reported ?? "redis",
    close() {
      for (const rooms of clients.values()) rooms.close();
      clients.clear();
    },
  };
}

/** AppointEase's pages look at `success` and expect no exception. @param {Promise<import("./slotcast.js").Held>} held */
async function outcome(held) {
  try {
    return { success: true, ...(await held) };
  } catch (error) {
    const { message, code } = /** @type {SlotcastError} */ (error);
    return { success: false, error: message, code };
  }
}
