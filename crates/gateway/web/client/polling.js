// The way round where WebSockets are blocked: takes the frames of the push protocol, and makes heartbeats and REST
// calls of them. Used by line.js. Invariant: one request at a time, so no older answer overtakes a newer one.

/** @typedef {import("./room.js").Frame} Frame */
/** @typedef {import("./room.js").Room} Room */
/**
 * @typedef {{ url: string, clientId: string, rooms: Map<string, Room>, line: { shown?: string },
 *   onFrame(frame: Frame): void }} Owner
 */

/** How long an answer may take, here and over a socket. */
export const ANSWERS_WITHIN = 10_000;
const BEAT = 5_000;

export class Polling {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;
  closed = false;
  failures = 0;
  /** @type {Promise<unknown>} */
  queue = Promise.resolve();

  /** @param {Owner} owner @param {() => void} onDown */
  constructor(owner, onDown) {
    this.owner = owner;
    this.onDown = onDown;
  }

  /** What a heartbeat with this poll says; without, only whether somebody answers. @param {Frame} [poll] */
  async heartbeat(poll) {
    const data = { appointease_poll: poll };
    const { body } = await this.post("/slotcast/heartbeat", {
      action: "heartbeat",
      interval: BEAT / 1000,
      data,
    });
    return body;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }

  /** @param {Frame} frame */
  send(frame) {
    const { type, id, date, employee_id } = frame;
    if (type === "unsubscribe") return;
    if (type === "ping") return this.beat();
    const room = this.owner.rooms.get(`${date} ${employee_id}`);
    this.next(async () => {
      const asks = type === "subscribe" || type === "sync";
      if (!asks) await this.call(frame);
      if (room && type !== "availability") await this.look(room, asks ? id : undefined);
    });
  }

  /** After a strange answer, as a proxy may give, comes the next request all the same. @param {() => unknown} work */
  next(work) {
    this.queue = this.queue.then(work).catch(() => {});
  }

  beat() {
    clearTimeout(this.timer);
    for (const room of this.owner.rooms.values()) {
      if (room.watchers.size || room.selected) this.next(() => this.look(room));
    }
    this.next(() => {
      if (!this.closed) this.timer = setTimeout(() => this.beat(), BEAT);
    });
  }

  /** Polls a room: the answer is its snapshot. @param {Room} room @param {unknown} [id] */
  async look(room, id) {
    if (this.closed) return;
    const { selected, exclude } = room;
    const body = await this.heartbeat(
      room.frame("poll", {
        client_id: this.owner.clientId,
        time: selected ?? "",
        exclude_appointment_id: exclude ?? "",
      }),
    );
    if (this.closed || !body.server_time) return;
    const { error: message, status: code, storage_mode, stale, redis_ops } = body;
    if (message) return this.owner.onFrame({ type: "error", id, code, message });
    // A poll leaves out the caller's own locks; a view has everybody's.
    const locked = [...new Set([...body.appointease_locked_slots, ...room.locks.keys()])].sort();
    const lists = {
      active: body.appointease_active_selections,
      locked,
      booked: body.appointease_booked_slots,
    };
    this.owner.onFrame(room.frame("snapshot", { id, epoch: "", rev: 0, ...lists, storage_mode, stale }));
    if (selected && redis_ops.user_selection !== selected) {
      this.owner.onFrame(room.frame("released", { time: selected, hold: "selection", reason: "lost" }));
    }
  }

  /** @param {Frame} frame */
  async call({ type, id, ...sent }) {
    /** @type {Frame} */
    const others = { confirm: "appointments", availability: "availability" };
    const { status, body } = await this.post(`/slotcast/${others[type] ?? `slots/${type}`}`, {
      ...sent,
      client_id: this.owner.clientId,
    });
    if (body.code) {
      const { suggested_slots: suggested, fields } = body.data ?? {};
      const code = body.code === "slot_taken" ? "slot_booked" : body.code;
      this.owner.onFrame({ type: "error", id, code, message: body.message, suggested, fields });
    } else if (status === 200) {
      /** @param {string} what */
      const being = (what) =>
        Object.keys(body.booking_details ?? {}).filter((time) => body.booking_details[time].status === what);
      const ok = { status: "confirmed", booked: being("booked"), locked: being("locked"), ...body };
      this.owner.onFrame({ ...ok, type: "ok", id });
    } else if (type !== "confirm") {
      // Whether a booking was made nobody knows now: it is asked for again, with its key.
      this.owner.onFrame({ type: "error", id, code: "disconnected", message: "No connection" });
    }
  }

  /** @param {string} path @param {object} fields @returns {Promise<{ status: number, body: Frame }>} */
  async post(path, fields) {
    try {
      const answer = await fetch(this.owner.url.replace("ws", "http").replace(/\/[^/]*$/, path), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...fields, slotcast_token: this.owner.line.shown }),
        // A page that is left still gets it out.
        keepalive: true,
        signal: AbortSignal.timeout(ANSWERS_WITHIN),
      });
      const body = await answer.json();
      this.failures = 0;
      return { status: answer.status, body };
    } catch {
      if (++this.failures > 1) this.onDown();
      return { status: 0, body: {} };
    }
  }
}
