// The client's promises and views: what a page is told, and when.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DAY, diff, outcome, page, settled, snapshot } from "./fakes.js";

/** A page that watches employee 1's day and has its first view. */
async function watching(with_) {
  const browser = await page(with_);
  const rooms = browser.client.connect();
  const views = [];
  rooms.subscribe(DAY, 1, (view) => views.push(view));
  await browser.welcomes();
  await browser.answersTo("subscribe", snapshot({ booked: ["09:00"] }));
  return { browser, rooms, views };
}

test("the page's address gives the socket's", async () => {
  const browser = await page();
  browser.client.connect();
  browser.client.connect({ url: "https://gateway.test/deep/ws" });
  await settled();
  assert.deepEqual(
    browser.sockets.map((socket) => socket.url),
    ["ws://site.test/ws", "wss://gateway.test/deep/ws"],
  );
});

test("a browser keeps its client id, and two tabs are one client", async () => {
  const local = {};
  const ids = [];
  for (let tab = 0; tab < 2; tab++) {
    const browser = await page({ local });
    browser.client.connect();
    await browser.welcomes();
    ids.push(browser.socket.sent[0].client_id);
  }
  assert.match(ids[0], /^[A-Za-z0-9._:-]{8,128}$/);
  assert.equal(ids[0], ids[1]);
});

test("without any storage it works, and a page is one client", async () => {
  const browser = await page({ local: "throws", session: "throws" });
  const rooms = browser.client.connect();
  browser.client.connect({ url: "/other/ws" });
  await settled();
  for (const socket of browser.sockets) socket.onopen();
  const [one, other] = browser.sockets.map((socket) => socket.sent[0].client_id);
  assert.ok(one);
  assert.equal(one, other);
  await browser.says({ type: "welcome", client_id: one, storage_mode: "redis" });
  const locking = outcome(rooms.lock(DAY, 1, "10:00"));
  await settled();
  assert.ok(!locking.error);
});

test("all of a page share one socket until the last has gone", async () => {
  const browser = await page();
  const [one, other] = [browser.client.connect(), browser.client.connect()];
  await browser.welcomes();
  assert.equal(browser.sockets.length, 1);
  one.close();
  one.close();
  await browser.passes(5_000);
  assert.ok(!browser.socket.closed);
  other.close();
  const again = browser.client.connect();
  await browser.passes(5_000);
  assert.ok(!browser.socket.closed, "mounted again at once");
  again.close();
  await browser.passes(5_000);
  assert.ok(browser.socket.closed);
  const left = outcome(again.select(DAY, 1, "10:00"));
  await settled();
  assert.equal(left.error.code, "closed");
  assert.equal(browser.timers.size, 0, "nothing is left behind");
});

test("snapshots and diffs make the view, and what did not change is the same object", async () => {
  const { browser, views } = await watching();
  await browser.says(
    diff(1, ["11:00", "10:00"]),
    diff(2, [], ["11:00"], { locked: { add: ["12:00"], remove: [] } }),
  );
  const [first, second, third] = views;
  assert.deepEqual(first.booked, ["09:00"]);
  assert.deepEqual(second.active, ["10:00", "11:00"]);
  assert.deepEqual([third.active, third.locked], [["10:00"], ["12:00"]]);
  assert.equal(first.booked, third.booked);
  await browser.says(
    snapshot({ rev: 2, epoch: "b", active: ["10:00"], locked: ["12:00"], booked: ["09:00"] }),
  );
  assert.equal(views.length, 3, "nothing new, nobody told");
});

test("a gap, or another epoch, asks for a snapshot once, and diffs wait for it", async () => {
  const { browser, views } = await watching();
  await browser.says(diff(2, ["10:00"]), diff(3, ["10:30"]));
  assert.equal(browser.socket.of("sync").length, 1);
  assert.equal(views.length, 1);
  await browser.answersTo("sync", snapshot({ rev: 3, active: ["10:00", "10:30"] }));
  await browser.says(diff(4, ["11:00"]));
  assert.deepEqual(views.at(-1).active, ["10:00", "10:30", "11:00"]);
  await browser.says(diff(5, ["12:00"], [], { epoch: "b" }));
  assert.equal(browser.socket.of("sync").length, 2);
});

test("a room left and entered again while a request is under way stays one room", async () => {
  const browser = await page();
  const rooms = browser.client.connect();
  const leave = rooms.subscribe(DAY, 1, () => {});
  await browser.welcomes();
  await browser.answersTo("subscribe", snapshot());
  const refused = outcome(rooms.select(DAY, 1, "10:00"));
  await settled();
  const [first] = browser.socket.of("select");
  const granted = outcome(rooms.select(DAY, 1, "11:00"));
  leave();
  const views = [];
  rooms.subscribe(DAY, 1, (view) => views.push(view));
  await browser.answersTo("subscribe", snapshot());
  await browser.says({ type: "error", id: first.id, code: "slot_locked", message: "No." });
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  assert.deepEqual([refused.error.code, granted.value.status], ["slot_locked", "selected"]);
  assert.equal(views.at(-1).mine.selected, "11:00");
  await browser.says(diff(1, ["11:00"]));
  assert.deepEqual(views.at(-1).active, ["11:00"]);
});

