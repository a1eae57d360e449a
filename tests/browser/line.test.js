// The line to the gateway: how it comes back, how fast, as whom, and what it does where sockets are blocked.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DAY, diff, outcome, page, settled, snapshot } from "./fakes.js";

/** A page that watches employee 1's day; `views` are what it was shown. */
async function watching(with_, options) {
  const browser = await page(with_);
  const rooms = browser.client.connect(options);
  const views = [];
  rooms.subscribe(DAY, 1, (view) => views.push(view));
  await browser.welcomes();
  await browser.answersTo("subscribe", snapshot());
  return { browser, rooms, views };
}

/** How long until the next socket is opened, to 10 ms. */
async function waitOf(browser) {
  const known = browser.sockets.length;
  for (let waited = 0; waited < 120_000; waited += 10) {
    if (browser.sockets.length > known) return waited;
    await browser.passes(10);
  }
  return Infinity;
}

/** A token that ends in so many seconds. */
function token(browser, seconds) {
  const claims = btoa(JSON.stringify({ sub: "u_1", exp: browser.now / 1000 + seconds }));
  return `e30.${claims.replaceAll("=", "")}.sig`;
}

test("lost lines are dialled again after a random part of a wait that doubles up to 30 s", async () => {
  for (const [dice, expected] of [
    [0.5, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]],
    [0.1, [50, 100, 200, 400, 800, 1_600, 3_000, 3_000]],
  ]) {
    const { browser, rooms } = await watching({ dice });
    for (const wait of expected) {
      await browser.ends();
      assert.equal(rooms.state.connected, false);
      const waited = await waitOf(browser);
      assert.ok(Math.abs(waited - wait) <= 10, `${waited} instead of ${wait}`);
    }
  }
});

test("a line that held is dialled again soon, one that was thrown out at once is not", async () => {
  const { browser } = await watching();
  for (const expected of [250, 500, 1_000]) {
    await browser.ends();
    assert.ok(Math.abs((await waitOf(browser)) - expected) <= 10);
    await browser.welcomes();
  }
  await browser.passes(11_000);
  await browser.ends();
  assert.ok((await waitOf(browser)) <= 260);
});

test("after a goodbye it comes back when it was told to, and waking up does not hurry it", async () => {
  const { browser } = await watching();
  await browser.says({ type: "goodbye", reconnect_in_ms: 3_000 });
  await browser.ends(1001);
  await browser.happens("online");
  assert.equal(browser.sockets.length, 1);
  assert.ok(Math.abs((await waitOf(browser)) - 3_000) <= 10);
});

test("back again, rooms are watched, and what is held is claimed", async () => {
  const { browser, rooms, views } = await watching();
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  rooms.lock(DAY, 2, "11:00");
  await browser.answersTo("lock", { type: "ok", status: "locked", ttl: 600, fence: 3 });
  await browser.ends();
  assert.equal(rooms.state.connected, false);
  assert.equal(views.at(-1).mine.selected, "10:00", "what was shown stays");
  await browser.passes(300);
  await browser.welcomes();
  assert.equal(rooms.state.connected, true);
  const asked = browser.socket.sent.map(({ type, employee_id, time }) => [type, employee_id, time]);
  assert.deepEqual(asked.slice(1), [
    ["subscribe", 1, undefined],
    ["select", 1, "10:00"],
    ["select", 2, "11:00"],
  ]);
  await browser.answersTo("subscribe", snapshot({ epoch: "b", rev: 7, active: ["10:00"] }));
  await browser.says(diff(8, ["12:00"], [], { epoch: "b" }));
  assert.deepEqual(views.at(-1).active, ["10:00", "12:00"]);
});

