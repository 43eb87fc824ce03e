// What HTML alone cannot do: play a thumbnail or a voice, copy a text, and rest while nobody looks.
"use strict";

// Nothing is asked for while the page is in the background, or while a thumbnail of it plays.
document.addEventListener("htmx:beforeRequest", (event) => {
  const rests = document.hidden || event.target.querySelector(".thumb video");
  if (rests && event.detail.requestConfig.verb === "get") event.preventDefault();
});

// Where a part that renews itself is not answered, the page says since when.
let heardAt = new Date();
const isPoll = (event) => /every|change-of-job/.test(event.detail.requestConfig.elt.getAttribute("hx-trigger"));
for (const kind of ["sendError", "responseError", "timeout"]) {
  document.addEventListener(`htmx:${kind}`, (event) => {
    if (!isPoll(event) || document.querySelector("#stale")) return;
    const notice = document.createElement("p"), time = heardAt.toISOString().slice(11, 19);
    Object.assign(notice, { id: "stale", className: "notice bad", role: "alert" });
    notice.textContent = `No answer since ${time} UTC: what is shown here is old.`;
    document.querySelector("main").prepend(notice);
  });
}
document.addEventListener("htmx:afterRequest", (event) => {
  if (!isPoll(event) || !event.detail.successful) return;
  heardAt = new Date();
  document.querySelector("#stale")?.remove();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it and press Ctrl+C";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

// A thumbnail plays its video while it is pointed at.
document.addEventListener("mouseover", (event) => {
  const thumb = event.target.closest(".thumb[data-video]");
  if (!thumb || thumb.querySelector("video")) return;
  const video = document.createElement("video");
  Object.assign(video, { src: thumb.dataset.video, muted: true, loop: true, playsInline: true, autoplay: true });
  thumb.append(video);
  thumb.addEventListener("mouseleave", () => video.remove(), { once: true });
});

// A cell that is cut off shows all of its text where one points.
document.addEventListener("mouseover", (event) => {
  const cell = event.target.closest(".cut");
  if (cell && !cell.title && cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent.trim();
});

// An open menu closes by Escape, and by a click beside it.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details.confirm[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.confirm[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// A chosen or dropped file is shown by its picture, or by its name.
document.addEventListener("change", (event) => {
  const input = event.target;
  if (input.matches(".drop input")) {
    const [file] = input.files, name = input.parentElement.querySelector("[data-drop-name]");
    input.parentElement.querySelector("img")?.remove();
    input.closest(".drop-field").querySelector(".drop-clear").hidden = !file;
    name.dataset.hint ??= name.textContent;
    name.textContent = name.dataset.hint;
    if (!file) return;
    name.textContent = `${file.name}, ${(file.size / 1e6).toFixed(1)} MB`;
    if (file.type.startsWith("image/")) {
      const image = document.createElement("img");
      image.alt = "";
      image.src = URL.createObjectURL(file);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      input.before(image);
    }
  }
  // Each model has limits of its own: another one has another form, with what was written.
  if (input.matches("form[data-form] [data-model]")) {
    const url = new URL(input.form.dataset.form, location.href), words = {};
    url.searchParams.set("model", input.value);
    for (const name of ["prompt", "text", "negative_prompt"]) {
      if (input.form.elements[name]) words[name] = input.form.elements[name].value;
    }
    sessionStorage.setItem("words", JSON.stringify(words));
    location.assign(url);
  }
});
for (const [name, text] of Object.entries(JSON.parse(sessionStorage.getItem("words") ?? "{}"))) {
  const field = document.querySelector(`form[data-form] [name="${name}"]`);
  if (field) field.value = text;
}
sessionStorage.removeItem("words");

// A chosen file can be taken away again.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".drop-clear");
  if (!button) return;
  const input = button.parentElement.querySelector("input");
  input.value = "";
  input.dispatchEvent(new Event("change", { bubbles: true }));
  input.focus();
});

// An estimate needs only the head of a picture or video, which tells its size; all of a sound.
document.addEventListener("htmx:configRequest", (event) => {
  const { elt, formData } = event.detail;
  if (!("heads" in elt.dataset)) return;
  for (const [name, file] of [...formData]) {
    if (file instanceof File && name !== "audio") formData.set(name, file.slice(0, 1 << 18), file.name);
  }
});

// A number out of its field's bounds costs nothing: the field says what it may be.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.target;
  const field = part.id === "estimate" && part.closest("form").querySelector("[type=number]:invalid");
  if (!field) return;
  event.preventDefault();
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = `${field.labels[0].firstChild.textContent}: ${field.validationMessage}`;
  part.replaceChildren(hint);
});

// A field that the browser refuses is brought into sight.
document.addEventListener("invalid", (event) => {
  const fold = event.target.closest("details");
  if (fold) fold.open = true;
}, true);

// A file may be dropped on its field: browsers do that by themselves.
for (const kind of ["dragenter", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.target.closest?.(".drop")?.classList.toggle("over", kind === "dragenter");
  });
}

// On a phone a row of a table is a card, whose cells say by themselves what they are.
document.addEventListener("htmx:load", (event) => {
  for (const table of event.target.querySelectorAll("table.fold")) {
    const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
    for (const row of table.tBodies[0].rows) {
      let column = 0;
      for (const cell of row.cells) {
        if (cell.colSpan < names.length) cell.dataset.label = names[column];
        column += cell.colSpan;
      }
    }
  }
});

// On a phone the pages are in one line: the one that is open is brought into sight.
document.querySelector(".side nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// A job is shown anew at each event of its stream, and as often without one. A tab that nobody looks
// at holds no connection: browsers have six for all tabs.
let stream = null, poll = null;
const liveJob = () => document.querySelector("#live[data-events]");
const showJob = () => liveJob()?.dispatchEvent(new Event("change-of-job"));
function followJob() {
  const live = liveJob();
  stream?.close();
  clearInterval(poll);
  stream = null;
  if (!live || document.hidden) return;
  stream = new EventSource(live.dataset.events);
  stream.addEventListener("open", () => clearInterval(poll));
  stream.addEventListener("change", showJob);
  stream.addEventListener("error", () => { clearInterval(poll); poll = setInterval(showJob, 1500); });
}
document.addEventListener("visibilitychange", followJob);
document.addEventListener("htmx:load", () => { if (stream && !liveJob()) followJob(); }); // it is final
followJob();

// A voice is heard by its sample, which may have to be spoken first.
const player = new Audio();
let playing = null;
const rest = () => {
  if (playing) playing.textContent = "Play";
  player.pause();
  playing = null;
};
player.addEventListener("ended", rest);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-play]");
  if (!button) return;
  const isStop = button === playing;
  rest();
  if (isStop) return;
  playing = button;
  button.textContent = "Loading…";
  try {
    const answer = await fetch(button.dataset.play, { headers: { "HX-Request": "true" } });
    if (answer.headers.get("Content-Type") !== "audio/wav") throw new Error(await textOf(answer));
    const sound = await answer.blob();
    if (playing !== button) return;
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(sound);
    await player.play();
    button.textContent = "Stop";
  } catch (error) {
    if (playing === button) rest();
    button.textContent = error.message || "Log in again";
  }
});

async function textOf(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.body.textContent.trim();
}
