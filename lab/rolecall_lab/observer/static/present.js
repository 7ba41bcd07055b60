// Present mode: one message after the other, with its caption in large type, for projectors and clickers.
import { flow, reveal } from "./inspector.js";

const stage = document.getElementById("stage");
const caption = document.getElementById("caption");
const progress = document.getElementById("progress");
const position = document.getElementById("position");
const [previous, next] = ["previous", "next"].map((name) => stage.querySelector(`[data-go=${name}]`));
const button = document.getElementById("present");
let at = Number(new URLSearchParams(location.search).get("step")) || 0;

export const isPresenting = () => flow.classList.contains("paced");

// The pace: every arrow is a slide, and every closed fold that is not setup or cleanup. Failed checks belong to the
// refusal after them; they have a caption and are a slide if no response tells of the refusal.
function isSlide(each) {
  if (each.parentElement.closest("details:not([open])")) return false;
  if (each.matches(".fold")) return !each.matches(".setup, .cleanup") && !each.querySelector("details[open]");
  return each.querySelector(":scope > .caption") !== null;
}

function slides() {
  return [...flow.querySelectorAll("#part-diagram :is(.row.request, .row.response, .row.checks.refused, .fold)")].filter(isSlide);
}

function changed(address, changes) {
  const result = new URL(address);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) result.searchParams.delete(name);
    else result.searchParams.set(name, value);
  }
  return result;
}

// The switches of the page keep present mode, and do not bring it back after its end.
function remember({ present, ...others }) {
  const changes = present === undefined ? others : { present, ...others };
  history.replaceState(null, "", changed(location, changes));
  if (present === undefined) return;
  for (const link of document.querySelectorAll("a.turn")) link.href = changed(link.href, { present });
}

function say(text, state = "") {
  caption.textContent = text;
  caption.className = `stage-caption ${state}`;
}

export function draw() {
  if (!isPresenting()) return;
  const all = slides();
  const last = all.length + 1;
  at = Math.min(Math.max(at, 0), last);
  const current = all[at - 1];
  const elements = [...flow.querySelectorAll("#part-diagram :is(.row, .fold, .step h2)")];
  const until = current ? elements.indexOf(current) : at === last ? elements.length : -1;
  elements.forEach((each, number) => {
    const isHeading = each.matches("h2") && number === until - 1;
    const isReason = current && each.matches(".row.checks.refused") && each.dataset.message === current.dataset.message && current.matches(".response");
    each.classList.toggle("ahead", number > until && !current?.contains(each));
    each.classList.toggle("past", at < last && number < until && !isHeading && !isReason);
    each.classList.toggle("now", each === current);
  });
  const outcome = document.getElementById("outcome");
  if (current) {
    const text = current.querySelector(":scope > .caption").textContent.trim();
    say(text, current.matches(".refused") ? "bad" : "");
    reveal(current);
  } else if (at === 0) {
    say(document.querySelector("#part-story .lead")?.textContent ?? document.querySelector("#part-story h1").textContent);
    scrollTo(0, 0);
  } else {
    say(outcome?.textContent.trim() ?? "The flow succeeded.", outcome?.matches(".unexpected") ? "bad" : "good");
    reveal(flow.querySelector(".row.refused.response") ?? flow.querySelector(".row.checks.refused") ?? all.at(-1));
  }
  progress.max = last;
  progress.value = at;
  position.textContent = `${at} / ${last}`;
  previous.ariaDisabled = String(at === 0);
  next.ariaDisabled = String(at === last);
  remember({ step: at });
}

export function go(step) {
  at = step === -Infinity ? 0 : Math.min(at + step, slides().length + 1);
  draw();
}

export function start() {
  flow.classList.add("presented", "paced");
  stage.hidden = false;
  const message = new URLSearchParams(location.search).get("message");
  if (at === 0) at = 1 + slides().findLastIndex((each) => each.dataset.message === message);
  remember({ present: "" });
  draw();
}

export function end() {
  flow.classList.remove("presented", "paced");
  stage.hidden = true;
  for (const each of flow.querySelectorAll(".ahead, .past, .now")) each.classList.remove("ahead", "past", "now");
  at = 0;
  remember({ present: null, step: null });
  button.textContent = "Present";
  button.focus({ preventScroll: true });
}

if (new URLSearchParams(location.search).has("present")) start();
