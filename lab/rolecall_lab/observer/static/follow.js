// Following: the page jumps to the flow that was started last, in any browser.
const page = document.querySelector("[data-starts]");
const switches = document.querySelectorAll("[data-follow]");
let source = null;

const isFollowing = () => [...switches].some((each) => each.getAttribute("aria-checked") === "true");

function jump(flow) {
  const address = new URL(`/flows/${flow}`, location);
  const query = new URLSearchParams(location.search);
  for (const name of ["present", "view"]) {
    if (query.has(name)) address.searchParams.set(name, query.get(name));
  }
  if (!page.dataset.flow) address.searchParams.set("present", "");
  address.searchParams.set("follow", "");
  location.replace(address);
}

function listen() {
  const address = new URL(page.dataset.starts, location);
  address.searchParams.set("version", page.dataset.started);
  source = new EventSource(address);
  source.onmessage = (event) => {
    page.dataset.started = event.lastEventId;
    const { flow } = JSON.parse(event.data);
    if (flow !== page.dataset.flow) jump(flow);
  };
}

function remember(is) {
  const address = new URL(location);
  if (is) address.searchParams.set("follow", "");
  else address.searchParams.delete("follow");
  history.replaceState(null, "", address);
}

function turn(is) {
  for (const each of switches) {
    each.setAttribute("aria-checked", String(is));
    each.querySelector("span").textContent = is ? "Following" : "Follow";
  }
  remember(is);
  source?.close();
  source = null;
  if (is) listen();
}

for (const each of switches) {
  each.addEventListener("click", (event) => {
    if (!page.dataset.flow) return; // the list's switch is a link to the list that does not follow
    event.preventDefault();
    turn(!isFollowing());
  });
}
if (isFollowing()) listen();
