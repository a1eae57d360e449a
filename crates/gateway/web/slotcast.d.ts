// The types of the browser client, for editors and bundlers; slotcast.js is checked against them.
// Times are the site's own `HH:MM`, dates `YYYY-MM-DD`.

/** Which store decides. */
export type StorageMode = "redis" | "mysql" | "memory";

export interface Options {
  /** The gateway's socket: `wss://…/ws`, or a path of this site. Default: `/ws`. */
  url?: string;
  /** Who holds. Default: a name made up once for each browser and kept in localStorage, so that two tabs are one client. */
  clientId?: string;
  /**
   * Where the site wants tokens: one, or how to get a fresh one, which is asked again before a token ends. Where it gives
   * none, none is shown.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
}

/** The state of the connection that all rooms share. */
export interface State {
  readonly connected: boolean;
  /** No store can be reached: what is shown is the last known state. */
  readonly stale: boolean;
  /** `null` before the first answer. */
  readonly storageMode: StorageMode | null;
  /** How it is connected. `polling`: every five seconds, where WebSockets do not get through. */
  readonly transport: "websocket" | "polling" | null;
  /** The client by whose name holds are taken. */
  readonly clientId: string;
}

/** A lock of this page's client. */
export interface Lock {
  readonly time: string;
  /** When it ends, in this browser's milliseconds. */
  readonly until: number;
  /** Rises with each lock granted. */
  readonly fence: number;
}

/** What this page holds in a room. */
export interface Mine {
  readonly selected: string | null;
  readonly locks: readonly Lock[];
}

/** What everybody may see of one day of one employee, and what of it is yours. Unchanged parts keep their identity. */
export interface RoomView {
  readonly date: string;
  readonly employeeId: number;
  /** Whether the gateway has said what the room looks like; before that the lists are empty. */
  readonly ready: boolean;
  /** Being selected, by anybody: your own selection too. */
  readonly active: readonly string[];
  /** Locked, by anybody: your own locks too. */
  readonly locked: readonly string[];
  readonly booked: readonly string[];
  /** The slot of the appointment to be moved (`excludeAppointmentId`). */
  readonly ownBooking: string | null;
  readonly mine: Mine;
  /** Why the room cannot be watched, as `invalid_date`. */
  readonly error: SlotcastError | null;
  /** When it last changed, in this browser's milliseconds; 0 before the first time. */
  readonly updatedAt: number;
}

export interface RoomOptions {
  /** The appointment about to be moved: its slot is not shown as booked. One for all watchers of a room, the last given. */
  excludeAppointmentId?: string | number | null;
}

/** The outcome of select, deselect, lock and unlock. */
export interface Held {
  readonly status: "selected" | "deselected" | "locked" | "unlocked";
  readonly storage?: StorageMode;
  /** Seconds left. A selection is renewed as long as the page is there. */
  readonly ttl?: number;
  readonly fence?: number;
}

export interface Customer {
  name: string;
  email: string;
  phone?: string;
  notes?: string;
  serviceId?: number;
  /** The lock believed to be held: another one there is `lock_lost`. */
  fence?: number;
  /** Made up where it is missing. Give the failed try's to ask what became of it. */
  idempotencyKey?: string;
}

export interface Booked {
  readonly status: "confirmed";
  readonly appointmentId: number;
  readonly strongId: string;
}

export interface Availability {
  /** Times that cannot be had, or `"all"` with a `reason`. */
  readonly unavailable: readonly string[] | "all";
  readonly reason?: "past_date" | "non_working_day" | "blackout_date";
  readonly booked: readonly string[];
  readonly locked: readonly string[];
  readonly storage?: StorageMode;
  readonly cached?: boolean;
}

/** A hold of this page that ended by no act of it. */
export interface Released {
  readonly date: string;
  readonly employeeId: number;
  readonly time: string;
  readonly hold: "selection" | "lock";
  readonly reason: "expired" | "superseded" | "lost" | "booked";
}

/** A request that was refused or could not be made. */
export class SlotcastError extends Error {
  constructor(code: string, message: string, more?: object);
  /** The gateway's code, as `slot_locked`, or one of the client's own: `disconnected`, `timeout`, `closed`. */
  readonly code: string;
  /** With `slot_locked` and `slot_booked` of a confirm: free times nearby. */
  readonly suggested?: readonly string[];
  /** With `booking_invalid`: a sentence for each wrong field. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Of a confirm: the key it was tried with. */
  readonly idempotencyKey?: string;
}

/** Every room of the site by one shared connection. */
export interface Rooms {
  readonly state: State;
  /** Watches a room until the returned function is called. `onChange` gets each new view, at once where there is one. */
  subscribe(
    date: string,
    employeeId: number,
    onChange: (view: RoomView) => void,
    options?: RoomOptions,
  ): () => void;
  /** Chooses a slot; the selection made before in the same room moves. */
  select(date: string, employeeId: number, time: string): Promise<Held>;
  deselect(date: string, employeeId: number, time: string): Promise<Held>;
  /** Keeps a slot for checking out. */
  lock(date: string, employeeId: number, time: string): Promise<Held>;
  unlock(date: string, employeeId: number, time: string): Promise<Held>;
  /** Books for good. Sent again with the same key until it is answered, whatever happens to the connection. */
  confirm(date: string, employeeId: number, time: string, customer: Customer): Promise<Booked>;
  availability(date: string, employeeId: number): Promise<Availability>;
  on(what: "state", listener: (state: State) => void): () => void;
  on(what: "released", listener: (released: Released) => void): () => void;
  /** Lets go of the connection; the last one closes it. */
  close(): void;
}

/** Rooms by the page's connection to that address, opened by the first who asks. */
export function connect(options?: Options): Rooms;
