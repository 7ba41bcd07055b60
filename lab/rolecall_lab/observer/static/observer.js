// The page of a flow: live updates, the keyboard, and following a value wherever it is.
import { chosen, close, flow, markChosen, move, reveal, select, synchronize } from "./inspector.js";
import { draw, end, go, isPresenting, start } from "./present.js";
import { listen } from "./stream.js";

const STEPS = {
  ArrowRight: 1, ArrowDown: 1, PageDown: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -Infinity, End: Infinity,
};
let followed = null;
let pinned = false;

function light() {
  flow.classList.toggle("following", followed !== null);
  for (const each of document.querySelectorAll("[data-value]")) {
    each.classList.toggle("lit", each.dataset.value === followed);
  }
}

function show(data) {
  const before = flow.querySelectorAll("#part-diagram .row").length;
  const open = new Map([...flow.querySelectorAll("details[data-fold]")].map((each) => [each.dataset.fold, each.open]));
  const focused = document.activeElement?.closest(".row")?.dataset.message;
  for (const part of ["diagram", "seen", "story"]) document.getElementById(`part-${part}`).innerHTML = data[part];
  for (const each of flow.querySelectorAll("details[data-fold]")) each.open = open.get(each.dataset.fold) ?? each.open;
  [...flow.querySelectorAll("#part-diagram .row")].slice(before).forEach((row) => row.classList.add("new"));
  if (focused) flow.querySelector(`.row[data-message="${focused}"] a`)?.focus({ preventScroll: true });
  synchronize(data.now);
  markChosen();
  light();
  draw();
}

function follow(target, keep) {
  const value = target.closest?.("[data-value]")?.dataset.value ?? null;
  if (keep) {
    pinned = value !== null && !(pinned && followed === value);
    followed = pinned ? value : null;
  } else if (!pinned) {
    followed = value;
  }
  light();
}

const actions = {
  close,
  end,
  next: () => (chosen() && !isPresenting() ? move(1) : go(1)),
  previous: () => (chosen() && !isPresenting() ? move(-1) : go(-1)),
};

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const control = event.target.closest("[data-go]");
  const link = event.target.closest("#part-diagram a.message");
  const value = event.target.closest(".value, .seen tr");
  if (control) {
    event.preventDefault();
    if (control.closest("#inspector")) ({ next: () => move(1), previous: () => move(-1), close })[control.dataset.go]();
    else actions[control.dataset.go]();
  } else if (value) {
    follow(event.target, true);
  } else if (link) {
    event.preventDefault();
    select(link);
  } else if (event.target.closest("#present")) {
    event.preventDefault();
    start();
  }
});

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select")) return;
  const reads = target.closest("#inspector, #seen, .menu");
  let step = STEPS[key];
  if (key === " " && isPresenting() && !target.closest("button, a, summary")) step = 1;
  if (key === "p") (isPresenting() ? end : start)();
  else if (key === "Escape" && chosen()) close();
  else if (key === "Escape" && isPresenting()) end();
  else if (step && isPresenting() && !reads) go(step);
  else if (step && chosen() && (!reads || key === "ArrowLeft" || key === "ArrowRight")) move(step);
  else return;
  event.preventDefault();
});

document.addEventListener("pointerover", (event) => follow(event.target, false));
document.addEventListener("focusin", (event) => {
  if (event.target.closest("[data-value]")) follow(event.target, false);
});
markChosen();
const opened = flow.querySelector(".row.chosen");
if (opened) reveal(opened);

if (flow.dataset.live) listen(flow, "messages", show);
