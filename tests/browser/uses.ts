// How pages use the client and the hooks, for the type checker alone: each line must go on compiling, but for those
// marked as errors, which must go on being some.

import { createHooks, createRedisDataService, type ReactLike, type Slots } from "./web/react.js";
import { SlotcastError, connect, type RoomView, type State } from "./web/slotcast.js";

declare const react: ReactLike;

export async function page(show: (view: RoomView) => void, say: (state: State) => void): Promise<void> {
  const rooms = connect({ url: "wss://site.test/ws", clientId: "c", token: async () => "t" });
  const unsubscribe: () => void = rooms.subscribe("2026-12-01", 3, show, {
    excludeAppointmentId: "APT-2026-000001",
  });
  rooms.on("state", say);
  rooms.on("released", ({ time, hold, reason }) => console.log(`${time} ${hold} ${reason}`));
  const { status, ttl } = await rooms.select("2026-12-01", 3, "10:00");
  try {
    const { appointmentId, strongId } = await rooms.confirm("2026-12-01", 3, "10:00", {
      name: "A",
      email: "a@b",
    });
    console.log(status, ttl?.toFixed(), appointmentId.toFixed(), strongId.length);
  } catch (error) {
    if (error instanceof SlotcastError) console.log(error.code, error.suggested?.[0], error.fields?.["name"]);
  }
  const { unavailable } = await rooms.availability("2026-12-01", 3);
  if (unavailable !== "all") console.log(unavailable.length);
  unsubscribe();
  rooms.close();
  // A site without keys has no tokens.
  connect({ token: async () => (rooms.state.stale ? undefined : "t") });
  connect({ token: () => undefined });
  // @ts-expect-error A token is a string, if anything.
  connect({ token: async () => 1 });
  // @ts-expect-error An address is a string.
  connect({ url: 1 });
  // @ts-expect-error A booking needs a customer.
  await rooms.confirm("2026-12-01", 3, "10:00");
}

export function component(date: string | null): Slots {
  const { useSlots } = createHooks(react, { url: "/ws" });
  const slots = useSlots({ date, employeeId: "3", selectedTime: null });
  const lists: readonly string[] = [...slots.activeSelections, ...slots.bookedSlots, ...slots.lockedSlots];
  void slots.confirm(lists[0] ?? "10:00", { name: "A", email: "a@b" });
  return slots;
}

export async function service(): Promise<boolean> {
  const data = createRedisDataService({
    heartbeatEnabled: true,
    onDataUpdate: ({ redis_status }) => redis_status,
  });
  const { success, error } = await data.selectSlot("2026-12-01", "10:00", 3, "c");
  await data.deselectSlot("2026-12-01", "10:00", 3);
  await data.confirmBooking({
    date: "2026-12-01",
    time: "10:00",
    employee_id: 3,
    firstName: "A",
    email: "a@b",
  });
  return success && !error && data.isRedisEnabled() && data.getStorageMode() === "redis";
}