test("a refusal has the gateway's code, sentence, fields and suggestions", async () => {
  const { browser, rooms } = await watching();
  const booking = outcome(rooms.confirm(DAY, 1, "10:00", { name: "", email: "a@b", idempotencyKey: "k" }));
  const more = { code: "booking_invalid", message: "No.", fields: { name: "Who?" }, suggested: ["11:00"] };
  await browser.answersTo("confirm", { type: "error", ...more });
  assert.ok(booking.error instanceof browser.client.SlotcastError && booking.error instanceof Error);
  const { code, message, fields, suggested, idempotencyKey } = booking.error;
  assert.deepEqual({ code, message, fields, suggested }, more);
  assert.equal(idempotencyKey, "k");
});

test("what a page asks before it is connected is sent when it is", async () => {
  const browser = await page();
  const rooms = browser.client.connect();
  const selecting = outcome(rooms.select(DAY, 1, "10:00"));
  await browser.welcomes();
  await browser.answersTo("select", { type: "ok", status: "selected", storage: "redis", ttl: 10 });
  assert.deepEqual(selecting.value, { status: "selected", storage: "redis", ttl: 10 });
});

test("a lost connection rejects what waits, and what may have been granted is let go of", async () => {
  const { browser, rooms } = await watching();
  const waiting = [rooms.select(DAY, 1, "10:00"), rooms.availability(DAY, 1)].map(outcome);
  await browser.ends();
  assert.deepEqual(
    waiting.map(({ error }) => error.code),
    ["disconnected", "disconnected"],
  );
  await browser.passes(1_000);
  await browser.welcomes();
  assert.equal(browser.socket.of("select").length, 0);
  assert.equal(browser.socket.of("deselect")[0].time, "10:00");
});

test("without an answer a request times out, and the link is checked", async () => {
  const { browser, rooms } = await watching();
  const locking = outcome(rooms.lock(DAY, 1, "10:00"));
  await browser.passes(10_000);
  assert.equal(locking.error.code, "timeout");
  assert.equal(browser.socket.of("ping").length, 1);
});

test("a move that nobody answered leaves the selection where the page believes it", async () => {
  const { browser, rooms, views } = await watching();
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  const moving = outcome(rooms.select(DAY, 1, "11:00"));
  await browser.passes(10_000);
  assert.equal(moving.error.code, "timeout");
  await browser.answersTo("deselect", { type: "ok", status: "deselected" });
  assert.deepEqual(
    browser.socket.of("select").map(({ time }) => time),
    ["10:00", "11:00", "10:00"],
  );
  assert.equal(views.at(-1).mine.selected, "10:00");
});

test("a confirm is sent again with its key until it is answered", async () => {
  const { browser, rooms } = await watching();
  const booking = outcome(rooms.confirm(DAY, 1, "10:00", { name: "Ann", email: "a@b", serviceId: 2 }));
  await settled();
  const first = browser.socket.of("confirm")[0];
  assert.equal(first.service_id, 2);
  for (let loss = 0; loss < 3; loss++) {
    await browser.ends();
    await browser.passes(1_000);
    await browser.welcomes();
    assert.deepEqual(browser.socket.of("confirm"), [first]);
  }
  await browser.passes(3_000);
  await browser.says({ type: "pong" });
  await browser.passes(8_000);
  assert.deepEqual(
    browser.socket.of("confirm"),
    [first, first],
    "an answer that got lost is asked for again",
  );
  await browser.answersTo("confirm", {
    type: "ok",
    status: "confirmed",
    appointment_id: 7,
    strong_id: "APT-1",
  });
  assert.deepEqual(booking.value, { status: "confirmed", appointmentId: 7, strongId: "APT-1" });
});

test("each booking has a key of its own", async () => {
  const { browser, rooms } = await watching();
  for (const time of ["10:00", "11:00"]) outcome(rooms.confirm(DAY, 1, time, { name: "Ann", email: "a@b" }));
  await settled();
  const keys = browser.socket.of("confirm").map((frame) => frame.idempotency_key);
  assert.equal(new Set(keys).size, 2);
  assert.match(keys[0], /^[!-~]{16,128}$/);
});

