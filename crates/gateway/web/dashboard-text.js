// How numbers, times and elements are written on the operator's page. Used by dashboard.js and
// dashboard-graphs.js.

export const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });

export function ms(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(0)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 100 ? `${value.toFixed(0)} ms` : `${value.toPrecision(2)} ms`;
}

export const percent = (value) => `${(value * 100).toFixed(1)} %`;

export const clock = (at) => new Date(at).toLocaleTimeString("en-GB");

/** The two largest units. */
export function span(lasted) {
  const secs = Math.max(0, Math.floor(lasted / 1000));
  const units = [
    [Math.floor(secs / 86_400), "d"],
    [Math.floor(secs / 3_600) % 24, "h"],
    [Math.floor(secs / 60) % 60, "min"],
    [secs % 60, "s"],
  ];
  const first = units.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  const shown = units.slice(first, first + 2).filter(([value]) => value > 0);
  return shown.map(([value, unit]) => `${value} ${unit}`).join(" ");
}

export const byId = (id) => document.getElementById(id);

export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
