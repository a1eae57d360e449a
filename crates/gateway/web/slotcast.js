// Live booking slots for a page: one connection, shared by all rooms, that mends itself. Pages call `connect`;
// slotcast.d.ts says what it gives. Invariant: same address and client, same connection, closed with its last user.

import { attempt } from "./client/care.js";
import { Connection, SlotcastError } from "./client/connection.js";

export { SlotcastError };

// An unmounted component is often mounted again at once.
const LINGER = 1_000;
const ID_KEY = "slotcast_client_id";

/** @type {Map<string, Connection>} */
const connections = new Map();
/** @type {string | undefined} */
let ownId;

/** @type {typeof import("./slotcast.js").connect} */
export function connect({ url, clientId, token } = {}) {
  const address = new URL(url ?? "/ws", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const client = clientId ?? browserId();
  const key = `${address.href} ${client}`;
  const known = connections.get(key);
  const connection = known ?? new Connection(address.href, client);
  connections.set(key, connection);
  connection.users++;
  connection.line.token = token ?? connection.line.token;
  if (!known) connection.line.dial();

  /** @type {Set<() => void>} */
  const ends = new Set();
  /** Once, here or with the last of the handle. @param {() => unknown} end */
  const until = (end) => {
    const once = () => void (ends.delete(once) && end());
    ends.add(once);
    return once;
  };
  until(() => --connection.users || setTimeout(closeUnused, LINGER));
  /** @param {string} type @returns {(date: string, employeeId: number, time: string) => Promise<any>} */
  const hold = (type) => (date, employeeId, time) => connection.act(type, date, employeeId, time);
  return {
    get state() {
      return connection.state;
    },
    subscribe: (date, employeeId, onChange, options) =>
      until(connection.watch(date, employeeId, (view) => onChange(view), options?.excludeAppointmentId)),
    select: hold("select"),
    deselect: hold("deselect"),
    lock: hold("lock"),
    unlock: hold("unlock"),
    async confirm(date, employeeId, time, { serviceId, idempotencyKey = random(), ...customer }) {
      const more = { ...customer, service_id: serviceId, idempotency_key: idempotencyKey };
      const ok = await connection.act("confirm", date, employeeId, time, more);
      return { status: "confirmed", appointmentId: ok.appointment_id, strongId: ok.strong_id };
    },
    async availability(date, employee_id) {
      const said = await connection.ask({ type: "availability", date, employee_id });
      const { unavailable, reason, booked, locked, storage, cached } = said;
      return { unavailable, reason, booked, locked, storage, cached };
    },
    on(/** @type {"state" | "released"} */ what, /** @type {(news: any) => void} */ listener) {
      /** @param {any} news */
      const own = (news) => listener(news);
      connection.listeners[what].add(own);
      return until(() => connection.listeners[what].delete(own));
    },
    close: () => [...ends].forEach((end) => end()),
  };

  function closeUnused() {
    if (connection.users || connection.line.ended) return;
    connections.delete(key);
    connection.end();
  }
}

/** One for each browser, so that two tabs are one client. */
function browserId() {
  const id = (ownId ??= attempt(() => localStorage[ID_KEY]) ?? random());
  attempt(() => (localStorage[ID_KEY] = id));
  return id;
}

// Not crypto.randomUUID: that is missing where the page came without TLS.
function random() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
