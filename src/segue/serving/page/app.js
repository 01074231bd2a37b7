// The page: one form for each job that the server does. No framework, no build.
// The address's part after # holds the job, the sample and the question, so that what is seen can be shared.
import { greyPng } from "./png.js";

const $ = (id) => document.getElementById(id);
const COLOURS = ["#e6503c", "#3282e6", "#3caa5a", "#dca01e", "#965ad2", "#1eaab4", "#dc5aa0"];
const state = { job: null, image: null, data: null, sample: null, box: null, masks: [], lit: null, result: null, asked: null, models: [], samples: [], layout: null, turn: 0 };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  if (answer.status === 401) document.querySelector(".token").hidden = false;
  const result = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(result.error);
  return result;
}

async function picture(path) {
  const headers = $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
  return (await fetch(path, { headers })).blob();
}

// ------------------------------------------------------------------------------------------------ the jobs

const field = (label, name, more = {}) => make("label", {}, label, make("input", { name, ...more }));
const text = (form, name) => form.elements[name].value.trim();

// example: of the samples that which the job is shown with at first.
const JOBS = {
  caption: {
    title: "Caption",
    picture: true,
    example: (one) => one.name === "photo-motorcycle_left",  // of a kind that the captioner knows; the others are a click away
    hint: "The captioner learned from text alone.",
    fields: () => [field("How many captions", "num", { type: "number", min: 1, max: 10, value: 3 })],
    asked: (form) => ({ image: state.data, num: Number(text(form, "num")) }),
    show: async (result) => [list(result.captions)],
  },
  "segment/labels": {
    title: "Name the pixels",
    picture: true,
    example: (one) => one.labels,
    hint: "Any names, with commas between them.",
    fields: () => [field("Labels", "labels", { placeholder: "dog, grass, sky", required: true })],
    sample: (form, one) => { if (one.labels) form.elements.labels.value = one.labels.join(", "); },
    asked: (form) => ({ image: state.data, labels: text(form, "labels").split(",").map((name) => name.trim()).filter(Boolean), masks: "png" }),
    show: async (result) => {
      const there = result.classes.filter((one) => one.area);
      await showMasks(there.map((one) => ({ mask: one.mask, name: one.label })));
      return [legend(there.map((one) => `${one.label} ${(100 * one.share).toFixed(1)}%`))];
    },
  },
  describe: {
    title: "Describe a box",
    picture: true,
    example: (one) => one.regions,
    box: true,
    every: true,
    hint: "Draw a box with the mouse, or move it by the arrow keys (with Shift: its size). Point at a phrase to light its mask; click it to ask about that.",
    fields: () => [
      make("div", { class: "boxes" }, ...["x", "y", "width", "height"].map((name) => field(name, name, { type: "number", min: 0, required: true }))),
      field("What is in it, if nothing of the picture is known", "label", { placeholder: "dog" }),
      field("Words it must have", "include", { placeholder: "dog" }),
      field("Captions", "num", { type: "number", min: 1, max: 10, value: 5 }),
    ],
    asked: (form, every) => ({
      image: state.data,
      ...(every ? { every } : { box: ["x", "y", "width", "height"].map((name) => Number(text(form, name))) }),
      include: text(form, "include").split(/[ ,]+/).filter(Boolean),
      num: Number(text(form, "num")),
      ...(text(form, "label") && !every ? { label: text(form, "label") }
        : state.sample?.regions ? { regions: state.sample.regions, relations: state.sample.relations } : {}),
      masks: "png",
    }),
    show: async (result) => {
      const groundings = captionsOf(result).flatMap((caption) => caption.groundings);
      await showMasks(groundings.map((one) => ({ mask: one.mask, name: one.phrase || one.label, box: one.bbox })), false);
      let position = 0;
      return (result.prompts ?? [result]).flatMap(({ prompt, captions }) => [
        ...(prompt ? [make("p", {}, "Around ", make("button", { type: "button", onclick: () => setBox(prompt.box.map(Math.round)) }, `the box ${prompt.box.map(Math.round).join(", ")}`))] : []),
        make("ol", { class: "grounded" }, ...captions.map((caption) => {
          const item = make("li", {}, ...phrases(caption, position), ...scored(caption));
          position += caption.groundings.length;
          return item;
        })),
      ]);
    },
  },
  "segment/note": {
    title: "Outline a note",
    picture: true,
    example: (one) => one.note,
    hint: "Drop a picture or choose a sample, and say what to outline.",
    fields: () => [make("label", {}, "Note", make("textarea", { name: "note", rows: 3, placeholder: "One infected area, upper right lung." }))],
    sample: (form, one) => { if (one.note) form.elements.note.value = one.note; },
    asked: (form) => ({ image: state.data, note: text(form, "note") || null, masks: "png" }),
    show: async (result) => {
      await showMasks([{ mask: result.mask, name: result.note || "the model's own guess" }]);
      const share = `${(100 * result.share).toFixed(1)}% of the picture`;
      return [make("p", {}, `${result.area} pixels, ${share}${result.area ? `, score ${result.score}` : ""}`)];
    },
  },
  draw: {
    title: "Draw a sentence",
    picture: "optional",
    hint: "A picture is optional: then its layout is drawn.",
    fields: () => [
      field("Sentence", "caption", { required: true, placeholder: "a dog left of a red car on the grass" }),
      field("Layouts", "num", { type: "number", min: 1, max: 8, value: 4 }),
      field("Seed", "seed", { type: "number", min: 0, value: 0 }),
    ],
    asked: (form) => ({ caption: text(form, "caption"), num: Number(text(form, "num")), seed: Number(text(form, "seed")), ...(state.data ? { image: state.data } : {}) }),
    show: async (result) => {
      const unseen = result.unseen_words.length ? [make("p", { class: "faint" }, `words that the model hardly knows: ${result.unseen_words.join(", ")}`)] : [];
      const pictures = result.layouts.map((one, i) => make("button", { type: "button", onclick: () => correct(result, i) },
        make("img", { src: `data:image/png;base64,${one.picture}`, alt: `Layout ${i + 1}: ${Object.entries(one.areas).map(([name, share]) => `${name} ${Math.round(100 * share)}%`).join(", ")}` })));
      return [make("div", { class: "layouts" }, ...pictures), make("p", { class: "faint" }, "Click a layout to edit it and caption it."), ...unseen];
    },
  },
};