test("what is held comes from the answers, and goes by what the gateway says", async () => {
  const { browser, rooms, views } = await watching();
  const told = [];
  rooms.on("released", (released) => told.push(released));
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  assert.equal(views.at(-1).mine.selected, "10:00");
  rooms.lock(DAY, 1, "10:00");
  await browser.answersTo("lock", { type: "ok", status: "locked", ttl: 600, fence: 3 });
  const { selected, locks } = views.at(-1).mine;
  assert.deepEqual([selected, locks], [null, [{ time: "10:00", until: browser.now + 600_000, fence: 3 }]]);
  await browser.says({
    type: "released",
    date: DAY,
    employee_id: 1,
    time: "10:00",
    hold: "lock",
    reason: "lost",
  });
  assert.deepEqual(told, [{ date: DAY, employeeId: 1, time: "10:00", hold: "lock", reason: "lost" }]);
  assert.deepEqual(views.at(-1).mine.locks, []);
});

test("a lock ends in time where nobody says so", async () => {
  const { browser, rooms, views } = await watching();
  rooms.lock(DAY, 1, "10:00");
  await browser.answersTo("lock", { type: "ok", status: "locked", ttl: 60, fence: 3 });
  await browser.ends();
  await browser.passes(60_900);
  assert.equal(views.at(-1).mine.locks.length, 1);
  await browser.passes(200);
  assert.equal(views.at(-1).mine.locks.length, 0);
});

test("a lock that another gateway knows too little of stays what it was", async () => {
  const { browser, rooms, views } = await watching();
  rooms.lock(DAY, 1, "10:00");
  await browser.answersTo("lock", { type: "ok", status: "locked", ttl: 600, fence: 3 });
  const { locks } = views.at(-1).mine;
  await browser.ends();
  await browser.passes(1_000);
  await browser.welcomes();
  await browser.answersTo("select", { type: "ok", status: "locked" });
  await browser.passes(5_000);
  assert.deepEqual(views.at(-1).mine.locks, locks);
});

test("after a loss the selection is asked for last: a lock that is gone does not take its place", async () => {
  const { browser, rooms } = await watching();
  const holds = [
    ["select", "11:00"],
    ["lock", "10:00"],
  ];
  for (const [verb, time] of holds) {
    rooms[verb](DAY, 1, time);
    await browser.answersTo(verb, { type: "ok", status: `${verb}ed`, ttl: 600, fence: 3 });
  }
  await browser.ends();
  await browser.passes(1_000);
  await browser.welcomes();
  const asked = browser.socket.of("select").map(({ time }) => time);
  assert.deepEqual(asked, ["10:00", "11:00"]);
});

test("a reloaded page knows its lock again", async () => {
  const [local, session] = [{}, {}];
  const before = await page({ local, session });
  const rooms = before.client.connect();
  await before.welcomes();
  rooms.lock(DAY, 1, "10:00");
  await before.answersTo("lock", { type: "ok", status: "locked", ttl: 600, fence: 3 });
  const after = await page({ local, session });
  const views = [];
  after.client.connect().subscribe(DAY, 1, (view) => views.push(view));
  await after.welcomes();
  await after.answersTo("select", { type: "ok", status: "locked", ttl: 500, fence: 3 });
  assert.deepEqual(views.at(-1).mine.locks, [{ time: "10:00", until: after.now + 500_000, fence: 3 }]);
});

test("a room that cannot be watched says why", async () => {
  const browser = await page();
  const views = [];
  browser.client.connect().subscribe("tomorrow", 1, (view) => views.push(view));
  await browser.welcomes();
  await browser.answersTo("subscribe", { type: "error", code: "invalid_date", message: "No such day" });
  assert.equal(views[0].error.code, "invalid_date");
});

test("a listener's own fault harms nobody else", async () => {
  const { browser, rooms } = await watching();
  const seen = [];
  rooms.on("state", () => {
    throw new Error("mine");
  });
  rooms.on("state", (state) => seen.push(state.storageMode));
  await browser.says({ type: "storage", storage_mode: "mysql" });
  assert.deepEqual([seen, browser.faults], [["mysql"], ["mine"]]);
});

test("a change of storage is one plain line each, and the first news is none", async () => {
  const { browser, rooms } = await watching();
  for (const storage_mode of ["mysql", "mysql", "redis"])
    await browser.says({ type: "storage", storage_mode });
  await browser.says({ type: "storage", storage_mode: "redis", stale: true });
  assert.deepEqual(browser.lines, [
    "Redis unavailable, using MySQL fallback",
    "Redis restored, using Redis primary",
  ]);
  assert.equal(rooms.state.stale, true);
});

test("a page that is left lets go of what it selected", async () => {
  const { browser, rooms } = await watching();
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  await browser.happens("pagehide");
  assert.equal(browser.socket.of("deselect")[0].time, "10:00");
  await browser.happens("pageshow", { persisted: true });
  await browser.passes(1_000);
  await browser.welcomes();
  assert.equal(
    browser.socket.of("select")[0].time,
    "10:00",
    "back from the back-forward cache it is taken again",
  );
});
