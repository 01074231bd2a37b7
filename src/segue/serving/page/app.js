// The page: one form for each job that the server does. No framework, no build.
// The address's part after # holds the job, the sample and the question, so that what is seen can be shared.
import { $, button, dataUrl, make, save, state, working } from "./page.js";
import { ask, picture } from "./server.js";
import { listen, paint, view, zoomTo } from "./view.js";
import { JOBS, merged } from "./jobs.js";
import { firstBox, setBoxes } from "./boxes.js";
import { coco, code } from "./code.js";

// ------------------------------------------------------------------------------------------------ the picture

// A question that is asked meanwhile waits for the picture.
function take(blob, sample = null) {
  state.taking = read(blob, sample);
  return state.taking;
}

async function read(blob, sample) {
  $("error").textContent = "";
  const data = await dataUrl(blob);
  try {
    view.image = await createImageBitmap(blob);
  } catch {
    $("error").textContent = "That file is no picture that can be read; PNG, JPEG and WebP can.";
    return;
  }
  Object.assign(state, { data, sample, name: blob.name ?? (sample ? `${sample.name}.png` : "picture.png") });
  for (const one of $("samples").children) one.setAttribute("aria-pressed", String(one.dataset.sample === (sample?.name ?? state.name)));
  zoomTo(1);
  clear();
  suit();
  paint();
}

// The form after another picture: a box on it, what is known of a sample, a model that learned from such pictures.
function suit() {
  const form = $("form"), job = JOBS[state.job], { sample } = state;
  $("nothing").hidden = job.picture !== "optional" || !state.data;
  if (!view.image) return;
  if (job.tool) firstBox();
  if (!sample) return;
  const fits = state.models.find((one) => one.jobs.includes(state.job) && one.synthetic === sample.synthetic);
  job.sample?.(form, sample);
  if (form.elements.model && fits) form.elements.model.value = fits.name;
}

// Own pictures stand before the samples, so that several can be gone through, and asked the same.
async function takeAll(files) {
  const isPicture = (one) => one.type.startsWith("image/") || !one.type, found = [...files].filter(isPicture), others = [...files].filter((one) => !isPicture(one));
  if (!found.length && !others.length) return;
  state.own = true;
  if (found.length > 1 || state.files.length) {
    state.files.push(...found);
    offer();
    $("samples").prepend(...found.map((file) => make("button", { type: "button", "data-sample": file.name, title: file.name, onclick: () => take(file) }, make("img", { src: URL.createObjectURL(file), alt: file.name }))));
  }
  if (found.length) await take(found[0]);
  if (others.length) $("error").textContent = `No picture, and left out: ${others.map((one) => one.name).join(", ")}`;
}

for (const id of ["file", "camera"]) $(id).addEventListener("change", (event) => takeAll(event.target.files));
$("nothing").addEventListener("click", () => { view.image = state.data = state.sample = null; clear(); suit(); paint(); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") takeAll(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;  // words go where the cursor is
  event.preventDefault();
  takeAll(event.clipboardData.files);
});
for (const kind of ["focus", "blur"]) $("view").addEventListener(kind, () => { if (view.tool?.paint) paint(); });  // a layout's cross

// ------------------------------------------------------------------------------------------------ asking

let stop = new AbortController();

// What is seen of an answer is put away, what is under way is stopped.
function clear() {
  state.turn++;
  stop.abort();
  Object.assign(state, { result: null, asked: null, moved: null, threshold: null });
  Object.assign(view, { layers: [], lit: null, least: 0, tool: JOBS[state.job].tool ?? null });
  $("answer").replaceChildren();
  $("save").hidden = $("code").hidden = $("strict").hidden = $("way").hidden = true;
  $("origin").textContent = "";
}

