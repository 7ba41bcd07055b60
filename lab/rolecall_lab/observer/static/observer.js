// Keeps the picture up to date, shows a message without loading the page, and lights a value wherever it is.
const flow = document.getElementById("flow");
const live = document.getElementById("live");
const inspector = document.getElementById("inspector");
const parts = ["head", "body", "list", "seen"];
let chosen = new URLSearchParams(location.search).get("message");
let followed = null;
let pinned = false;
let ahead = Number(flow.dataset.now) - Date.now() / 1000;

function say(text, state) {
  live.textContent = text;
  live.className = `live ${state}`;
}

function mark() {
  for (const each of flow.querySelectorAll("[data-message]")) {
    each.classList.toggle("chosen", each.dataset.message === chosen);
  }
  flow.classList.toggle("following", followed !== null);
  for (const each of document.querySelectorAll("[data-value]")) {
    each.classList.toggle("lit", each.dataset.value === followed);
  }
}

function show(data) {
  const before = flow.querySelectorAll("#part-body .row").length;
  for (const part of parts) document.getElementById(`part-${part}`).innerHTML = data[part];
  [...flow.querySelectorAll("#part-body .row")].slice(before).forEach((row) => row.classList.add("new"));
  ahead = data.now - Date.now() / 1000;
  const messages = flow.querySelectorAll("#part-list a.message").length;
  document.querySelector(".flow-top h1").lastChild.textContent = `: ${messages} message${messages === 1 ? "" : "s"}`;
  mark();
}

async function choose(link) {
  const address = new URL(link.getAttribute("href"), location);
  chosen = address.searchParams.get("message");
  mark();
  const answer = await fetch(address.pathname + `/messages/${chosen}`).catch(() => null);
  if (!answer || !answer.ok) {
    location.href = address;
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  inspector.replaceChildren(...page.getElementById("inspector").childNodes);
  history.replaceState(null, "", address);
  mark();
  count();
  if (inspector.getBoundingClientRect().top > innerHeight * 0.8) inspector.scrollIntoView();
  inspector.focus({ preventScroll: true });
}

function follow(target, keep) {
  const value = target.closest?.("[data-value]")?.dataset.value ?? null;
  if (keep) {
    pinned = value !== null && !(pinned && followed === value);
    followed = pinned ? value : null;
  } else if (!pinned) {
    followed = value;
  }
  mark();
}

function count() {
  const now = Date.now() / 1000 + ahead;
  for (const each of inspector.querySelectorAll("[data-expires]")) {
    const left = Math.round(Number(each.dataset.expires) - now);
    each.textContent = left > 0 ? `${left} s left` : `expired ${-left} s ago`;
  }
}

document.addEventListener("click", (event) => {
  const row = event.target.closest("#part-body .row[data-message]");
  const link =
    event.target.closest("a.message") ?? (row && flow.querySelector(`a.message:has([data-message="${row.dataset.message}"])`));
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    choose(link);
    return;
  }
  if (event.target.closest(".value, .seen tr")) follow(event.target, true);
});
document.addEventListener("pointerover", (event) => follow(event.target, false));
document.addEventListener("focusin", (event) => {
  if (event.target.closest("[data-value]")) follow(event.target, false);
});
setInterval(count, 1000);
mark();

if (flow.dataset.live) {
  const address = new URL(flow.dataset.live, location);
  address.searchParams.set("version", flow.dataset.version);
  const source = new EventSource(address);
  source.onopen = () => say("Live", "on");
  source.onerror = () => say(source.readyState === EventSource.CLOSED ? "Not live: load the page again" : "Connecting again …", "off");
  source.onmessage = (event) => {
    const data = JSON.parse(event.data);
    show(data);
    say(data.away ? "Redis does not answer: nothing new is shown" : "Live", data.away ? "off" : "on");
  };
}