test("what somebody else has meanwhile is given up, and the page is told", async () => {
  const { browser, rooms, views } = await watching();
  const told = [];
  rooms.on("released", (released) => told.push(`${released.hold} ${released.reason}`));
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  await browser.ends();
  await browser.passes(300);
  await browser.welcomes();
  await browser.answersTo("select", { type: "error", code: "slot_locked", message: "Taken" });
  assert.deepEqual(told, ["selection lost"]);
  assert.equal(views.at(-1).mine.selected, null);
});

test("what cannot be said yet is asked again", async () => {
  const { browser, rooms } = await watching();
  rooms.select(DAY, 1, "10:00");
  await browser.answersTo("select", { type: "ok", status: "selected", ttl: 10 });
  await browser.ends();
  await browser.passes(300);
  await browser.welcomes();
  await browser.answersTo("select", { type: "error", code: "store_unavailable", message: "Wait" });
  await browser.answersTo("subscribe", { type: "error", code: "rate_limited", message: "Wait" });
  await browser.passes(2_100);
  assert.deepEqual([browser.socket.of("select").length, browser.socket.of("subscribe").length], [2, 2]);
});

test("silence is asked into, and no answer ends the line", async () => {
  const { browser } = await watching();
  await browser.passes(25_100);
  assert.equal(browser.socket.of("ping").length, 1);
  await browser.says({ type: "pong" });
  await browser.passes(20_000);
  assert.ok(!browser.socket.closed);
  await browser.passes(5_100);
  await browser.passes(5_400);
  assert.equal(browser.sockets[0].closed, true);
  assert.equal(browser.sockets.length, 2);
});

test("a page that wakes up asks at once whether the line still holds", async () => {
  const { browser } = await watching();
  browser.document.hidden = true;
  await browser.happens("visibilitychange");
  assert.equal(browser.socket.of("ping").length, 0);
  browser.document.hidden = false;
  await browser.happens("visibilitychange");
  assert.equal(browser.socket.of("ping").length, 1);
  await browser.passes(5_000);
  assert.equal(browser.sockets[0].closed, true, "it does not");
  for (let loss = 0; loss < 9; loss++) await browser.ends().then(() => browser.passes(30_000));
  await browser.ends();
  const known = browser.sockets.length;
  await browser.happens("online");
  assert.equal(browser.sockets.length, known + 1, "a network that is back is tried at once");
});

test("a gateway that closed for bad manners is left alone for half a minute", async () => {
  const { browser } = await watching();
  await browser.ends(1008);
  await browser.happens("online");
  assert.ok((await waitOf(browser)) >= 30_000);
});

test("a handshake that hangs is given up", async () => {
  const browser = await page();
  browser.client.connect();
  await browser.passes(10_300);
  assert.equal(browser.sockets.length, 2);
});

test("a token is fetched for each line, and shown instead of a name", async () => {
  let fetched = 0;
  const { browser, rooms } = await watching({}, { token: async () => `t${++fetched}` });
  assert.deepEqual(browser.socket.sent[0], { type: "hello", token: "t1" });
  assert.equal(rooms.state.clientId, "u_1");
  await browser.ends(4401);
  assert.ok((await waitOf(browser)) < 300);
  browser.socket.onopen();
  assert.equal(browser.socket.sent[0].token, "t2");
});

test("where the site has no token none is shown, and the client says its name", async () => {
  const { browser } = await watching({}, { clientId: "c", token: async () => undefined });
  assert.deepEqual(browser.socket.sent[0], { type: "hello", client_id: "c" });
});

test("a token that was given once is not shown again and again", async () => {
  const { browser } = await watching({}, { token: "t" });
  await browser.ends(4401);
  assert.ok((await waitOf(browser)) >= 30_000);
});

test("a token that cannot be had is asked for again", async () => {
  const browser = await page();
  let asked = 0;
  browser.client.connect({ token: () => (++asked < 3 ? Promise.reject(new Error("offline")) : "t") });
  await browser.passes(5_000);
  assert.equal(asked, 3);
  assert.equal(browser.sockets.length, 1);
});

