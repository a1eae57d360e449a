// The types of the React hooks and of the data service; react.js is checked against them.

import type {
  Availability,
  Booked,
  Customer,
  Held,
  Mine,
  Options,
  SlotcastError,
  StorageMode,
} from "./slotcast.js";

/** What is used of React, 18 or newer: the module, or WordPress' global. */
export interface ReactLike {
  useSyncExternalStore<T>(
    subscribe: (changed: () => void) => () => void,
    snapshot: () => T,
    serverSnapshot?: () => T,
  ): T;
  useMemo<T>(make: () => T, dependencies: readonly unknown[]): T;
  useEffect(effect: () => void | (() => void), dependencies?: readonly unknown[]): void;
}

export interface SlotsOptions extends Options {
  /** `YYYY-MM-DD`; nothing is watched before one is chosen. */
  date?: string | null;
  employeeId?: number | string | null;
  /** The appointment about to be moved: its slot is not shown as booked. */
  excludeAppointmentId?: string | number | null;
  /** The slot to have selected, where the page keeps its choice itself. */
  selectedTime?: string | null;
  enabled?: boolean;
}

/** A component is rendered anew only when something of this changed that it has read. */
export interface Slots {
  /** Being selected, by anybody: your own selection too. */
  readonly activeSelections: readonly string[];
  readonly bookedSlots: readonly string[];
  /** Locked by others. */
  readonly lockedSlots: readonly string[];
  readonly isConnected: boolean;
  /** When the room last changed, in milliseconds; 0 before the first time. */
  readonly lastUpdate: number;
  readonly storageMode: StorageMode | null;
  /** No store can be reached: what is shown is the last known state. */
  readonly stale: boolean;
  /** What this page holds here. */
  readonly mine: Mine;
  /** Why the room cannot be watched. */
  readonly error: SlotcastError | null;
  select(time: string): Promise<Held>;
  deselect(time: string): Promise<Held>;
  lock(time: string): Promise<Held>;
  unlock(time: string): Promise<Held>;
  confirm(time: string, customer: Customer): Promise<Booked>;
}

export interface Hooks {
  useSlots(options: SlotsOptions): Slots;
}

/** Hooks over this React. `defaults` are for all of them, as `url` and `token`. */
export function createHooks(react: ReactLike, defaults?: Options): Hooks;

export interface DataServiceOptions extends Options {
  /** Called with `redis_status` and `storage_mode` when they change. */
  onDataUpdate?: (data: { redis_status: "available" | "unavailable"; storage_mode: StorageMode }) => void;
  /** Accepted and not needed: nothing is polled. */
  heartbeatEnabled?: boolean;
}

export interface Outcome {
  success: boolean;
  status?: string;
  storage?: StorageMode;
  ttl?: number;
  /** Why not, as a sentence and as a code. */
  error?: string;
  code?: string;
}

/** As AppointEase's forms have it. */
export interface BookingData {
  date: string;
  time: string;
  employee_id?: number | string;
  employeeId?: number | string;
  staff_id?: number | string;
  client_id?: string;
  name?: string;
  firstName?: string;
  lastName?: string;
  email: string;
  phone?: string;
  notes?: string;
  service_id?: number | string;
  idempotency_key?: string;
}

/** The methods of AppointEase's redisDataService, over the page's connection. */
export interface RedisDataService {
  selectSlot(date: string, time: string, employeeId: number, clientId?: string): Promise<Outcome>;
  deselectSlot(date: string, time: string, employeeId: number, clientId?: string): Promise<Outcome>;
  getAvailability(date: string, employeeId: number): Promise<Availability>;
  getActiveSelections(date: string, employeeId: number): Promise<readonly string[]>;
  /** Throws where the slot could not be booked. */
  confirmBooking(
    booking: BookingData,
  ): Promise<{ success: true; appointment_id: Booked["appointmentId"]; strong_id: Booked["strongId"] }>;
  isRedisEnabled(): boolean;
  getStorageMode(): StorageMode;
  close(): void;
}

export function createRedisDataService(options?: DataServiceOptions): RedisDataService;
