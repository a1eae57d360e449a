// The hooks and the data service without React: what is chosen, let go of and answered. With React: hooks.rs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { Browser, DAY, outcome, settled, snapshot } from "./fakes.js";

const CLIENT = pathToFileURL(process.env.SLOTCAST_CLIENT);
const TOMORROW = "2026-12-02";
let pages = 0;

/** A page that has loaded the hooks; its client is its own, as the module's connections outlive a test. */
async function page() {
  const browser = new Browser();
  const { createHooks, createRedisDataService } = await import(new URL("react.js", CLIENT).href);
  const clientId = `page-${++pages}`;
  return { browser, clientId, createHooks, createRedisDataService };
}

/** As much of React as the hooks use: one component, its effects run after each render, those that end first. */
class Component {
  kept = [];
  effects = [];
  constructor(createHooks, clientId) {
    const same = (one, other) => one?.every((value, at) => Object.is(value, other[at]));
    const useMemo = (make, needs) => {
      const at = this.at++;
      if (!same(this.kept[at]?.needs, needs)) this.kept[at] = { needs, value: make() };
      return this.kept[at].value;
    };
    const useEffect = (effect, needs) => {
      const at = this.effect++;
      if (!same(this.effects[at]?.needs, needs)) this.next[at] = { needs, effect };
    };
    const useSyncExternalStore = (subscribe, get) => {
      useEffect(() => subscribe(() => {}), [subscribe]);
      return get();
    };
    this.useSlots = createHooks({ useMemo, useEffect, useSyncExternalStore }, { clientId }).useSlots;
  }
  render(options) {
    [this.at, this.effect, this.next] = [0, 0, []];
    const slots = this.useSlots(options);
    this.next.forEach((_, at) => this.effects[at]?.end?.());
    this.next.forEach(({ needs, effect }, at) => (this.effects[at] = { needs, end: effect() }));
    return slots;
  }
  unmount() {
    for (const { end } of this.effects) end?.();
  }
}

/** What of this type was sent, as date and time. */
const sent = (browser, type) => browser.socket.of(type).map(({ date, time }) => `${date} ${time}`);

test("a choice moves, and goes with its day or its last component", async () => {
  const { browser, clientId, createHooks } = await page();
  const [one, other] = [new Component(createHooks, clientId), new Component(createHooks, clientId)];
  for (const component of [one, other]) {
    component.render({ date: DAY, employeeId: 1, selectedTime: "10:00" });
  }
  await browser.welcomes();
  assert.deepEqual(sent(browser, "select"), [`${DAY} 10:00`, `${DAY} 10:00`]);
  one.render({ date: DAY, employeeId: 1, selectedTime: "11:00" });
  other.render({ date: DAY, employeeId: 1, selectedTime: "11:00" });
  other.unmount();
  await settled();
  assert.deepEqual(sent(browser, "deselect"), [], "what another component has chosen stays");
  one.render({ date: TOMORROW, employeeId: 1, selectedTime: null });
  await settled();
  assert.deepEqual(sent(browser, "deselect"), [`${DAY} 11:00`]);
  one.render({ date: TOMORROW, employeeId: 1, selectedTime: "12:00" });
  one.unmount();
  await settled();
  assert.deepEqual(sent(browser, "deselect"), [`${DAY} 11:00`, `${TOMORROW} 12:00`]);
});

test("who asks for the selections is answered, or told that nobody answers", async () => {
  const { browser, clientId, createRedisDataService } = await page();
  const data = createRedisDataService({ clientId });
  const unanswered = outcome(data.getActiveSelections(DAY, 1));
  await browser.passes(10_000);
  assert.equal(unanswered.error.code, "timeout");
  await browser.passes(1_000);
  await browser.welcomes();
  assert.equal(browser.socket.of("subscribe").length, 0, "nobody waits for it any more");
  const answered = outcome(data.getActiveSelections(DAY, 1));
  await browser.answersTo("subscribe", snapshot({ active: ["10:00"] }));
  assert.deepEqual(answered.value, ["10:00"]);
});
