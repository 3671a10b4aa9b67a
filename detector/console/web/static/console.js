// The console without this script is whole. With it: keys, the reader's zone, and what is new without a reload.
"use strict";

const NEWS_MS = 1500; // an alert is on the page within two seconds
const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];

// --- times in the reader's zone; UTC stays in the title --------------------------------------------------------

const two = (n) => String(n).padStart(2, "0");
function local(text, withSeconds) {
  const t = new Date(text);
  if (Number.isNaN(t.getTime())) return null;
  const day = `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
  return `${day} ${two(t.getHours())}:${two(t.getMinutes())}${withSeconds ? `:${two(t.getSeconds())}` : ""}`;
}
function times() {
  for (const node of all("time[datetime]")) node.textContent = local(node.dateTime, true) ?? node.textContent;
  for (const node of all("[data-time]")) node.textContent = local(node.dataset.time, false) ?? node.textContent;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (one("#zone") && zone) one("#zone").textContent = `Times are in ${zone}; UTC on hover.`;
}

// --- what is new -----------------------------------------------------------------------------------------------

async function news() {
  const lives = all("[data-live]");
  if (!lives.length || document.hidden) return;
  const asked = await fetch("/fresh", { credentials: "same-origin", redirect: "error" });
  if (!asked.ok) return;
  const { number } = await asked.json();
  if (String(number) === document.body.dataset.fresh) return;
  const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of lives) renew(old, page.getElementById(old.id));
  document.body.dataset.fresh = page.body.dataset.fresh;
  document.title = page.title;
  times();
}
function renew(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const id = focused?.id, value = focused?.value;
  const picked = new Set(all('[name="pick"]:checked').map((box) => box.value.split(" ")[0]));
  const before = new Set(all("[data-row] .who a").map((link) => link.id));
  const said = old.dataset.version;
  old.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
  for (const box of all('[name="pick"]')) box.checked = picked.has(box.value.split(" ")[0]);
  for (const link of all("[data-row] .who a")) if (!before.has(link.id)) link.closest("tr").classList.add("new");
  const again = (id && document.getElementById(id)) || all('[name="pick"]').find((box) => value && box.value === value);
  again?.focus({ preventScroll: true });
  if (fresh.dataset.version && fresh.dataset.version !== said) {
    old.dataset.version = fresh.dataset.version;
    tell("There is news on this case since you opened it.");
  }
}
function tell(text) {
  const line = document.createElement("p");
  line.textContent = text;
  one("#said").replaceChildren(line);
}

// --- keys ------------------------------------------------------------------------------------------------------

const links = () => all("[data-row] .who a");
let asksReason = false;

function move(by) {
  const rows = links();
  const row = document.activeElement?.closest?.("[data-row]");
  const at = row ? rows.findIndex((link) => row.contains(link)) : -1;
  const next = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
  next?.focus();
}
function press(button) {
  if (button) button.click();
  return Boolean(button);
}
function askReason(on) {
  asksReason = on;
  one("#legitimate")?.classList.toggle("asked", on);
  if (on) tell("Legitimate: press the number of the reason.");
}
const KEYS = {
  j: () => (links().length ? move(1) : press(one('.crumbs [rel="next"]'))),
  k: () => (links().length ? move(-1) : null),
  x: () => document.activeElement?.closest?.("[data-row]")?.querySelector('[name="pick"]')?.click(),
  f: () => press(one('#answer [data-key="f"]') ?? picked("fraud")),
  l: () => (one("#legitimate") ? askReason(true) : press(picked("legitimate"))),
  s: () => press(one('#answer [data-key="s"]') ?? picked("snooze")),
  n: () => one("#note")?.focus(),
  u: () => press(one("#undo button")),
  "?": () => location.assign("/help"),
};
function picked(act) {
  if (!one("#bulk")) return null;
  if (one('[name="pick"]:checked, [name="all"]:checked')) return one(`#bulk [name="act"][value="${act}"]`);
  tell("Select cases with x first, or open one with Enter.");
  return null;
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.('textarea, select, input:not([type="checkbox"])');
  if (event.key === "Escape") {
    askReason(false);
    if (typing) event.target.blur();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.body.dataset.keys !== "on") return;
  if (asksReason) {
    const button = one(`#legitimate [data-reason="${CSS.escape(event.key)}"]`);
    askReason(false);
    if (button) {
      event.preventDefault();
      press(button);
      return;
    }
  }
  const act = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
  if (act) {
    event.preventDefault();
    act();
  }
});

// --- forms -----------------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault(); // a second click; the server would take it for the first one, too
  event.target.dataset.sent = "1";
});
window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));
const undo = one("#undo");
if (undo) setTimeout(() => undo.remove(), Number(undo.dataset.for)); // how long, as clocks may differ

times();
setInterval(() => news().catch(() => {}), NEWS_MS); // the console may be restarted: the next try is soon