// The answer to some bodies, one after the other.
async function answer(job, bodies, signal, told = (share) => { $("progress").value = share; }) {
  const results = [], tell = (share) => told((results.length + share) / bodies.length);
  for (const body of bodies) results.push(await ask(job, body, { signal, ...(JOBS[job].told ? { told: tell } : {}) }));
  return merged(bodies, results);
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await state.taking;
  const job = JOBS[state.job], form = $("form"), { model } = form.elements;
  if (job.picture === true && !state.data) { $("error").textContent = "First choose a picture, or a sample."; return; }
  const every = event.submitter?.name === "every";
  state.turn++;  // an answer that is under way is not wanted any more
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  await working(event.submitter ?? form.querySelector("button.go"), async (current) => {
    const bodies = job.asks(form, every).map((body) => ({ ...body, ...(model ? { model: model.value } : {}) }));
    $("progress").removeAttribute("value");
    $("way").hidden = false;
    try {
      const result = await answer(state.job, bodies, signal);
      if (!current()) return;
      $("way").hidden = true;
      state.asked = bodies;
      if (state.sample || !state.data) history.replaceState(null, "", `#${address()}`);
      await show(result, current);
      if (matchMedia("(max-width: 44rem)").matches) $("error").scrollIntoView({ block: "start" });  // below the picture, which stays
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      if (current()) $("way").hidden = true;
    }
  });
});

// The button, where there are several pictures and a job that asks the same of each.
function offer() {
  $("several").hidden = state.files.length < 2 || !JOBS[state.job].each;
  $("all").textContent = `Ask this of all ${state.files.length} pictures`;
}

// The same question, of each of one's own pictures.
$("all").addEventListener("click", () => {
  const name = state.job, job = JOBS[name], form = $("form"), { model } = form.elements;
  if (!form.reportValidity()) return undefined;
  state.turn++;
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  return working($("all"), async (current) => {
    const threshold = state.threshold === null ? {} : { threshold: state.threshold };
    const bodies = job.asks(form).map((body) => ({ ...body, ...threshold, ...(model ? { model: model.value } : {}) }));
    $("way").hidden = false;
    try {
      const { askEach } = await import("./several.js");  // not on the way to the first answer
      await askEach(bodies, {
        signal, told: (share) => { $("progress").value = share; }, ask: (mine) => answer(name, mine, signal, () => {}),
        again: async (file, mine, result) => {
          if (state.job !== name) open(name);
          await take(file);
          state.asked = mine;
          await show(result);
          $("panel").scrollIntoView({ block: "start" });
        },
      });
      if (current()) $("every").scrollIntoView({ block: "start" });
    } finally {
      if (current()) $("way").hidden = true;
    }
  });
});

$("cancel").addEventListener("click", () => stop.abort());

async function show(result, current = () => true) {
  const more = (fields) => answer(state.job, asked().map((body) => ({ ...body, ...fields })));
  const job = JOBS[state.job], shown = await job.show(result, () => show(result), more);
  if (!current()) return;
  Object.assign(state, { result, moved: shown.moved, threshold: null });
  Object.assign(view, { layers: shown.layers ?? [], lit: null, least: 0, tool: job.tool ?? null });
  $("answer").replaceChildren(...shown.elements);
  $("strict").hidden = !shown.scores;
  if (job.least) {
    $("strict").firstElementChild.textContent = job.least.words;
    $("least").value = job.least.value();
    tellLeast();
  }
  paint();
  $("save").hidden = false;
  $("coco").hidden = !["segment/note", "segment/labels", "describe"].includes(state.job);
  $("code").hidden = false;
  writeCode();
  const model = state.models.find((one) => one.name === result.model), made = model.about.recipe ?? "unknown recipe";
  const data = model.synthetic ? ", trained on synthetic pictures only" : model.about.data ? `, trained on ${model.about.data}` : "";
  $("origin").textContent = `Answered by ${result.model} (${model.about.method ?? "?"}, ${made}${data}).`
    + (model.medical ? " Not for diagnosis." : "")
    + (result.out_of_domain ? " The picture is unlike those that the model learned from: this answer may be wrong." : "")
    + (result.note_doubts ?? []).map((doubt) => ` ${doubt[0].toUpperCase()}${doubt.slice(1)}.`).join("");
}

const tellLeast = () => { $("strict").lastElementChild.textContent = `${Math.round(100 * Number($("least").value))} %`; };

$("least").addEventListener("input", () => {
  if (state.moved) state.moved(Number($("least").value));
  else view.least = Number($("least").value);
  tellLeast();
  writeCode();
  paint();
});

// ------------------------------------------------------------------------------------------------ taking it along

// The bodies that were asked, as they are asked again: with the threshold that the person chose since.
const asked = () => state.asked.map((body) => state.threshold === null ? body : { ...body, threshold: state.threshold });

