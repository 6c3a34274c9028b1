// One WebSocket to the server that keeps coming back: exponential backoff with jitter, a heartbeat that
// notices dead links, and a plan for each close code. Frames go to `onFrame`; what they mean is not
// known here. The WebSocket class, timers and randomness are handed in for tests.

const FIRST_WAIT_MS = 500;
const WAIT_MAX_MS = 30_000;
const RATE_LIMITED_WAIT_MS = 15_000;
const HELLO_WAIT_MS = 15_000;
const HEARTBEAT_SECONDS = 30;

/**
 * What to do when the socket is closed with `code`, after `failures` attempts in a row without a hello:
 * `{end: reason}` or `{waitMs, renew}`. `random` is in [0, 1).
 */
export function planAfterClose(code, failures, refusals, random) {
  const jitter = 0.5 + random / 2;
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** failures, WAIT_MAX_MS) * jitter;
  switch (code) {
    case 4009:
      return { end: "replaced" };
    case 4001:
      // A new token first; when that is refused too, the session is over.
      return refusals >= 2 ? { end: "unauthenticated" } : { waitMs: refusals === 0 ? 0 : backoff, renew: true };
    case 4029:
      return { waitMs: RATE_LIMITED_WAIT_MS * (1 + random), renew: false };
    case 4008:
    case 1001:
      // The server is well, or another takes over: soon, but not all clients at once.
      return { waitMs: failures === 0 ? 1_000 * random : backoff, renew: false };
    default:
      return { waitMs: backoff, renew: false };
  }
}

export class Socket {
  /**
   * `url({renew, failures})`: a promise of the address. `onFrame(type, data)`.
   * `onState("connecting" | "online" | "offline")`. `onEnd(reason)`: no further attempt is made.
   */
  constructor({ url, onFrame, onState, onEnd, WebSocketClass = globalThis.WebSocket, clock = globalThis, random = Math.random }) {
    Object.assign(this, { url, onFrame, onState, onEnd, WebSocketClass, clock, random });
    this.state = "offline";
    this.ws = null;
    this.failures = 0;
    this.refusals = 0;
    this.renew = false;
    this.mustWait = false; // the server asked for it
    this.timer = null;
    this.beat = null;
    this.stopped = true;
    this.attempt = 0;
  }

  start() {
    this.stopped = false;
    this.#connect();
  }

  /** Closes for good. */
  stop() {
    this.stopped = true;
    this.#abandon();
    this.#become("offline");
  }

  /** Tries at once instead of at the end of the wait: the network is back. */
  hurry() {
    if (!this.stopped && !this.mustWait && this.state === "offline") this.#connect();
  }

  /** Whether the frame went out. */
  send(type, data = {}) {
    if (this.state !== "online") return false;
    this.ws.send(JSON.stringify({ type, data }));
    return true;
  }

  async #connect() {
    this.#abandon();
    this.#become("connecting");
    const attempt = this.attempt;
    let address;
    try {
      address = await this.url({ renew: this.renew, failures: this.failures });
    } catch {
      if (attempt === this.attempt && !this.stopped) this.#lost(1006);
      return;
    }
    if (attempt !== this.attempt || this.stopped) return;
    this.renew = false;
    const ws = new this.WebSocketClass(address);
    this.ws = ws;
    this.timer = this.clock.setTimeout(() => this.#lost(1006), HELLO_WAIT_MS);
    ws.onmessage = ({ data }) => this.#heard(data);
    ws.onclose = ({ code }) => this.#lost(code);
  }

  #heard(text) {
    this.awaitingPong = false;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "hello") {
      this.clock.clearTimeout(this.timer);
      this.failures = 0;
      this.refusals = 0;
      this.#become("online");
      this.#startHeartbeat(frame.data?.heartbeatSeconds || HEARTBEAT_SECONDS);
    }
    this.onFrame(frame.type, frame.data ?? {});
  }

  /** Counts beats, not time: timers of hidden tabs are slow, and a late beat is no dead link. */
  #startHeartbeat(seconds) {
    this.beat = this.clock.setInterval(() => {
      if (this.awaitingPong) return this.#lost(1006);
      this.awaitingPong = true;
      this.send("ping");
    }, seconds * 1_000);
  }

  #lost(code) {
    this.#abandon();
    if (this.stopped) return;
    const plan = planAfterClose(code, this.failures, this.refusals, this.random());
    this.failures += 1;
    this.mustWait = code === 4029;
    if (code === 4001) this.refusals += 1;
    this.#become("offline");
    if (plan.end) {
      this.stopped = true;
      this.onEnd(plan.end);
      return;
    }
    this.renew ||= plan.renew;
    this.timer = this.clock.setTimeout(() => this.#connect(), plan.waitMs);
  }

  /** Lets go of the present connection without waiting for the other end. */
  #abandon() {
    this.attempt += 1;
    this.awaitingPong = false;
    this.clock.clearTimeout(this.timer);
    this.clock.clearInterval(this.beat);
    if (!this.ws) return;
    this.ws.onmessage = this.ws.onclose = null;
    this.ws.close();
    this.ws = null;
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.onState(state);
  }
}
