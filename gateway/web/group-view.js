// Dialogs about groups: making one, and one's members with what each may do.

import { isolated } from "./bidi.js";
import { confirmed, openDialog, showNotice } from "./dialogs.js";
import { avatar, el } from "./dom.js";
import { FieldError, field, submits } from "./forms.js";
import { Groups } from "./groups.js";

const NAME_CHARS_MAX = 64;

/** Asks for a name and people; `onMade(conversationId)`. */
export function newGroupDialog(chat, onMade) {
  const name = field("Name", "name", { maxlength: NAME_CHARS_MAX, autofocus: true, autocomplete: "off", dir: "auto", testid: "group-name" });
  const members = field("People, by username", "members", {
    placeholder: "ann, bob, carl",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    testid: "group-members",
  });
  let close;
  const form = submits(
    el(
      "form",
      { class: "dialog-body" },
      name,
      members,
      el("div", { class: "dialog-actions" }, el("button", { class: "primary", type: "submit", testid: "group-submit" }, "Create group")),
    ),
    async (data) => {
      const id = await chat.createGroup(checkedName(data.get("name")), data.get("members"));
      close();
      onMade(id);
    },
    fieldOf,
  );
  close = openDialog("New group", form, { testid: "new-group" });
}

function checkedName(text) {
  const name = text.trim();
  if (!name) throw new FieldError("name", "Give the group a name.");
  return name;
}

/** The field that a refusal is about. */
function fieldOf({ name }) {
  return ["UserNotFound", "GroupFull"].includes(name) ? "members" : null;
}

/** Shows a group's members and what the user may do. */
export function groupDialog(chat, groupId, conversation) {
  const body = el("div", { class: "dialog-body group" });
  const close = openDialog(chat.people.titleOf(conversation), body, { testid: "group-dialog" });
  const redraw = async () => {
    try {
      const found = await chat.groups.load(groupId);
      body.replaceChildren(...content(found));
      drawFaces(found.members);
      body.closest("dialog").querySelector("h2").textContent = found.group.name;
      chat.onChange();
    } catch (error) {
      body.replaceChildren(el("p", {}, error.message));
    }
  };
  const change = async (action) => {
    try {
      await action();
      await redraw();
    } catch (error) {
      showNotice(error.message);
    }
  };

  const content = ({ group, members, nextCursor }) => {
    const role = members.find((m) => m.userId === chat.me)?.role ?? (group.ownerId === chat.me ? "owner" : "member");
    const rights = Groups.rights(role);
    const list = el("ul", { class: "members", "aria-label": "Members" }, members.map((m) => memberRow(m, rights)));
    const more = nextCursor
      ? el("button", { class: "link", type: "button", on: { click: () => showMore() } }, "Show more")
      : null;
    const showMore = async () => {
      const found = await chat.groups.loadMore(groupId).catch((error) => showNotice(error.message));
      if (!found) return;
      body.replaceChildren(...content(found));
      drawFaces(found.members);
    };
    return [
      group.description ? el("p", { class: "group-description", dir: "auto" }, group.description) : null,
      rights.rename ? renameForm(group) : null,
      addForm(),
      el("h3", {}, `Members (${group.memberCount ?? members.length})`),
      list,
      more,
      endings(group, rights),
    ].filter(Boolean);
  };

  const face = ({ userId, username, displayName, online }) =>
    avatar(userId, displayName || username, { online: online === true, url: chat.people.pictureOf(userId) });

  /** Pictures come later than names: what is typed in the dialog stays. */
  const drawFaces = async (members) => {
    for (const { userId } of members) chat.lookups.want(userId);
    await chat.lookups.idle();
    for (const member of members) body.querySelector(`[data-user-id="${member.userId}"] .avatar`)?.replaceWith(face(member));
  };

  const memberRow = (member, rights) => {
    const name = member.displayName || member.username;
    const isMe = member.userId === chat.me;
    const mayChange = !isMe && member.role !== "owner";
    return el(
      "li",
      { class: "member", testid: "group-member", dataset: { userId: member.userId } },
      face(member),
      el("span", { class: "member-name" }, isolated(name), isMe ? " (you)" : null, el("small", {}, `@${member.username}`)),
      rights.setRole && mayChange ? roleChoice(member, name) : el("span", { class: "role", testid: "member-role" }, member.role),
      rights.remove && mayChange
        ? el("button", { class: "link danger-text", type: "button", testid: "member-remove", on: { click: () => remove(member, name) } }, "Remove", el("span", { class: "for-readers" }, ` ${name}`))
        : null,
    );
  };

  const roleChoice = (member, name) => {
    const options = ["member", "admin", "owner"].map((role) => el("option", { value: role, selected: role === member.role }, role));
    const select = el("select", { "aria-label": `Role of ${name}`, testid: "member-role" }, options);
    select.value = member.role;
    select.addEventListener("change", async () => {
      const role = select.value;
      const sure = role !== "owner" || (await confirmed("Hand the group over?", `${name} becomes the owner, and you an admin.`, "Hand over"));
      if (sure) change(() => chat.api.setRole(groupId, member.userId, role));
      else select.value = member.role;
    });
    return select;
  };

  const remove = async (member, name) => {
    const yes = await confirmed(`Remove ${name}?`, "They no longer see what is said in this group.", "Remove");
    if (yes) change(() => chat.api.removeMember(groupId, member.userId));
  };

  const renameForm = (group) => {
    const input = el("input", { name: "name", type: "text", value: group.name, dir: "auto", maxlength: NAME_CHARS_MAX, "aria-label": "Group name", testid: "group-rename" });
    const form = el("form", { class: "inline-form" }, input, el("button", { class: "secondary", type: "submit", testid: "group-rename-submit" }, "Rename"));
    return submits(form, async () => {
      const name = checkedName(input.value);
      if (name === group.name) return;
      await chat.api.changeGroup(groupId, { name });
      conversation.title = name;
      await redraw();
    });
  };

  const addForm = () => {
    const input = el("input", {
      name: "members",
      type: "text",
      placeholder: "Add people by username",
      "aria-label": "Usernames to add",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      testid: "group-add",
    });
    const form = el("form", { class: "inline-form" }, input, el("button", { class: "secondary", type: "submit", testid: "group-add-submit" }, "Add"));
    return submits(form, async () => {
      await chat.groups.add(groupId, input.value);
      await redraw();
    }, fieldOf);
  };

  const endings = (group, rights) => {
    const leave = async () => {
      const yes = await confirmed("Leave this group?", `You no longer see what is said in “${group.name}”.`, "Leave");
      if (yes) finish(() => chat.api.removeMember(groupId, chat.me), "left");
    };
    const dissolve = async () => {
      const yes = await confirmed("Dissolve this group?", `“${group.name}” ends for all its members. This can't be undone.`, "Dissolve");
      if (yes) finish(() => chat.api.dissolve(groupId), "dissolved");
    };
    return el(
      "div",
      { class: "dialog-actions" },
      rights.leave
        ? el("button", { class: "danger", type: "button", testid: "group-leave", on: { click: leave } }, "Leave group")
        : el("p", { class: "hint" }, "To leave, hand the group over first."),
      rights.dissolve ? el("button", { class: "danger", type: "button", testid: "group-dissolve", on: { click: dissolve } }, "Dissolve group") : null,
    );
  };

  const finish = async (action, closed) => {
    try {
      await action();
      conversation.closed = closed;
      close();
      chat.onChange();
    } catch (error) {
      showNotice(error.message);
    }
  };

  body.append(el("p", { class: "hint" }, "Loading…"));
  redraw();
}
