// The line to the gateway: a socket, dialled again whenever it is lost, or polls while WebSockets are blocked.
// Used by connection.js. Invariant: at most one link is in use, and it is named up only after the gateway's welcome.

import { attempt } from "./care.js";
import { Polling } from "./polling.js";

/** @typedef {import("./room.js").Frame} Frame */
/** @typedef {{ send(frame: Frame): void, close(): void }} Link what frames go through */
/** @typedef {ReturnType<typeof setTimeout> | undefined} Timer */
/**
 * @typedef {import("./polling.js").Owner
 *   & { onUp(transport: "websocket" | "polling"): void, onDown(): void, onLeave(): void }} Owner
 */

const OPENS_WITHIN = 10_000;
// The gateway's own pings are not seen by scripts: after so much silence the page asks.
const SILENCE = 25_000;
const PONG_WITHIN = 5_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const POLLING_WAIT = 5_000;
// So many handshakes in a row have to fail before WebSockets are taken to be blocked.
const BLOCKED_AFTER = 3;
// What a line lived through before it counts as good again.
const PROVEN_AFTER = 10_000;

export class Line {
  /** @type {import("../slotcast.js").Options["token"]} */
  token;
  /** @type {WebSocket | null} */
  socket = null;
  /** @type {Link | null} */
  link = null;
  /** @type {Timer} */
  redial;
  /** @type {Timer} */
  quiet;
  /** @type {Timer} */
  refresh;
  failures = 0;
  unopened = 0;
  // When the socket was welcomed; 0 while there is none or it was not yet.
  upSince = 0;
  notBefore = 0;
  ended = false;
  listening = new AbortController();
  /** @type {number | undefined} */
  goodbye;
  /** @type {string | undefined} */
  shown;

  /** @param {Owner} owner */
  constructor(owner) {
    this.owner = owner;
    const { signal } = this.listening;
    for (const event of ["visibilitychange", "online", "pageshow"]) {
      addEventListener(event, (event) => this.onWake(event), { signal });
    }
    addEventListener("pagehide", () => owner.onLeave(), { signal });
  }

  async dial() {
    clearTimeout(this.redial);
    if (this.socket || this.ended) return;
    // A token may never come.
    this.redial = setTimeout(() => this.dial(), LONGEST_WAIT);
    try {
      this.open(typeof this.token === "function" ? await this.token() : this.token);
    } catch {
      this.dialAgain();
    }
  }

  /** @param {string | undefined} token */
  open(token) {
    if (this.socket || this.ended) return;
    this.shown = token;
    // Where WebSockets are forbidden altogether, it is one that never opens.
    const socket = attempt(() => new WebSocket(this.owner.url)) ?? /** @type {WebSocket} */ ({ close() {} });
    this.socket = socket;
    clearTimeout(this.redial);
    this.listen(() => this.drop(), OPENS_WITHIN);
    socket.onopen = () => this.greet(token);
    socket.onmessage = ({ data }) => this.onMessage(JSON.parse(data));
    socket.onclose = ({ code }) => this.drop(code);
  }

  /** A token says itself whose it is. @param {string | undefined} token */
  greet(token) {
    this.shown = token;
    const client_id = token ? undefined : this.owner.clientId;
    this.socket?.send(JSON.stringify({ type: "hello", token, client_id }));
  }

  /** The end of a socket. A dead one may take minutes to say `close`: nobody waits for it. @param {number} [code] */
  drop(code) {
    const { socket, upSince } = this;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.socket = null;
    this.upSince = 0;
    clearTimeout(this.quiet);
    clearTimeout(this.refresh);
    if (upSince) {
      // A gateway that takes us in and throws us out again is not asked every moment.
      if (Date.now() - upSince > PROVEN_AFTER) this.failures = 0;
      this.down();
    } else if (code !== 4401) this.unopened++;
    if (this.unopened >= BLOCKED_AFTER && !this.link) this.poll();
    this.dialAgain(code);
  }

  /** @param {number} [code] */
  dialAgain(code) {
    if (this.ended) return;
    const refused = code === 1008 || (code === 4401 && typeof this.token !== "function");
    let wait = Math.random() * Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures++);
    if (this.link) wait = POLLING_WAIT + wait / 3;
    if (refused) wait += LONGEST_WAIT;
    wait = this.goodbye ?? wait;
    // Waking up is no reason to come before one was asked to.
    this.notBefore = refused || this.goodbye ? Date.now() + wait : 0;
    this.goodbye = undefined;
    clearTimeout(this.redial);
    this.redial = setTimeout(() => this.dial(), wait);
  }

  async poll() {
    const polling = new Polling(this.owner, () => this.link === polling && this.down());
    if (!(await polling.heartbeat()).server_time || this.link || this.ended) return;
    this.up(polling, "polling");
    polling.beat();
  }

  /** @param {Link} link @param {"websocket" | "polling"} transport */
  up(link, transport) {
    this.link?.close();
    this.link = link;
    this.owner.onUp(transport);
  }

  down() {
    this.link?.close();
    this.link = null;
    this.owner.onDown();
  }

  /** Replaces what happens when nothing is heard for so long. @param {() => void} then @param {number} wait */
  listen(then, wait) {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(then, wait);
  }

  /** Asks whether anybody is still there. */
  check() {
    this.link?.send({ type: "ping" });
    if (this.upSince) this.listen(() => this.drop(), PONG_WITHIN);
  }

  /** @param {Event} event */
  onWake(event) {
    if (document.hidden) return;
    // The browser's back-forward cache brought the page back: what it let go of when it was left is taken again.
    if (/** @type {PageTransitionEvent} */ (event).persisted) this.drop();
    this.check();
    if (Date.now() >= this.notBefore) this.dial();
  }

  /** @param {Frame} frame */
  onMessage(frame) {
    if (frame.type === "welcome") this.onWelcome(frame);
    if (frame.type === "goodbye") this.goodbye = frame.reconnect_in_ms;
    if (this.upSince) this.listen(() => this.check(), SILENCE);
    else if (frame.type === "error") console.error(`slotcast: ${frame.message}`);
    this.owner.onFrame(frame);
  }

  /** @param {Frame} frame */
  onWelcome({ server_time }) {
    this.refreshBefore(endOf(this.shown) - server_time);
    if (this.upSince) return;
    this.upSince = Date.now();
    this.unopened = 0;
    this.up({ send: (frame) => this.socket?.send(JSON.stringify(frame)), close() {} }, "websocket");
  }

  /** Fetches the next token before this one ends. @param {number} seconds */
  refreshBefore(seconds) {
    clearTimeout(this.refresh);
    const { token } = this;
    if (typeof token !== "function" || !(seconds > 0)) return;
    // Timers cannot count further than 2^31 ms.
    const wait = Math.min(Math.max(seconds - 30, seconds / 2), 2e6) * 1000;
    this.refresh = setTimeout(async () => {
      try {
        this.greet(await token());
      } catch {
        // It counts for a while yet: every 5 s, as long as there is a line to keep.
        if (this.upSince) this.refreshBefore(10);
      }
    }, wait);
  }

  end() {
    this.ended = true;
    clearTimeout(this.redial);
    this.listening.abort();
    this.drop();
    if (this.link) this.down();
  }
}

/** When a token ends, by the gateway's clock; not a number where it does not say. @param {string | undefined} token */
function endOf(token) {
  const claims = token?.split(".")[1]?.replace(/-/g, "+").replace(/_/g, "/");
  return attempt(() => JSON.parse(atob(claims ?? "")).exp);
}