function writeCode() {
  $("code").replaceChildren($("code").firstElementChild, ...code(state.job, state.name ?? "picture.png", asked(), state.result.model).flatMap(([name, words]) => {
    const pressed = button(`Copy ${name}`, () => working(pressed, () => copy(words, pressed)));
    return [pressed, make("pre", { tabindex: 0, "aria-label": name }, words)];
  }));
}

async function copy(words, pressed) {
  if (navigator.clipboard) return navigator.clipboard.writeText(words);
  const area = make("textarea");  // plain http from another machine has no clipboard of its own
  area.value = words;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  pressed.focus();
}

$("copy").addEventListener("click", () => working($("copy"), () => copy(JSON.stringify({ ...state.result, probability: undefined }, null, 1), $("copy"))));
$("png").addEventListener("click", () => working($("png"), async () => {
  if (!state.result.layouts || view.tool?.paint) return $("view").toBlob((blob) => save("segue.png", blob));
  for (const [i, one] of state.result.layouts.entries()) save(`layout-${i + 1}.png`, new Blob([Uint8Array.from(atob(one.layout), (c) => c.charCodeAt(0))], { type: "image/png" }));
}));
$("coco").addEventListener("click", () => working($("coco"), async () => {
  const result = await answer(state.job, asked().map((body) => ({ ...body, masks: "polygons" })));
  save("segue.json", new Blob([JSON.stringify(coco(result))], { type: "application/json" }));
}));

// The answer beside others: of another note, another model, another picture.
$("keep").addEventListener("click", () => working($("keep"), async () => {
  const fields = [...$("form").elements].filter((one) => ["note", "labels", "caption"].includes(one.name) && one.value).map((one) => one.value);
  const answered = $("answer").cloneNode(true), gone = () => { figure.remove(); $("kept").hidden = !$("kept").querySelector("figure"); };
  for (const one of answered.querySelectorAll("button, input, select, [id], [tabindex]")) { one.removeAttribute("id"); one.inert = true; }
  const image = await new Promise((done) => $("view").toBlob((blob) => done(URL.createObjectURL(blob))));
  const figure = make("figure", {},
    ...(view.image || view.tool?.paint ? [make("img", { src: image, alt: $("view").getAttribute("aria-label") })] : []),
    make("figcaption", {}, make("strong", {}, [JOBS[state.job].title, ...fields].join(": ")), ...answered.childNodes, make("p", { class: "faint" }, `by ${state.result.model ?? "the same model"}`)), button("Remove", gone));
  $("kept").append(figure);
  $("kept").hidden = false;
}));

// ------------------------------------------------------------------------------------------------ the frame

// Which model is asked, where more than one does the job.
function choice(job) {
  const names = state.models.filter((one) => one.jobs.includes(job)).map((one) => one.name);
  return names.length > 1 ? [make("label", {}, "Model", make("select", { name: "model" }, ...names.map((name) => make("option", {}, name))))] : [];
}

// Each job's form and answer, as they were left.
const left = new Map();
const SEEN = ["save", "code", "strict"];

function leave() {
  left.set(state.job, {
    form: [...$("form").childNodes], answer: [...$("answer").childNodes], origin: $("origin").textContent, seen: SEEN.filter((id) => !$(id).hidden),
    least: $("least").value, state: { result: state.result, asked: state.asked, moved: state.moved, threshold: state.threshold },
    view: { layers: view.layers, boxes: view.boxes, chosen: view.chosen, least: view.least, tool: view.tool }, image: view.image,
  });
}