// Those of one place, or of all objects one after the other.
const captionsOf = (result) => result.prompts?.flatMap((one) => one.captions) ?? result.captions;

// A caption's score in words: the probability that people's captions of such a picture agree with it.
function accepted(score) {
  return `${(100 * score).toFixed(score < 0.1 ? 1 : 0)} % likely that people would say so`;
}

// Nothing where the score is not calibrated: a likelihood says nothing to people.
const scored = (one) => one.score == null ? [] : [make("div", { class: "score" }, accepted(one.score))];

function list(captions) {
  return make("ol", {}, ...captions.map((one) => make("li", {}, one.text, ...scored(one))));
}

function legend(names, colours = COLOURS) {
  return make("ul", { class: "legend" }, ...names.map((name, i) => make("li", {}, make("span", { class: "swatch", style: { background: colours[i % colours.length] } }), name)));
}

function phrases(caption, first) {
  const parts = [], found = caption.groundings.map((one, i) => ({ ...one, place: first + i })).sort((a, b) => a.start - b.start);
  let end = 0;
  for (const one of found) {
    if (one.start < end) continue;
    parts.push(caption.caption.slice(end, one.start));
    const same = found.filter((other) => other === one || (one.end && other.start === one.start && other.end === one.end));  // a phrase of several things
    const light = (on) => () => { state.lit = on ? same.map((other) => other.place) : null; paint(); };
    parts.push(make("button", {
      type: "button", class: "phrase", style: { "--c": COLOURS[one.place % COLOURS.length] }, title: `${one.label} ${one.score}`,
      onmouseenter: light(true), onmouseleave: light(false), onfocus: light(true), onblur: light(false),
      onclick: () => { setBox(one.bbox.map(Math.round)); $("form").requestSubmit(); },
    }, one.phrase));
    end = one.end;
  }
  return [...parts, caption.caption.slice(end)];
}

// ------------------------------------------------------------------------------------------------ the picture

