// What happened in a conversation, in words. `nameOf` turns a user id into a name.

import { eventOf, groupEventOf } from "./conversations.js";

/** A group's system event as one line: "ann added bob". */
export function systemLine(message, me, nameOf) {
  const change = groupEventOf(message);
  if (!change) return message.content;
  const name = (id, self = "you") => (id === me ? self : nameOf(id));
  const actor = change.actorId ?? message.senderId;
  const who = name(actor, "You");
  const whom = list(change.userIds.map((id) => name(id)));
  const alone = change.userIds.length === 0 || (change.userIds.length === 1 && change.userIds[0] === actor);
  switch (message.messageType) {
    case "joined":
      return alone ? `${who} joined` : `${who} added ${whom}`;
    case "left":
      return `${who} left`;
    case "removed":
      return alone ? `${who} left` : `${who} removed ${whom}`;
    case "group-created":
      return `${who} created the group`;
    case "renamed":
      return renamedLine(change, who, whom);
    case "dissolved":
      return `${who} dissolved the group`;
    default:
      return "The group changed";
  }
}

function renamedLine({ name, role }, who, whom) {
  switch (role) {
    case "owner":
      return `${who} made ${whom} the owner`;
    case "admin":
      return `${who} made ${whom} an admin`;
    case "member":
      return `${who} made ${whom} a member again`;
    default:
      return name ? `${who} named the group “${name}”` : `${who} changed the description`;
  }
}

/** The newest event of a conversation for the list, or an empty string. */
export function preview(conversation, me, people) {
  const message = conversation.newest;
  if (!message) return conversation.kind === "world" ? "Everyone is here" : "No messages yet";
  const nameOf = (id) => people.nameOf(id);
  if (eventOf(message) === "system") return systemLine(message, me, nameOf);
  const mine = message.senderId === me;
  const named = mine ? "You" : people.isKnown(message.senderId) ? nameOf(message.senderId) : "Someone";
  const prefix = mine || conversation.kind !== "single" ? `${named}: ` : "";
  switch (eventOf(message)) {
    case "edit":
      return `${prefix}${message.content}`;
    case "recall":
      return `${named} withdrew a message`;
    case "reaction":
      return message.remove ? `${named} took back ${message.content}` : `${named} reacted ${message.content}`;
    default:
      return message.content === "" ? `${named} withdrew a message` : `${prefix}${said(message)}`;
  }
}

function said({ messageType, content }) {
  if (messageType === "image") return `Picture: ${content}`;
  if (messageType === "file") return `File: ${content}`;
  return content;
}

/** "bob is typing…" */
export function typingLine(userIds, nameOf) {
  if (userIds.length === 0) return "";
  if (userIds.length > 3) return "Several people are typing…";
  return `${list(userIds.map(nameOf))} ${userIds.length === 1 ? "is" : "are"} typing…`;
}

/** "a", "a and b", "a, b and c" */
export function list(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
