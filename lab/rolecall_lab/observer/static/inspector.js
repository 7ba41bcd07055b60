// The inspector: opens a message beside the diagram, and moves to the next and previous ones.
export const flow = document.getElementById("flow");
const inspector = document.getElementById("inspector");
const smooth = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
let ahead = Number(flow.dataset.now) - Date.now() / 1000;
let latest = 0;

export const chosen = () => new URLSearchParams(location.search).get("message");

export function synchronize(now) {
  ahead = now - Date.now() / 1000;
}

export function markChosen() {
  const number = chosen();
  for (const each of flow.querySelectorAll(".row[data-message]")) {
    each.classList.toggle("chosen", each.dataset.message === number);
  }
}

const isShown = (link) => link.checkVisibility?.() ?? link.offsetParent !== null;

function links() {
  const found = new Map();
  for (const link of flow.querySelectorAll("#part-diagram a.message")) {
    const number = link.closest(".row").dataset.message;
    if (!found.has(number) && isShown(link)) found.set(number, link);
  }
  return [...found.values()];
}

export function reveal(element) {
  const box = element.getBoundingClientRect();
  const panel = inspector.getBoundingClientRect();
  const isFixed = getComputedStyle(inspector).position === "fixed";
  const isSheet = isFixed && panel.top > 0; // on phones, at the bottom of the window
  const covered = isSheet ? innerHeight - panel.top : (document.getElementById("stage")?.offsetHeight ?? 0);
  const free = innerHeight - covered;
  if (box.top >= 130 && box.bottom <= free - 30) return;
  const distance = box.top + box.height / 2 - Math.max(free / 2, 130 + box.height / 2);
  // further down, the inspector would leave the window at the top, together with the end of the flow
  const limit = isFixed || !panel.height ? Infinity : flow.getBoundingClientRect().bottom - panel.height - 8;
  scrollBy({ top: Math.min(distance, limit), behavior: smooth });
}

export async function select(link) {
  const address = new URL(link.getAttribute("href"), location);
  for (const name of ["present", "step", "follow"]) {
    const value = new URLSearchParams(location.search).get(name);
    if (value !== null) address.searchParams.set(name, value);
  }
  const path = `${address.pathname}/messages/${address.searchParams.get("message")}${address.search}`;
  address.hash = "";
  history.replaceState(null, "", address);
  markChosen();
  const row = link.closest(".row");
  if (row) link.focus({ preventScroll: true });
  const request = ++latest;
  const response = await fetch(path).catch(() => null);
  if (request !== latest || !chosen()) return;
  if (!response?.ok) {
    location.href = address;
    return;
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  inspector.replaceChildren(...page.getElementById("inspector").childNodes);
  inspector.scrollTop = 0;
  flow.classList.add("inspected");
  count();
  if (row) reveal(row);
}

export function close() {
  const address = new URL(location);
  const link = links().find((each) => each.closest(".row").dataset.message === chosen());
  address.searchParams.delete("message");
  address.hash = "";
  history.replaceState(null, "", address);
  flow.classList.remove("inspected");
  markChosen();
  link?.focus({ preventScroll: true });
}

// Select the message that is `step` messages away; infinite steps lead to the first and the last one.
export function move(step) {
  const all = links();
  const at = all.findIndex((link) => link.closest(".row").dataset.message === chosen());
  const target = all[Math.min(all.length - 1, Math.max(0, at + step))];
  if (target) select(target);
}

function duration(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  const parts = [[days, "d"], [hours, "h"], [minutes, "min"], [seconds % 60, "s"]];
  const first = parts.findIndex(([number]) => number > 0);
  return parts.slice(first < 0 ? 3 : first).slice(0, 2).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

export function count() {
  const now = Date.now() / 1000 + ahead;
  for (const each of inspector.querySelectorAll("[data-expires]")) {
    const left = Math.round(Number(each.dataset.expires) - now);
    each.textContent = left > 0 ? `in ${duration(left)}` : `${duration(-left)} ago`;
  }
}

setInterval(count, 1000);