async function bitmap(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

async function showMasks(found, all = true) {
  const turn = state.turn, masks = [];
  for (const [i, one] of found.entries()) {  // one after the other, each within its box: of a photograph's many objects all whole would be gigabytes
    const image = await bitmap(one.mask), [x, y, width, height] = one.box ?? [0, 0, image.width, image.height];
    if (turn !== state.turn) return;
    const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d");
    pen.drawImage(image, -x, -y);
    const pixels = pen.getImageData(0, 0, width, height), colour = COLOURS[i % COLOURS.length];
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    for (let p = 0; p < pixels.data.length; p += 4) pixels.data.set([r, g, b, pixels.data[p] ? 150 : 0], p);
    pen.putImageData(pixels, 0, 0);
    masks.push({ canvas, x: x / image.width, y: y / image.height, width: width / image.width, height: height / image.height, name: one.name });
  }
  if (turn !== state.turn) return;
  Object.assign(state, { masks, all, lit: null });
  paint();
}

function paint() {
  const view = $("view"), pen = view.getContext("2d");
  view.classList.toggle("drawing", Boolean(state.layout || (state.image && JOBS[state.job].box)));
  if (state.layout) return paintLayout(view, pen);
  if (!state.image) {
    view.width = 320; view.height = 200;
    pen.clearRect(0, 0, 320, 200);
    pen.fillStyle = "#888"; pen.font = "16px sans-serif"; pen.textAlign = "center";
    pen.fillText("drop a picture here", 160, 105);
    view.setAttribute("aria-label", "No picture yet");
    return;
  }
  view.width = state.image.width; view.height = state.image.height;
  pen.drawImage(state.image, 0, 0);
  const shown = state.masks.filter((_, i) => state.lit?.includes(i) ?? state.all);
  for (const one of shown) pen.drawImage(one.canvas, one.x * view.width, one.y * view.height, one.width * view.width, one.height * view.height);
  if (state.box && JOBS[state.job].box) {
    pen.lineWidth = Math.max(1, view.width / 200); pen.strokeStyle = "#fff"; pen.strokeRect(...state.box);
    pen.setLineDash([6, 4]); pen.strokeStyle = "#000"; pen.strokeRect(...state.box); pen.setLineDash([]);
  }
  const seen = [...new Set(shown.map((one) => one.name))];
  view.setAttribute("aria-label", `Picture ${view.width} by ${view.height}${seen.length ? `, outlined: ${seen.join(", ")}` : ""}`);
}

// A question that is asked meanwhile waits for the picture.
function take(blob, sample = null) {
  state.taking = read(blob, sample);
  return state.taking;
}

async function read(blob, sample) {
  $("error").textContent = "";
  const reader = new FileReader();
  const data = await new Promise((done) => { reader.onload = () => done(reader.result); reader.readAsDataURL(blob); });
  try {
    state.image = await createImageBitmap(blob);
  } catch {
    $("error").textContent = "That file is no picture that can be read; PNG, JPEG and WebP can.";
    return;
  }
  Object.assign(state, { data, sample, name: blob.name ?? (sample ? `${sample.name}.png` : "picture.png"), masks: [], layout: null, result: null, box: null });
  const { width, height } = state.image;
  if (JOBS[state.job].box) setBox(sample?.regions?.[0]?.box ?? [width / 4, height / 4, width / 2, height / 2].map(Math.round));
  if (sample) fill(sample);
  $("nothing").hidden = JOBS[state.job].picture !== "optional";
  clear();
  paint();
}

// What is known of a sample goes into the form, and a model that learned from such pictures is chosen.
function fill(sample) {
  const form = $("form"), fits = state.models.find((one) => one.jobs.includes(state.job) && one.synthetic === sample.synthetic);
  JOBS[state.job].sample?.(form, sample);
  if (form.elements.model && fits) form.elements.model.value = fits.name;
}

function setBox(box) {
  state.box = box;
  const form = $("form");
  if (form.elements.x) ["x", "y", "width", "height"].forEach((name, i) => { form.elements[name].value = box[i]; });
  paint();
}

function at(event) {
  const view = $("view"), frame = view.getBoundingClientRect(), scale = Math.max(view.width / frame.width, view.height / frame.height);
  const left = frame.left + (frame.width - view.width / scale) / 2, top = frame.top + (frame.height - view.height / scale) / 2;
  return [(event.clientX - left) * scale, (event.clientY - top) * scale].map((v, i) => Math.min(Math.max(v, 0), i ? view.height : view.width));
}

let start = null;
$("view").addEventListener("pointerdown", (event) => { start = at(event); $("view").setPointerCapture(event.pointerId); if (state.layout) brush(event); });
$("view").addEventListener("pointermove", (event) => {
  if (!start) return;
  if (state.layout) return brush(event);
  if (!state.image || !JOBS[state.job].box) return;
  const end = at(event), [x, y] = [0, 1].map((i) => Math.round(Math.min(start[i], end[i])));
  setBox([x, y, Math.max(1, Math.round(Math.abs(end[0] - start[0]))), Math.max(1, Math.round(Math.abs(end[1] - start[1])))]);
});
for (const end of ["pointerup", "pointercancel"]) $("view").addEventListener(end, () => { start = null; });
for (const kind of ["focus", "blur"]) $("view").addEventListener(kind, () => { if (state.layout) paint(); });  // its cross
$("view").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (state.layout && (step || event.key === " ")) {
    event.preventDefault();
    const { cursor, width, height } = state.layout;
    if (step) [width, height].forEach((end, i) => { cursor[i] = Math.min(Math.max(cursor[i] + 4 * step[i], 0), end - 1); });
    return step ? paint() : dab(...cursor);
  }
  if (!step || !state.box || !state.image) return;
  event.preventDefault();
  const grow = event.shiftKey ? 2 : 0, box = [...state.box], unit = Math.max(1, Math.round(state.image.width / 50));
  box[grow] += unit * step[0]; box[grow + 1] += unit * step[1];
  setBox(box.map((v, i) => Math.max(v, i > 1 ? 1 : 0)));
});

