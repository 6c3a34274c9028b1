// Wires the page: who is signed in decides between the two views; changes are drawn together, once a
// frame; the address bar names the open conversation.

import { Api } from "./api.js";
import { chatView } from "./chat-view.js";
import { Chat } from "./chat.js";
import { closeDialogs, confirmed, hideNotice, showNotice } from "./dialogs.js";
import { el } from "./dom.js";
import { listView } from "./list-view.js";
import { isLooking } from "./log-view.js";
import { notifier } from "./notify.js";
import { Session } from "./session.js";
import { signInView } from "./signin-view.js";
import { fitViewport } from "./viewport.js";

const root = document.getElementById("app");
const session = new Session();
const api = new Api(session, { onEnded: (text) => signedOut(text) });
let stopChat = () => {};

/** Hidden tabs have no frames: then changes are drawn after this time. */
const DRAW_WITHIN_MS = 100;
/** Times such as "5 minutes ago" and "Today" grow old. */
const DRAW_ANEW_MS = 60_000;

function showSignIn() {
  document.title = "GoChat";
  const enter = async (call) => {
    await call;
    showChat();
  };
  root.replaceChildren(
    signInView({
      canStay: session.canStay,
      onSignIn: ({ username, password, stay }) => enter(api.login(username, password, stay)),
      onSignUp: ({ username, password, displayName, stay }) => enter(api.register(username, password, displayName, stay)),
    }),
  );
}

function showChat() {
  let stopped = false;
  let waiting = null;
  const draw = () => {
    clearTimeout(waiting);
    waiting = null;
    if (stopped) return;
    list.render(selected());
    view.render();
    const unread = [...chat.conversations.byId.values()].reduce((sum, c) => sum + c.unread, 0);
    document.title = unread > 0 ? `(${unread}) GoChat` : "GoChat";
  };
  const onChange = () => {
    if (waiting !== null) return;
    waiting = setTimeout(draw, DRAW_WITHIN_MS);
    requestAnimationFrame(() => waiting !== null && draw());
  };
  const chat = new Chat({
    ...{ api, session, onChange },
    onNotice: showNotice,
    onEnd: (text) => signedOut(text),
    onSaid: (message) => tell(message),
  });
  const tell = notifier(chat, { isShown: (id) => view.shows(id) && isLooking(), onOpen: select });
  const list = listView(chat, { onSelect: select, onSignOut: leave });
  async function leave() {
    const question = ["Sign out?", "Some of your messages have not been sent. They will be lost.", "Sign out"];
    if (chat.outbox.isEmpty || (await confirmed(...question))) signedOut(null);
  }
  const view = chatView(chat, { onBack: () => select(null) });
  const follow = () => {
    const id = selected();
    root.firstChild.classList.toggle("has-open", id !== null);
    view.open(id);
    onChange();
  };
  const hurry = () => document.visibilityState === "visible" && chat.socket.hurry();
  root.replaceChildren(el("div", { class: "app" }, list.node, view.node));
  window.addEventListener("hashchange", follow);
  window.addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  const anew = setInterval(onChange, DRAW_ANEW_MS);
  stopChat = () => {
    stopped = true;
    clearInterval(anew);
    window.removeEventListener("hashchange", follow);
    window.removeEventListener("online", hurry);
    document.removeEventListener("visibilitychange", hurry);
    view.dispose();
    chat.stop();
  };
  draw();
  chat.start().then(follow);
}

/** The open conversation, from the address bar. */
function selected() {
  const id = location.hash.slice(1);
  const isPairOfMine = /^single_\d+_\d+$/.test(id) && id.split("_").includes(session.current?.userId);
  return isPairOfMine || /^(world|group_\d+)$/.test(id) ? id : null;
}

function select(id) {
  location.hash = id ?? "";
}

/** `text`: why, or null when the user wanted it. */
function signedOut(text) {
  stopChat();
  stopChat = () => {};
  closeDialogs();
  history.replaceState(null, "", location.pathname);
  // What ended for this tab may go on in others.
  if (text !== null && session.isShared) session.leave();
  else api.logout();
  showSignIn();
  if (text) showNotice(text, "info");
  else hideNotice();
}

async function start() {
  if (await session.isUsedElsewhere()) {
    session.clear();
    showSignIn();
    showNotice("That session is open in another tab. Sign in to use this one too.", "info");
  } else if (session.current) {
    showChat();
  } else {
    showSignIn();
  }
}

session.watch((text) => signedOut(text));
fitViewport();
start();