test("a fresh token is shown over the socket before the old one ends, by the gateway's clock", async () => {
  const browser = await page();
  const [seconds, ahead] = [120, 1_000];
  browser.client.connect({ token: async () => token(browser, seconds + ahead) });
  await browser.welcomes({ server_time: browser.now / 1000 + ahead });
  for (let spoken = 0; spoken < 80; spoken += 20) {
    await browser.passes(20_000);
    await browser.says({ type: "pong" });
  }
  assert.equal(browser.socket.of("hello").length, 1);
  await browser.passes(11_000);
  assert.equal(browser.socket.of("hello").length, 2);
  await browser.says({
    type: "welcome",
    client_id: "u_1",
    storage_mode: "redis",
    server_time: browser.now / 1000,
  });
  assert.equal(browser.sockets.length, 1);
});

test("a fresh token that cannot be had is asked for every 5 s, and not for a line that is gone", async () => {
  const browser = await page();
  let asked = 0;
  const next = () => (++asked > 1 && asked < 4 ? Promise.reject(new Error("away")) : token(browser, 600));
  browser.client.connect({ token: async () => next() });
  await browser.welcomes();
  const speaks = async (seconds) => {
    for (let spoken = 0; spoken < seconds; spoken += 5) {
      await browser.passes(5_000);
      await browser.says({ type: "pong" });
    }
  };
  await speaks(585);
  assert.deepEqual([asked, browser.socket.of("hello").length], [4, 2]);
  let refuse;
  const waiting = new Promise((_, reject) => (refuse = reject));
  browser.client.connect({ token: () => (asked++, waiting) });
  await browser.says({ type: "welcome", client_id: "u_1", server_time: browser.now / 1000 });
  await speaks(575);
  assert.equal(asked, 5);
  await browser.ends();
  const timers = browser.timers.size;
  refuse(new Error("away"));
  await settled();
  assert.equal(browser.timers.size, timers, "the line's next try alone");
});

/** Answers as a gateway does: nobody else is there. */
function heartbeats({ url, data, time }) {
  if (url.endsWith("/slots/select")) return { success: true, status: "selected", storage: "redis", ttl: 10 };
  if (url.endsWith("/slots/lock")) return { code: "slot_locked", message: "Taken", data: { status: 409 } };
  if (url.endsWith("/availability")) {
    return {
      unavailable: ["09:00"],
      booking_details: { "09:00": { status: "booked" } },
      storage: "redis",
      cached: true,
    };
  }
  const poll = data.appointease_poll;
  return {
    server_time: 1,
    storage_mode: "redis",
    appointease_active_selections: [poll?.time, "15:00"].filter(Boolean),
    appointease_booked_slots: ["09:00"],
    appointease_locked_slots: [],
    redis_ops: { user_selection: poll?.time || time || null },
  };
}

/** A page whose sockets never open. */
async function blocked(options) {
  const browser = await page();
  browser.answers = heartbeats;
  const rooms = browser.client.connect(options);
  const views = [];
  rooms.subscribe(DAY, 1, (view) => views.push(view));
  for (let failure = 0; failure < 3; failure++) {
    await browser.ends();
    await browser.passes(1_000);
  }
  return { browser, rooms, views };
}

test("where sockets are blocked and HTTP is not, the same calls go by polls", async () => {
  const { browser, rooms, views } = await blocked();
  assert.deepEqual([rooms.state.connected, rooms.state.transport], [true, "polling"]);
  assert.deepEqual([views.at(-1).active, views.at(-1).booked], [["15:00"], ["09:00"]]);
  const selected = await rooms.select(DAY, 1, "10:00");
  assert.deepEqual([selected.status, selected.ttl], ["selected", 10]);
  await settled();
  assert.deepEqual([views.at(-1).mine.selected, views.at(-1).active], ["10:00", ["10:00", "15:00"]]);
  await assert.rejects(rooms.lock(DAY, 1, "11:00"), { code: "slot_locked", message: "Taken" });
  const { booked, locked } = await rooms.availability(DAY, 1);
  assert.deepEqual([booked, locked], [["09:00"], []]);
  browser.posts.length = 0;
  await browser.passes(15_100);
  const polls = browser.posts.filter(({ data }) => data?.appointease_poll?.time === "10:00");
  assert.equal(polls.length, 3, "each renews what is selected");
  assert.equal(polls[0].url, "http://site.test/slotcast/heartbeat");
});

