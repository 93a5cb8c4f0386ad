// Counts down, and brings what has changed without loading the page anew. Without it
// the page loads itself anew, by its meta element.
"use strict";

// life is a time as people say it: 1m 59s. page.go has the same.
function life(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}h ${m}m` : m ? `${m}m ${s}s` : `${s}s`;
}

let expires, next; // when the token does, and when to ask the server

// plan reads what the server has just said.
function plan() {
  const left = document.querySelector("[data-left]");
  const every = document.querySelector("[data-every]");
  expires = left && Date.now() + 1000 * left.dataset.left;
  next = every && Date.now() + 1000 * every.dataset.every;
}

function tick() {
  const left = document.querySelector("[data-left]");
  if (!left) return;
  const seconds = Math.max(0, Math.round((expires - Date.now()) / 1000));
  left.textContent = life(seconds);
  document.querySelector("progress").value = seconds;
  if (next && Date.now() >= next && !document.hidden) {
    next += 5000; // if nothing comes
    bring();
  }
}

// bring puts the parts that have changed into the page. The focus stays where it is.
async function bring() {
  const answer = await fetch("/").catch(() => null);
  document.documentElement.classList.toggle("stale", !answer?.ok);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focus = document.activeElement.id;
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (!now) { // nobody is signed in any more
      document.title = fresh.title;
      document.body.replaceWith(fresh.body);
      return;
    }
    if (now.outerHTML !== part.outerHTML) part.replaceWith(now);
  }
  plan();
  if (focus && document.activeElement.id !== focus) {
    document.getElementById(focus)?.focus({preventScroll: true});
  }
}

// Where the keyboard was before a form was sent, it is again.
const remember = e => { sessionStorage.focus = e.type === "focusin" && e.target.matches(":focus-visible") ? e.target.id : ""; };
document.getElementById(sessionStorage.focus)?.focus({preventScroll: true});
addEventListener("focusin", remember);
addEventListener("pointerdown", remember);

plan();
setInterval(tick, 1000);
