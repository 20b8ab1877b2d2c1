
"use strict";
// The server renders; this only puts what has changed in the place of what was there.
(() => {
  const byId = (id) => document.getElementById(id);
  const say = (text) => { if (byId("said").textContent !== text) byId("said").textContent = text; };
  const selected = (part) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(part, true);
  };
  async function refresh() {
    try {
      const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(part.id);
        if (now && !part.isEqualNode(now) && !selected(part)) part.replaceChildren(...now.childNodes);
      }
      document.title = fresh.title;
      say("");
    } catch {
      say("No answer: what is shown here is old.");
    }
  }
  byId("refresh").hidden = false;
  setInterval(() => { if (byId("live").checked && !document.hidden) refresh(); }, 5000);
})();
