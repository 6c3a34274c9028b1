// Tells of messages that the user does not look at: by a notification of the browser, and by a sound, as
// the user has chosen. Of several tabs one tells, and none when another tab shows the message.

import { plain } from "./bidi.js";
import { preview } from "./sentences.js";
import { settings } from "./settings.js";

/** Another tab, or another device, may show it: then it has been read by now. */
const READ_ELSEWHERE_WITHIN_MS = 600;
/** Messages that come together make one sound. */
const SOUND_EVERY_MS = 1_500;
const CLAIM_HELD_MS = 3_000;

/** `isShown(conversationId)`: whether the user looks at it; `onOpen(conversationId)`. Returns what takes a
 *  message of somebody else. */
export function notifier(chat, { isShown, onOpen }) {
  let soundAt = -SOUND_EVERY_MS;
  return (message) => {
    const { conversationId, messageId, seqId } = message;
    if (isShown(conversationId)) return;
    setTimeout(async () => {
      const c = chat.conversations.get(conversationId);
      const chosen = settings();
      if (!c || c.readSeq >= seqId || isShown(conversationId) || !(chosen.notify || chosen.sound)) return;
      if (!(await claim(messageId))) return;
      if (chosen.notify) showNotification(chat, c, message, onOpen);
      if (chosen.sound && performance.now() - soundAt >= SOUND_EVERY_MS) {
        soundAt = performance.now();
        playSound();
      }
    }, READ_ELSEWHERE_WITHIN_MS);
  };
}

/** Asks the user; called on an action of theirs. Resolves to why it can't be, or null. */
export async function askToNotify() {
  if (!("Notification" in globalThis) || !isSecureContext) return "This browser shows notifications only for pages that come over HTTPS.";
  const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
  return answer === "granted" ? null : "Notifications are blocked for this page: allow them in the browser's settings of this site.";
}

let audio = null;

/** Two short notes. A browser lets a page sound only after the user has touched it. */
export function playSound() {
  audio ??= new AudioContext();
  audio.resume();
  [659.3, 880].forEach((frequency, i) => {
    const start = audio.currentTime + i * 0.12;
    const volume = audio.createGain();
    volume.gain.setValueAtTime(0.0001, start);
    volume.gain.exponentialRampToValueAtTime(0.14, start + 0.015);
    volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.28);
    const note = audio.createOscillator();
    note.frequency.value = frequency;
    note.connect(volume).connect(audio.destination);
    note.start(start);
    note.stop(start + 0.3);
  });
}

function showNotification(chat, conversation, message, onOpen) {
  if (!("Notification" in globalThis) || Notification.permission !== "granted") return;
  const said = plain(preview({ ...conversation, newest: message }, chat.me, chat.people));
  try {
    const shown = new Notification(chat.people.titleOf(conversation), { body: said, tag: conversation.id, icon: "/assets/icon.svg" });
    shown.addEventListener("click", () => {
      window.focus();
      onOpen(conversation.id);
      shown.close();
    });
  } catch {
    // Some browsers of phones know notifications of service workers only.
  }
}

/** Whether this tab is the first to tell of a message. */
function claim(messageId) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(`gochat.told.${messageId}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise((release) => setTimeout(release, CLAIM_HELD_MS));
    });
  });
}