// ------------------------------------------------------------------------------------------------ layouts

async function correct(result, i) {
  const image = await bitmap(result.layouts[i].layout), canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, image.width, image.height).data, values = new Uint8Array(image.width * image.height);
  const known = new Map(result.classes.map((one, k) => [one.colour.join(), k]));
  for (let p = 0; p < values.length; p++) values[p] = known.get([...pixels.slice(4 * p, 4 * p + 3)].join()) ?? 255;
  const cursor = [image.width, image.height].map((length) => Math.round(length / 2));
  state.layout = { values, cursor, width: image.width, height: image.height, classes: result.classes, model: result.model };
  const choice = make("select", { id: "class", "aria-label": "Class of the brush" }, ...result.classes.map((one, k) => make("option", { value: k }, one.name)));
  const size = make("input", { id: "brush", type: "range", min: 1, max: 24, value: 6, "aria-label": "Size of the brush" });
  const answer = make("div", { id: "words" });
  const go = make("button", { type: "button", class: "go", onclick: () => working(go, async () => {
    const layout = await greyPng(state.layout.values, state.layout.width, state.layout.height);
    state.result = await ask("caption-layout", { layout, num: 3, model: state.layout.model });
    answer.replaceChildren(list(state.result.captions));
  }) }, "Caption it");
  $("answer").replaceChildren(make("p", {}, "Paint on the layout (or move the cross by the arrow keys and press space), then caption it."), make("div", { class: "row" }, choice, size, go,
    make("button", { type: "button", onclick: () => show(result) }, "Back")), answer);
  paint();
}

function paintLayout(view, pen) {
  const { values, width, height, classes } = state.layout;
  view.width = width; view.height = height;
  const pixels = pen.createImageData(width, height);
  values.forEach((v, p) => pixels.data.set([...(classes[v]?.colour ?? [0, 0, 0]), 255], 4 * p));
  pen.putImageData(pixels, 0, 0);
  if (document.activeElement === view && document.activeElement.matches(":focus-visible")) {
    const [x, y] = state.layout.cursor;
    pen.lineWidth = Math.max(1, width / 128); pen.strokeStyle = "#fff";
    pen.beginPath(); pen.moveTo(x - 4, y); pen.lineTo(x + 4, y); pen.moveTo(x, y - 4); pen.lineTo(x, y + 4); pen.stroke();
  }
  view.setAttribute("aria-label", `Layout ${width} by ${height}, of ${[...new Set(values)].map((v) => classes[v]?.name ?? "unknown").join(", ")}`);
}

const brush = (event) => dab(...at(event));

