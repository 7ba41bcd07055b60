// Sends the token with both methods repeatedly, and writes the results into the table.
// Without this script, the button "Measure again" sends it once.
const PAUSE = 200; // milliseconds from one request to the next
const LONGEST = 20000;

const status = document.getElementById("measuring");
const button = document.getElementById("again");

async function question() {
  const token = button.form.elements.csrf_token.value;
  const headers = { "X-CSRFToken": token, Accept: "application/json" };
  const answer = await fetch(status.dataset.address, { method: "POST", headers });
  if (!answer.ok) throw new Error(`Tally responded with ${answer.status}`);
  return answer.json();
}

function write(cells) {
  for (const [id, [tone, ...texts]] of Object.entries(cells)) {
    const cell = document.getElementById(id);
    if (!cell) continue;
    cell.children[0].className = `tag ${tone}`;
    texts.forEach((text, place) => {
      cell.children[place].textContent = text;
    });
  }
}

async function measure() {
  button.disabled = true;
  status.textContent = "Measuring, for 20 seconds at most …";
  const began = performance.now();
  try {
    for (let goingOn = true; goingOn; ) {
      const asked = performance.now();
      const found = await question();
      write(found.cells);
      goingOn = found.going_on && performance.now() - began < LONGEST;
      if (goingOn) await new Promise((go) => setTimeout(go, Math.max(0, asked + PAUSE - performance.now())));
    }
    status.textContent = "Measured.";
  } catch (error) {
    status.textContent = `Measuring stopped: ${error.message}. Reload the page.`;
  }
  button.disabled = false;
}

if (status && button) {
  button.form.addEventListener("submit", (event) => {
    event.preventDefault();
    measure();
  });
  if (status.dataset.begin) measure();
}