// Returns whether the job was never open before.
function open(name) {
  const job = JOBS[name], before = left.get(name);
  if (state.job) leave();
  state.job = name;
  for (const tab of $("tabs").children) {
    tab.setAttribute("aria-selected", String(tab.dataset.job === name));
    tab.tabIndex = tab.dataset.job === name ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${name}`);
  $("form").replaceChildren(...before?.form ?? [...job.fields(), ...choice(name), make("button", { class: "go", type: "submit" }, job.title),
    ...(job.every ? [make("button", { type: "submit", name: "every", formnovalidate: true }, "Every object")] : [])]);
  $("hint").textContent = job.hint;
  offer();
  $("error").textContent = "";
  clear();
  Object.assign(view, { boxes: [], chosen: 0 });
  if (before && before.image === view.image) again(before);
  else suit();
  const rows = [...$("samples").children], suits = (row) => { const one = state.samples.find((sample) => sample.name === row.dataset.sample); return !one || job.fits(one) ? 0 : 1; };
  $("samples").append(...rows.sort((a, b) => suits(a) - suits(b) || a.dataset.place - b.dataset.place));
  paint();
  return !before;
}

// What was left is shown again.
function again(before) {
  const job = JOBS[state.job];
  Object.assign(state, before.state);
  Object.assign(view, before.view);
  if (job.tool && view.image && !view.boxes.length) firstBox();
  $("answer").replaceChildren(...before.answer);
  $("origin").textContent = before.origin;
  for (const id of before.seen) $(id).hidden = false;
  $("nothing").hidden = job.picture !== "optional" || !state.data;
  if (!state.result) return;
  $("coco").hidden = !["segment/note", "segment/labels", "describe"].includes(state.job);
  if (job.least) $("strict").firstElementChild.textContent = job.least.words;
  $("least").value = before.least;
  tellLeast();
  if (state.asked) writeCode();
}

const sampled = (one) => one.picture ??= picture(`samples/${one.name}.png`);  // asked for once

// The job's example, answered.
async function solve(name) {
  const { example } = JOBS[name], sample = state.samples.find((one) => one.name === example.sample) ?? state.samples.find(JOBS[name].fits);
  if (example.sample && !sample) return;
  if (example.sample) await take(await sampled(sample), sample);
  else $("nothing").click();
  if (state.job !== name) return;
  if (!example.sample || sample.name === example.sample) for (const [field, value] of Object.entries(example.fields ?? {})) $("form").elements[field].value = value;
  $("form").requestSubmit($("form").querySelector("button.go"));
}

$("tabs").addEventListener("keydown", (event) => {
  const tabs = [...$("tabs").children], here = tabs.indexOf(document.activeElement);
  const there = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (there === undefined || here < 0) return;
  event.preventDefault();
  tabs.at(there % tabs.length).focus();
});

// The job, the sample and the fields of the question that was asked.
function address() {
  const fields = [...$("form").elements].filter((one) => one.name && one.type !== "submit" && one.value).map((one) => [one.name, one.value]);
  const boxes = view.boxes.length > 1 ? [["boxes", view.boxes.map((box) => box.join()).join(";")]] : [];
  return new URLSearchParams([["job", state.job], ...(state.sample ? [["sample", state.sample.name]] : []), ...fields, ...boxes]);
}

// What the address asks, or else the first job with its example, answered; then each other job opens with its own.
async function opening(offered) {
  const asked = new URLSearchParams(location.hash.slice(1)), job = offered.includes(asked.get("job")) ? asked.get("job") : offered[0];
  state.own = asked.has("job");
  open(job);
  if (!state.own) return solve(job);
  const sample = state.samples.find((one) => one.name === asked.get("sample"));
  if (sample) await take(await sampled(sample), sample);
  for (const input of $("form").elements) if (asked.has(input.name)) input.value = asked.get(input.name);
  const boxes = asked.get("boxes") ?? ["x", "y", "width", "height"].map((name) => asked.get(name)).join();
  if (JOBS[job].tool && view.image && asked.has("x")) setBoxes(boxes.split(";").map((box) => box.split(",").map(Number)));
  if (sample || asked.has("caption")) $("form").requestSubmit($("form").querySelector("button.go"));
}

async function begin() {
  try {
    state.models = await ask("models");
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  state.samples = await ask("samples");
  const offered = Object.keys(JOBS).filter((job) => state.models.some((model) => model.jobs.includes(job)));
  $("tabs").replaceChildren(...offered.map((job) => make("button", {
    type: "button", role: "tab", id: `tab-${job}`, "data-job": job, "aria-controls": "panel", onclick: () => { if (state.job !== job && open(job) && !state.own) solve(job); },
  }, JOBS[job].title)));
  $("samples").replaceChildren(...state.samples.map((one, i) => make("button", {
    type: "button", "data-sample": one.name, "data-place": i, disabled: true, onclick: async () => { state.own = true; await take(await sampled(one), one); },
  }, make("img", { alt: `${one.alt}, sample ${one.name}` }))));
  const rows = [...$("samples").children].map(async (row, i) => {
    row.firstElementChild.src = URL.createObjectURL(await sampled(state.samples[i]));
    row.disabled = false;
  });
  if (offered.length) await opening(offered);
  await Promise.all(rows);
}

listen();
document.querySelector(".token").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
$("token").addEventListener("change", begin);
begin();
