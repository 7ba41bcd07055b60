// Live updates of a page, and the note that shows whether they arrive.
const note = document.getElementById("live");

function say(text, state) {
  note.textContent = text;
  note.className = `live ${state}`;
}

// Call `show` with each update of the element's page; `things` are what is not updated while Redis is unavailable.
export function listen(element, things, show) {
  const address = new URL(element.dataset.live, location);
  address.searchParams.set("version", element.dataset.version);
  const source = new EventSource(address);
  source.onopen = () => say("Live", "on");
  source.onerror = () => say(source.readyState === EventSource.CLOSED ? "Not live: reload the page" : "Reconnecting …", "off");
  source.onmessage = (event) => {
    const data = JSON.parse(event.data);
    show(data);
    say(data.away ? `Redis is unavailable: no new ${things}` : "Live", data.away ? "off" : "on");
  };
}
