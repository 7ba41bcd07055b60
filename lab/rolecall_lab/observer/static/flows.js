// The list of flows: rows appear and change while the page is open; filters, focus, and scroll position stay.
import { listen } from "./stream.js";

const list = document.getElementById("list");
const rows = document.getElementById("rows");
const empty = document.getElementById("empty");
const note = document.getElementById("note");
const size = Number(list.dataset.size);
const isFirstPage = list.dataset.page === "1";

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

const find = (id) => document.getElementById(`flow-${id}`);

function place({ id, began, html }) {
  const old = find(id);
  const row = element(html);
  if (old) {
    const isFocused = old.contains(document.activeElement);
    old.replaceWith(row);
    row.classList.add("changed");
    if (isFocused) row.querySelector("a").focus({ preventScroll: true });
  } else if (isFirstPage) {
    const next = [...rows.children].find((each) => each.dataset.began < began) ?? null;
    rows.insertBefore(row, next);
    row.classList.add("new");
  } else {
    return null;
  }
  return row;
}

// Offer what new rows have; without this the filters would only know the flows of when the page was loaded.
function offer(name, values) {
  const select = document.getElementById(name);
  for (const value of values) {
    if (value && ![...select.options].some((each) => each.value === value)) select.add(new Option(value, value));
  }
}

function show(data) {
  // what is read stays where it is, even if rows above it come or go
  const anchor = [...rows.children].find((row) => row.getBoundingClientRect().top >= 0);
  const before = scrollY > 0 && anchor ? anchor.getBoundingClientRect().top : null;
  if (data.all && isFirstPage) {
    const kept = new Set(data.rows.map((row) => `flow-${row.id}`));
    for (const row of [...rows.children]) if (!kept.has(row.id)) row.remove();
  }
  for (const id of data.gone) find(id)?.remove();
  for (const row of data.rows.map(place)) {
    offer("client", [row?.dataset.client]);
    offer("endpoint", row?.dataset.endpoints.split(" ") ?? []);
  }
  while (isFirstPage && rows.children.length > size) {
    rows.lastElementChild.remove();
    note.textContent ||= `The newest ${size} flows; reload the page to see older ones`;
  }
  list.hidden = rows.children.length === 0;
  empty.hidden = !list.hidden;
  const moved = before === null ? null : document.getElementById(anchor.id);
  if (moved) scrollBy({ top: moved.getBoundingClientRect().top - before, behavior: "instant" });
}

listen(list, "flows", show);
