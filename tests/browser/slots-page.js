// A page with three components over useSlots, for React 18 and 19 alike; run in the page by hooks.rs. It counts how
// often each is rendered, and which sockets are open. `args`: React, its parts by name; the room.

const [sources, date, employeeId, isStrict] = args;

// React's packages are CommonJS.
globalThis.process = { env: { NODE_ENV: "development" } };
const loaded = {};
function load(name) {
  if (!loaded[name]) {
    const module = (loaded[name] = { exports: {} });
    new Function("module", "exports", "require", sources[name])(module, module.exports, load);
  }
  return loaded[name].exports;
}
const React = load("react");
const { createRoot } = load("client");

const open = new Set();
const Native = globalThis.WebSocket;
globalThis.WebSocket = class extends Native {
  constructor(url) {
    super(url);
    open.add(this);
    this.addEventListener("close", () => open.delete(this));
  }
};

const { createHooks, createRedisDataService } = await import("/client/react.js");
const { useSlots } = createHooks(React);
const renders = { active: 0, booked: 0, elsewhere: 0 };
const page = (globalThis.page = { renders, open, slots: null, service: createRedisDataService });
const { createElement: element, useState } = React;

function Active() {
  const [selectedTime, choose] = useState(null);
  const slots = (page.slots = useSlots({ date, employeeId, selectedTime }));
  renders.active++;
  page.choose = choose;
  page.shown = {
    active: slots.activeSelections,
    locked: slots.lockedSlots,
    mine: slots.mine,
    is: slots.isConnected,
  };
  return element("p", { id: "active" }, slots.activeSelections.join(" "));
}

function Booked() {
  const { bookedSlots } = useSlots({ date, employeeId });
  renders.booked++;
  return element("p", { id: "booked" }, bookedSlots.join(" "));
}

function Elsewhere() {
  const { activeSelections, lastUpdate } = useSlots({ date, employeeId: employeeId + 1 });
  renders.elsewhere++;
  return element("p", { id: "elsewhere" }, lastUpdate ? activeSelections.join(" ") || "none" : "");
}

const root = createRoot(document.body.appendChild(document.createElement("div")));
const all = element("div", null, element(Active), element(Booked), element(Elsewhere));
root.render(isStrict ? element(React.StrictMode, null, all) : all);
page.unmount = () => root.unmount();
page.text = (id) => document.getElementById(id)?.textContent;
page.version = React.version;