function dab(x, y) {
  const radius = Number($("brush").value), value = Number($("class").value), { values, width, height } = state.layout;
  for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(height, y + radius); row++) {
    for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(width, x + radius); column++) {
      if ((row - y) ** 2 + (column - x) ** 2 <= radius ** 2) values[row * width + column] = value;
    }
  }
  paint();
}

// ------------------------------------------------------------------------------------------------ asking

function clear() {
  state.turn++;
  $("answer").replaceChildren();
  $("save").hidden = true;
  $("origin").textContent = "";
}

// work(current): current() is false once the person has gone on to another job or picture.
async function working(button, work) {
  const turn = state.turn, current = () => turn === state.turn;
  $("error").textContent = "";
  button.disabled = true;
  try {
    await work(current);
  } catch (error) {
    if (current()) $("error").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

async function show(result, current = () => true) {
  Object.assign(state, { result, layout: null });
  const found = await JOBS[state.job].show(result);
  if (!current()) return;
  $("answer").replaceChildren(...found);
  paint();
  $("save").hidden = false;
  $("coco").hidden = !["segment/note", "segment/labels", "describe"].includes(state.job);
  const model = state.models.find((one) => one.name === result.model), made = model.about.recipe ?? "unknown recipe";
  const data = model.synthetic ? ", trained on synthetic pictures only" : model.about.data ? `, trained on ${model.about.data}` : "";
  $("origin").textContent = `Answered by ${result.model} (${model.about.method ?? "?"}, ${made}${data}).`
    + (model.medical ? " Not for diagnosis." : "")
    + (result.out_of_domain ? " The picture is unlike those that the model learned from: this answer may be wrong." : "");
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await state.taking;
  const job = JOBS[state.job];
  if (job.picture === true && !state.data) { $("error").textContent = "First choose a picture, or a sample."; return; }
  const every = event.submitter?.name === "every";
  state.turn++;  // an answer that is under way is not wanted any more
  working(event.submitter ?? $("form").querySelector("button"), async (current) => {
    const { model } = $("form").elements, asked = [state.job, { ...job.asked($("form"), every), ...(model ? { model: model.value } : {}) }];
    const result = await ask(...asked);
    if (!current()) return;
    state.asked = asked;
    if (state.sample || !state.data) history.replaceState(null, "", `#${address()}`);
    await show(result, current);
  });
});

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

// x, y, width and height around polygons [[x, y, x, y, ...], ...]
function bounds(polygons) {
  const [xs, ys] = [0, 1].map((odd) => polygons.flatMap((one) => one.filter((_, i) => i % 2 === odd)));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return [x, y, Math.max(...xs) - x, Math.max(...ys) - y];
}

// The masks of an answer, and the names of COCO's categories: those that the command line writes.
function masksOf(result) {
  if (captionsOf(result)) {
    const found = captionsOf(result).flatMap((caption) => caption.groundings.map((one) => ({ name: one.label || one.phrase, ...one })));
    return [found, [...new Set(found.map((one) => one.name))].sort()];
  }
  if (result.classes) {
    const named = result.classes.filter((one) => "closeness" in one).map((one) => ({ name: one.label, ...one }));  // not what is left over, the background
    return [named, named.map((one) => one.name)];
  }
  return [[{ ...result, name: "described", phrase: result.note || "" }], ["described"]];
}

async function copy(words) {
  if (navigator.clipboard) return navigator.clipboard.writeText(words);
  const area = make("textarea");  // plain http from another machine has no clipboard of its own
  area.value = words;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  $("copy").focus();
}

$("copy").addEventListener("click", () => working($("copy"), () => copy(JSON.stringify(state.result, null, 1))));
$("png").addEventListener("click", () => working($("png"), async () => {
  if (!state.result.layouts || state.layout) return $("view").toBlob((blob) => save("segue.png", blob));
  for (const [i, one] of state.result.layouts.entries()) save(`layout-${i + 1}.png`, new Blob([Uint8Array.from(atob(one.layout), (c) => c.charCodeAt(0))], { type: "image/png" }));
}));
$("coco").addEventListener("click", () => working($("coco"), async () => {
  const [job, asked] = state.asked, result = await ask(job, { ...asked, masks: "polygons" }), [found, names] = masksOf(result);
  const annotations = found.filter((one) => one.area).map((one, i) => ({
    id: i + 1, image_id: 1, category_id: names.indexOf(one.name) + 1, iscrowd: 0, area: one.area, bbox: bounds(one.mask), score: one.score,
    phrase: one.phrase ?? one.name, segmentation: one.mask,
  }));
  const [width, height] = result.size, images = [{ id: 1, file_name: state.name, width, height }];
  save("segue.json", new Blob([JSON.stringify({ images, annotations, categories: names.map((name, i) => ({ id: i + 1, name })) })], { type: "application/json" }));
}));

$("file").addEventListener("change", (event) => { if (event.target.files[0]) take(event.target.files[0]); });
$("nothing").addEventListener("click", () => { Object.assign(state, { image: null, data: null, sample: null, masks: [] }); $("nothing").hidden = true; clear(); paint(); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

// ------------------------------------------------------------------------------------------------ the frame

// Which model is asked, where more than one does the job.
function choice(job) {
  const names = state.models.filter((one) => one.jobs.includes(job)).map((one) => one.name);
  return names.length > 1 ? [make("label", {}, "Model", make("select", { name: "model" }, ...names.map((name) => make("option", {}, name))))] : [];
}

function open(name) {
  const job = JOBS[name], kept = { image: state.image, data: state.data, sample: state.sample };
  Object.assign(state, { job: name, masks: [], layout: null, result: null, box: null, lit: null }, kept);
  for (const tab of $("tabs").children) tab.setAttribute("aria-selected", String(tab.dataset.job === name));
  $("form").replaceChildren(...job.fields(), ...choice(name), make("button", { class: "go", type: "submit" }, job.title),
    ...(job.every ? [make("button", { type: "submit", name: "every", formnovalidate: true }, "Every object")] : []));
  for (const input of $("form").querySelectorAll(".boxes input")) {
    input.addEventListener("input", () => { state.box = ["x", "y", "width", "height"].map((n) => Number($("form").elements[n].value)); paint(); });
  }
  $("hint").textContent = job.hint;
  $("error").textContent = "";
  $("nothing").hidden = job.picture !== "optional" || !state.data;
  if (state.image && job.box) setBox(state.sample?.regions?.[0]?.box ?? [state.image.width / 4, state.image.height / 4, state.image.width / 2, state.image.height / 2].map(Math.round));
  if (state.sample) fill(state.sample);
  clear();
  paint();
}

$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], tabs = [...$("tabs").children], here = tabs.indexOf(document.activeElement);
  if (!step || here < 0) return;
  tabs[(here + step + tabs.length) % tabs.length].focus();
});

