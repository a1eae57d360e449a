// A browser that a test drives: its clock, dice, sockets, HTTP, storage and events. Used by the *.test.js files beside.
// Invariant: nothing happens but by the test; time passes only in `passes`.

import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

const MODULE = pathToFileURL(process.env.SLOTCAST_CLIENT).href;
const soon = setImmediate;
let pages = 0;

export const DAY = "2026-12-01";

/** Takes the place of the browser's globals, and gives a page that has loaded the client. */
export async function page(with_ = {}) {
  const browser = new Browser(with_);
  browser.client = await import(`${MODULE}?${++pages}`);
  return browser;
}

export class Browser extends EventTarget {
  sockets = [];
  timers = new Map();
  now = 1_800_000_000_000;
  lines = [];
  faults = [];
  posts = [];
  answers = () => {
    throw new TypeError("no network");
  };

  constructor({ local = {}, session = {}, dice = 0.5 } = {}) {
    super();
    const browser = this;
    let last = 0;
    this.dice = dice;
    this.document = { hidden: false };
    const own = {
      crypto: webcrypto,
      location: { href: "http://site.test/page" },
      document: this.document,
      addEventListener: this.addEventListener.bind(this),
      localStorage: local,
      sessionStorage: session,
      WebSocket: class extends Socket {
        constructor(url) {
          super(url);
          browser.sockets.push(this);
        }
      },
      async fetch(url, { body }) {
        const post = { url, ...JSON.parse(body) };
        browser.posts.push(post);
        const said = browser.answers(post);
        return { status: said.data?.status ?? 200, json: async () => said };
      },
      setTimeout(then, wait = 0) {
        browser.timers.set(++last, { then, at: browser.now + wait });
        return last;
      },
      async queueMicrotask(then) {
        try {
          await null;
          then();
        } catch (fault) {
          browser.faults.push(fault.message);
        }
      },
      clearTimeout: (id) => browser.timers.delete(id),
    };
    for (const [name, value] of Object.entries(own)) {
      const get = () => (value === "throws" ? browser.refuse() : value);
      Object.defineProperty(globalThis, name, { get, configurable: true });
    }
    Date.now = () => this.now;
    Math.random = () => this.dice;
    console.info = (line) => this.lines.push(line);
  }

  refuse() {
    throw new DOMException("denied", "SecurityError");
  }

  /** The socket opened last. */
  get socket() {
    return this.sockets.at(-1);
  }

  /** Lets so many milliseconds pass, with all that falls into them. */
  async passes(ms) {
    const end = this.now + ms;
    for (;;) {
      await settled();
      const due = [...this.timers]
        .filter(([, timer]) => timer.at <= end)
        .sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.now = Math.max(this.now, due[1].at);
      due[1].then();
    }
    this.now = end;
  }

  /** Lets the socket that is being opened open, and the gateway say welcome. */
  async welcomes(more) {
    await settled();
    this.socket.onopen();
    const { client_id = "u_1" } = this.socket.sent[0];
    await this.says({
      type: "welcome",
      client_id,
      storage_mode: "redis",
      server_time: this.now / 1000,
      ...more,
    });
  }

  async says(...frames) {
    for (const frame of frames) this.socket.onmessage({ data: JSON.stringify(frame) });
    await settled();
  }

  /** Answers the last frame of this type. */
  async answersTo(type, frame) {
    await settled();
    const { id } = this.socket.sent.findLast((sent) => sent.type === type);
    await this.says({ id, ...frame });
  }

  async ends(code = 1006) {
    const { socket } = this;
    socket.onclose?.({ code });
    await settled();
  }

  async happens(event, more) {
    this.dispatchEvent(Object.assign(new Event(event), more));
    await settled();
  }
}

class Socket {
  sent = [];
  constructor(url) {
    this.url = url;
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  /** The frames sent of this type. */
  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

/** Lets promises go as far as they go. */
export async function settled() {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => soon(resolve));
}

/** A snapshot of employee 1's day. */
export function snapshot(more) {
  const lists = { active: [], locked: [], booked: [] };
  return {
    type: "snapshot",
    date: DAY,
    employee_id: 1,
    epoch: "a",
    rev: 0,
    ...lists,
    storage_mode: "redis",
    ...more,
  };
}

/** A diff of it that adds and removes selections. */
export function diff(rev, add, remove = [], more) {
  return { type: "diff", date: DAY, employee_id: 1, epoch: "a", rev, active: { add, remove }, ...more };
}

/** How a promise ends: its value, or the error. */
export function outcome(promise) {
  const ended = {};
  promise.then(
    (value) => (ended.value = value),
    (error) => (ended.error = error),
  );
  return ended;
}
