// The REST calls, and the tokens they need: an access token is renewed when it is near its end or the
// server answers 401, once for all calls that wait for it.

/** Renew this long before the end, or a fifth of the lifetime, whichever is shorter. */
const RENEW_BEFORE_MS = 60_000;
const CALL_WAIT_MS = 20_000;

/** A call that failed. `code` is the server's (1000 …), or 0 when it could not be reached. */
export class ApiError extends Error {
  constructor({ status = 0, code = 0, name = "Unreachable", message, retryable = true, retryAfter = null }) {
    super(message);
    this.name = name;
    Object.assign(this, { status, code, retryable, retryAfter });
  }
}

export class Api {
  /** `onEnded(message)`: the session can't be renewed; it is already cleared. */
  constructor(session, { fetch = (...args) => globalThis.fetch(...args), now = Date.now, onEnded = () => {} } = {}) {
    Object.assign(this, { session, fetch, now, onEnded });
    this.renewal = null;
  }

  /** `stay`: signed in in all tabs of this browser. */
  async register(username, password, displayName, stay) {
    const body = { username, password, ...(displayName ? { displayName } : {}) };
    this.session.take(await this.#request("POST", "/auth/register", body), this.now(), stay);
  }

  async login(username, password, stay) {
    this.session.take(await this.#request("POST", "/auth/login", { username, password }), this.now(), stay);
  }

  /** Signs out here at once, and on the server as far as it can be reached. */
  async logout() {
    const { current } = this.session;
    if (!current) return;
    this.session.clear();
    try {
      const isOld = this.now() >= current.expiresAt;
      const { accessToken } = isOld ? await this.#request("POST", "/auth/refresh", { refreshToken: current.refreshToken }) : current;
      await this.#request("POST", "/auth/logout", undefined, accessToken);
    } catch {
      // The sign-in ends by itself, when its tokens do.
    }
  }

  /** A token that is good for a while yet. `renewed`: take a new one in any case. */
  async accessToken({ renewed = false } = {}) {
    const current = this.session.current;
    if (!current) throw signedOut();
    const margin = Math.min(RENEW_BEFORE_MS, current.lifetime / 5);
    if (!renewed && this.now() < current.expiresAt - margin) return current.accessToken;
    this.renewal ??= this.session.alone(() => this.#renew(current.refreshToken)).finally(() => (this.renewal = null));
    await this.renewal;
    if (!this.session.current) throw signedOut();
    return this.session.current.accessToken;
  }

  me = () => this.call("GET", "/users/me");
  changeMe = (change) => this.call("PATCH", "/users/me", change);
  usersById = (ids) => this.call("GET", `/users/by-id?${query({ userIds: ids.join(",") })}`);
  userByName = (username) => this.call("GET", `/users?${new URLSearchParams({ username })}`);
  conversations = (cursor) => this.call("GET", `/conversations?${query({ cursor, limit: 50 })}`);
  messages = (id, range) => this.call("GET", `/conversations/${encodeURIComponent(id)}/messages?${query(range)}`);
  readMarks = (id) => this.call("GET", `/conversations/${encodeURIComponent(id)}/read`);
  createGroup = (name, memberIds) => this.call("POST", "/groups", { name, memberIds });
  group = (id) => this.call("GET", `/groups/${id}`);
  members = (id, cursor) => this.call("GET", `/groups/${id}/members?${query({ cursor, limit: 100 })}`);
  addMembers = (id, userIds) => this.call("POST", `/groups/${id}/members`, { userIds });
  removeMember = (id, userId) => this.call("DELETE", `/groups/${id}/members/${userId}`);
  changeGroup = (id, change) => this.call("PATCH", `/groups/${id}`, change);
  setRole = (id, userId, role) => this.call("PATCH", `/groups/${id}/members/${userId}`, { role });
  dissolve = (id) => this.call("DELETE", `/groups/${id}`);

  /** A call with a token; once more with a new one after a 401. */
  async call(method, path, body) {
    const token = await this.accessToken();
    try {
      return await this.#request(method, path, body, token);
    } catch (error) {
      if (error.status !== 401) throw error;
    }
    // Another call may have renewed it meanwhile.
    const stale = this.session.current?.accessToken === token;
    return await this.#request(method, path, body, await this.accessToken({ renewed: stale }));
  }

  async #renew(refreshToken) {
    // Another tab has renewed it, or ended it.
    if (this.session.current?.refreshToken !== refreshToken) return;
    try {
      const answer = await this.#request("POST", "/auth/refresh", { refreshToken });
      if (this.session.current?.refreshToken === refreshToken) this.session.take(answer, this.now());
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 429) {
        this.session.clear();
        this.onEnded("Your session has ended. Please sign in again.");
      }
      throw error;
    }
  }

  async #request(method, path, body, token) {
    let response;
    let answer = null;
    try {
      response = await this.fetch(`/api${path}`, {
        method,
        headers: {
          ...(body ? { "content-type": "application/json" } : {}),
          ...(token ? { authorization: `Bearer ${token}` } : {}),
        },
        body: body ? JSON.stringify(body) : undefined,
        signal: AbortSignal.timeout(CALL_WAIT_MS),
      });
      const text = await response.text();
      answer = text ? parsed(text) : null;
    } catch {
      throw new ApiError({ message: "GoChat can't be reached. Check your connection and try again." });
    }
    if (response.ok) return answer;
    throw new ApiError({
      message: `The server answered ${response.status}.`,
      retryable: response.status >= 500,
      ...(answer?.error ?? {}),
      status: response.status,
      retryAfter: Number(response.headers.get("retry-after")) || null,
    });
  }
}

function signedOut() {
  return new ApiError({ status: 401, code: 1006, name: "Unauthenticated", message: "You are signed out.", retryable: false });
}

function query(values) {
  return new URLSearchParams(Object.entries(values).filter(([, value]) => value != null && value !== ""));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
