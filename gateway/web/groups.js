// Groups: who is in them, and the changes that a member, an admin or the owner may make.

import { ApiError } from "./api.js";

/** People that one call names at most. */
const NAMES_MAX = 100;

export class Groups {
  constructor(api, people) {
    Object.assign(this, { api, people });
    this.known = new Map(); // groupId → { group, members, nextCursor }
  }

  get(groupId) {
    return this.known.get(groupId);
  }

  /** The group and its first page of members. */
  async load(groupId) {
    const [group, page] = await Promise.all([this.api.group(groupId), this.api.members(groupId)]);
    const found = { group, members: [], nextCursor: null };
    this.known.set(groupId, found);
    this.#addPage(found, page);
    return found;
  }

  async loadMore(groupId) {
    const found = this.known.get(groupId);
    if (found?.nextCursor) this.#addPage(found, await this.api.members(groupId, found.nextCursor));
    return found;
  }

  async create(name, usernames) {
    const users = await this.usersNamed(usernames);
    return this.api.createGroup(name, users.map((user) => user.userId));
  }

  async add(groupId, usernames) {
    const users = await this.usersNamed(usernames);
    await this.api.addMembers(groupId, users.map((user) => user.userId));
    return users;
  }

  /** Whether somebody of `role` may do these; the server judges, this only spares clicks. */
  static rights(role) {
    const leads = role === "owner" || role === "admin";
    return { rename: leads, remove: leads, add: true, leave: role !== "owner", setRole: role === "owner", dissolve: role === "owner" };
  }

  /** Users by a list of names, parted by commas or spaces. */
  async usersNamed(text) {
    const names = [...new Set(text.split(/[\s,;]+/).map((name) => name.replace(/^@/, "")).filter(Boolean))];
    if (names.length === 0) throw refusal("Name at least one person.");
    if (names.length > NAMES_MAX) throw refusal(`Name at most ${NAMES_MAX} people at once.`);
    return Promise.all(names.map((name) => this.userNamed(name)));
  }

  async userNamed(name) {
    try {
      const user = await this.api.userByName(name);
      this.people.learnUser(user);
      return user;
    } catch (error) {
      if (error.status === 404) throw refusal(`There is nobody called “${name}” here.`);
      throw error;
    }
  }

  #addPage(found, { members, nextCursor }) {
    members.forEach((member) => this.people.learnUser(member));
    found.members.push(...members);
    found.nextCursor = nextCursor || null;
  }
}

function refusal(message) {
  return new ApiError({ status: 404, code: 1001, name: "UserNotFound", message, retryable: false });
}
