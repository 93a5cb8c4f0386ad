// Brings what has changed on the server every two seconds. Without it the page is the
// same, and as old as its loading. A part that somebody works in is left alone.
"use strict";
setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch("/").catch(() => null);
  document.documentElement.classList.toggle("stale", !answer || !answer.ok);
  if (!answer || !answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (now && !inUse && part.innerHTML !== now.innerHTML) {
      part.innerHTML = now.innerHTML;
    }
  }
}, 2000);