test("polls go to the place of the socket, whatever its own name there, and show its token", async () => {
  const { browser } = await blocked({ url: "wss://site.test/shop/live", token: "t" });
  const { url, slotcast_token } = browser.posts.at(-1);
  assert.deepEqual([url, slotcast_token], ["https://site.test/shop/slotcast/heartbeat", "t"]);
});

test("it goes on trying sockets, and returns to the first that opens", async () => {
  const { browser, rooms, views } = await blocked();
  await browser.ends();
  assert.ok((await waitOf(browser)) <= 15_000);
  await browser.welcomes();
  assert.equal(rooms.state.transport, "websocket");
  await browser.answersTo("subscribe", snapshot({ active: ["12:00"] }));
  assert.deepEqual(views.at(-1).active, ["12:00"]);
  browser.posts.length = 0;
  await browser.passes(20_000);
  assert.equal(browser.posts.length, 0, "nobody polls any more");
});

test("where nothing answers, it is not connected, and a confirm waits", async () => {
  const { browser, rooms } = await blocked();
  browser.answers = () => {
    throw new TypeError("no network");
  };
  const booking = outcome(rooms.confirm(DAY, 1, "10:00", { name: "Ann", email: "a@b" }));
  await browser.passes(11_000);
  assert.equal(rooms.state.connected, false);
  assert.deepEqual(booking, {});
  browser.answers = (post) =>
    post.url.endsWith("/appointments")
      ? { success: true, appointment_id: 7, strong_id: "A" }
      : heartbeats(post);
  for (let failure = 0; failure < 3; failure++) await browser.ends().then(() => browser.passes(16_000));
  assert.equal(booking.value.appointmentId, 7);
  const keys = browser.posts
    .filter(({ url }) => url.endsWith("/appointments"))
    .map((post) => post.idempotency_key);
  assert.equal(new Set(keys).size, 1);
});

test("an answer that makes no sense is the end of no other poll", async () => {
  const { browser, views } = await blocked();
  browser.answers = () => ({ server_time: 1 });
  await browser.passes(10_100);
  browser.answers = (post) => ({ ...heartbeats(post), appointease_booked_slots: ["16:00"] });
  await browser.passes(5_100);
  assert.deepEqual(views.at(-1).booked, ["16:00"]);
});

test("a selection that a poll did not keep is lost", async () => {
  const { browser, rooms } = await blocked();
  const told = [];
  rooms.on("released", (released) => told.push(released.time));
  await rooms.select(DAY, 1, "10:00");
  browser.answers = (post) => ({ ...heartbeats(post), redis_ops: { user_selection: null } });
  await browser.passes(5_100);
  assert.deepEqual(told, ["10:00"]);
});

test("where WebSockets are forbidden altogether it polls too", async () => {
  const browser = await page();
  browser.answers = heartbeats;
  Object.defineProperty(globalThis, "WebSocket", { get: () => browser.refuse(), configurable: true });
  const rooms = browser.client.connect();
  await browser.passes(33_000);
  assert.equal(rooms.state.transport, "polling");
});

test("a name that the gateway does not take is said to the developer", async () => {
  const browser = await page();
  browser.client.connect({ clientId: "no name" });
  await settled();
  browser.socket.onopen();
  await browser.says({ type: "error", code: "invalid_client", message: "client_id is not acceptable" });
  assert.deepEqual(browser.lines, ["slotcast: client_id is not acceptable"]);
});
