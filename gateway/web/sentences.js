// What happened in a conversation, in words. `nameOf` turns a user id into a name. A sentence is an array
// of pieces: text, and what others wrote, isolated.

import { isolated, sentence } from "./bidi.js";
import { eventOf, groupEventOf } from "./conversations.js";

/** A group's system event as one line: "ann added bob". */
export function systemLine(message, me, nameOf) {
  const change = groupEventOf(message);
  if (!change) return [isolated(message.content)];
  const name = (id, self = "you") => (id === me ? self : isolated(nameOf(id)));
  const actor = change.actorId ?? message.senderId;
  const who = name(actor, "You");
  const whom = list(change.userIds.map((id) => name(id)));
  const alone = change.userIds.length === 0 || (change.userIds.length === 1 && change.userIds[0] === actor);
  switch (message.messageType) {
    case "joined":
      return alone ? sentence`${who} joined` : sentence`${who} added ${whom}`;
    case "left":
      return sentence`${who} left`;
    case "removed":
      return alone ? sentence`${who} left` : sentence`${who} removed ${whom}`;
    case "group-created":
      return sentence`${who} created the group`;
    case "renamed":
      return renamedLine(change, who, whom);
    case "dissolved":
      return sentence`${who} dissolved the group`;
    default:
      return ["The group changed"];
  }
}

function renamedLine({ name, role }, who, whom) {
  switch (role) {
    case "owner":
      return sentence`${who} made ${whom} the owner`;
    case "admin":
      return sentence`${who} made ${whom} an admin`;
    case "member":
      return sentence`${who} made ${whom} a member again`;
    default:
      return name ? sentence`${who} named the group “${isolated(name)}”` : sentence`${who} changed the description`;
  }
}

/** The newest event of a conversation for the list. */
export function preview(conversation, me, people) {
  const message = conversation.newest;
  if (!message) return [conversation.kind === "world" ? "Everyone is here" : "No messages yet"];
  const nameOf = (id) => people.nameOf(id);
  if (eventOf(message) === "system") return systemLine(message, me, nameOf);
  const mine = message.senderId === me;
  const named = mine ? "You" : isolated(nameOf(message.senderId));
  const prefix = mine || conversation.kind !== "single" ? sentence`${named}: ` : [];
  const content = isolated(message.content);
  switch (eventOf(message)) {
    case "edit":
      return [...prefix, content];
    case "recall":
      return sentence`${named} withdrew a message`;
    case "reaction":
      return message.remove ? sentence`${named} took back ${content}` : sentence`${named} reacted ${content}`;
    default:
      return message.content === "" ? sentence`${named} withdrew a message` : [...prefix, ...said(message)];
  }
}

function said({ messageType, content }) {
  if (messageType === "image") return sentence`Picture: ${isolated(content)}`;
  if (messageType === "file") return sentence`File: ${isolated(content)}`;
  return [isolated(content)];
}

/** "bob is typing…" */
export function typingLine(userIds, nameOf) {
  if (userIds.length === 0) return [];
  if (userIds.length > 3) return ["Several people are typing…"];
  return sentence`${list(userIds.map((id) => isolated(nameOf(id))))} ${userIds.length === 1 ? "is" : "are"} typing…`;
}

/** "a", "a and b", "a, b and c", as pieces. */
export function list(names) {
  return names.flatMap((name, i) => (i === 0 ? [name] : [i === names.length - 1 ? " and " : ", ", name]));
}