// The job, the sample and the fields of the question that was asked.
function address() {
  const fields = [...$("form").elements].filter((one) => one.name && one.type !== "submit" && one.value).map((one) => [one.name, one.value]);
  return new URLSearchParams([["job", state.job], ...(state.sample ? [["sample", state.sample.name]] : []), ...fields]);
}

// What the address asks, or else the first job with its example, answered.
async function opening(offered) {
  const asked = new URLSearchParams(location.hash.slice(1)), job = offered.includes(asked.get("job")) ? asked.get("job") : offered[0];
  open(job);
  const sample = asked.has("job") ? state.samples.find((one) => one.name === asked.get("sample")) : state.samples.find(JOBS[job].example ?? (() => false));
  if (sample) await take(await picture(`samples/${sample.name}.png`), sample);
  for (const input of $("form").elements) if (asked.has(input.name)) input.value = asked.get(input.name);
  if (JOBS[job].box && asked.has("x")) setBox(["x", "y", "width", "height"].map((name) => Number(asked.get(name))));
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
  $("tabs").replaceChildren(...offered.map((job) => make("button", { type: "button", role: "tab", "data-job": job, onclick: () => open(job) }, JOBS[job].title)));
  if (offered.length) await opening(offered);
  $("samples").replaceChildren(...await Promise.all(state.samples.map(async (one) => {
    const blob = await picture(`samples/${one.name}.png`);
    return make("button", { type: "button", "data-sample": one.name, onclick: () => take(blob, one) }, make("img", { src: URL.createObjectURL(blob), alt: `${one.alt}, sample ${one.name}` }));
  })));
}

document.querySelector(".token").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
$("token").addEventListener("change", begin);
begin();
