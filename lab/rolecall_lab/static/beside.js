// Make the frame of a diagram as high as the diagram, which the observer's page reports.
const frame = document.querySelector(".beside iframe");
const observer = new URL(frame.src).origin;

addEventListener("message", ({ origin, source, data }) => {
  if (origin === observer && source === frame.contentWindow && Number.isFinite(data.height)) {
    const borders = frame.offsetHeight - frame.clientHeight;
    frame.style.height = `${Math.min(data.height, 20000) + borders}px`;
  }
});
