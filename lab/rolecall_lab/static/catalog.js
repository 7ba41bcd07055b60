// Filter the catalog: an entry is shown if it contains all words of the filter.
const form = document.querySelector(".filter");
const input = form.querySelector("input");
const output = form.querySelector("output");
const entries = [...document.querySelectorAll(".entry")].map((element) => ({
  element,
  text: `${element.closest(".group").querySelector("h2").textContent} ${element.textContent} ${element.dataset.terms}`.toLowerCase(),
}));

function filter() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { element, text } of entries) element.hidden = !words.every((word) => text.includes(word));
  for (const group of document.querySelectorAll(".group")) group.hidden = !group.querySelector(".entry:not([hidden])");
  const shown = entries.filter(({ element }) => !element.hidden).length;
  output.textContent = words.length ? `${shown} of ${entries.length} flows` : "";
}

input.addEventListener("input", filter);
form.hidden = false;
filter();
