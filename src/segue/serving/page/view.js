// The picture: the masks and boxes on it, how near it is seen, and what a pointer does there.
import { $ } from "./page.js";

export const COLOURS = ["#e6503c", "#3282e6", "#3caa5a", "#dca01e", "#965ad2", "#1eaab4", "#dc5aa0", "#8c6e46", "#6478c8", "#96aa28"];

// image: an ImageBitmap. layers: see `layer`. lit: the layers that are pointed at. least: layers of a lower score are
// hidden. boxes: of which `chosen` is being moved. tool: what a pointer and the keys do, { paint, down, move, up, key }.
export const view = { image: null, layers: [], lit: null, opacity: 0.5, least: 0, boxes: [], chosen: 0, tool: null };
const FINEST = 2048;  // pixels of a mask's longer side
let zoom = 1;

// ------------------------------------------------------------------------------------------------ masks

export async function bitmap(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  return image;
}

// The pixels of a grey picture from `least` on, filled and outlined. box: where they are, so that of a photograph's many
// objects not each takes a whole picture's memory; above FINEST a side it is kept coarser.
// about: name, colour, score; hidden: only seen when it is lit.
export function layer(image, about, { box = [0, 0, image.width, image.height], least = 128 } = {}) {
  const scale = Math.min(1, FINEST / Math.max(image.width, image.height)), [x, y, w, h] = box.map(Math.round);
  const [width, height] = [w, h].map((side) => Math.max(1, Math.round(side * scale))), pen = new OffscreenCanvas(width, height).getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, x, y, w, h, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height), [fill, edge] = [0, 1].map(() => new ImageData(width, height));
  const rim = Math.max(1, Math.round(scale * image.width / 500)), colour = [1, 3, 5].map((at) => parseInt(about.colour.slice(at, at + 2), 16));
  const inside = (column, row) => column >= 0 && row >= 0 && column < width && row < height && data[4 * (row * width + column)] >= least;
  let area = 0, sum = 0;
  for (let row = 0, p = 0; row < height; row++) {
    for (let column = 0; column < width; column++, p += 4) {
      if (data[p] < least) continue;
      area++;
      sum += data[p];
      fill.data.set([...colour, 255], p);
      if (![[rim, 0], [-rim, 0], [0, rim], [0, -rim]].every(([across, down]) => inside(column + across, row + down))) edge.data.set([...colour, 255], p);
    }
  }
  const [filled, edged] = [fill, edge].map((made) => { const canvas = new OffscreenCanvas(width, height); canvas.getContext("2d").putImageData(made, 0, 0); return canvas; });
  return { ...about, filled, edged, place: [x, y, w, h], area: Math.round(area * (w / width) * (h / height)), mean: area ? sum / area / 255 : null };
}

// A grid of values in [0, 1] over the whole picture: it stays as bright as they are. Only seen when it is lit.
export function spotlight(rows, name) {
  const [height, width] = [rows.length, rows[0].length], [filled, edged] = [0, 1].map(() => new OffscreenCanvas(width, height)), pen = filled.getContext("2d");
  edged.getContext("2d");  // stays empty
  rows.forEach((row, y) => row.forEach((value, x) => { pen.globalAlpha = 1 - Math.min(Math.max(value, 0), 1); pen.fillRect(x, y, 1, 1); }));
  return { name, filled, edged, hidden: true, least: 0.8, place: [0, 0, view.image.width, view.image.height] };
}

const visible = (one) => one.score == null || one.score >= view.least;

// What of a layer is drawn: how much of its filling, how much of its outline.
function strengths(one, i) {
  if (!visible(one)) return [0, 0];
  if (view.lit) return view.lit.includes(i) ? [Math.max(view.opacity, one.least ?? 0.5), 1] : [0, one.hidden ? 0 : 0.35];
  return one.hidden ? [0, 0] : [view.opacity, 1];
}

export function light(layers) {
  view.lit = layers;
  paint();
}

// What lights layers by pointing, by the keyboard's focus and, at a finger's first tap, instead of `onclick`.
export function lighting(layers, onclick = () => {}) {
  return {
    onpointerenter: () => light(layers), onpointerleave: (event) => { if (event.pointerType !== "touch") light(null); },
    onfocus: () => light(layers), onblur: () => light(null),
    onpointerdown: (event) => { event.currentTarget.first = event.pointerType === "touch" && event.currentTarget !== document.activeElement; },
    onclick: (event) => { event.currentTarget.focus(); light(layers); if (!event.currentTarget.first) onclick(); },
  };
}

// ------------------------------------------------------------------------------------------------ painting

// A picture with all of its layers, at most `side` pixels long, as a data URL.
export function picture(image, layers, side) {
  const scale = Math.min(1, side / Math.max(image.width, image.height)), canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [image.width, image.height].map((length) => Math.max(1, Math.round(scale * length)));
  pen.scale(scale, scale);
  pen.drawImage(image, 0, 0);
  for (const one of layers.filter((each) => !each.hidden)) {
    for (const [part, strength] of [[one.filled, view.opacity], [one.edged, 1]]) {
      pen.globalAlpha = strength;
      pen.drawImage(part, ...one.place);
    }
  }
  return canvas.toDataURL();
}

export function paint() {
  const canvas = $("view"), pen = canvas.getContext("2d");
  canvas.classList.toggle("drawing", Boolean(view.tool && (view.image || view.tool.paint)));
  $("tools").hidden = !view.image && !view.tool?.paint;
  $("opacity").parentElement.hidden = !view.layers.length;
  if (view.tool?.paint) return view.tool.paint(canvas, pen);
  if (!view.image) {
    canvas.width = 320; canvas.height = 200;
    pen.fillStyle = "#888"; pen.font = "16px sans-serif"; pen.textAlign = "center";
    pen.fillText("drop or paste a picture", 160, 105);
    canvas.setAttribute("aria-label", "No picture yet");
    return;
  }
  canvas.width = view.image.width; canvas.height = view.image.height;
  pen.drawImage(view.image, 0, 0);
  for (const [i, one] of view.layers.entries()) {
    for (const [part, strength] of [[one.filled, 0], [one.edged, 1]].map(([part, k]) => [part, strengths(one, i)[k]])) {
      pen.globalAlpha = strength;
      if (strength) pen.drawImage(part, ...one.place);
    }
  }
  pen.globalAlpha = 1;
  view.boxes.forEach((box, i) => outline(pen, box, canvas.width / (i === view.chosen ? 200 : 400)));
  const seen = [...new Set(view.layers.filter((one, i) => strengths(one, i)[0]).map((one) => one.name))];
  canvas.setAttribute("aria-label", `Picture ${canvas.width} by ${canvas.height}${seen.length ? `, outlined: ${seen.join(", ")}` : ""}`);
}

// A box in black and white, which is seen on every ground.
export function outline(pen, box, width) {
  pen.lineWidth = Math.max(1, width); pen.strokeStyle = "#fff"; pen.strokeRect(...box);
  pen.setLineDash([6, 4]); pen.strokeStyle = "#000"; pen.strokeRect(...box); pen.setLineDash([]);
}

// ------------------------------------------------------------------------------------------------ near and far

// at: the point of the window that stays where it is; the middle unless given.
export function zoomTo(wanted, at) {
  const stage = $("stage"), frame = stage.getBoundingClientRect(), before = zoom;
  const [x, y] = at ? [at.clientX - frame.left, at.clientY - frame.top] : [frame.width / 2, frame.height / 2];
  const [left, top] = [stage.scrollLeft, stage.scrollTop];
  zoom = Math.min(Math.max(wanted, 1), 16);
  if (before === 1) stage.style.height = `${stage.clientHeight}px`;
  if (zoom === 1) stage.style.height = "";
  stage.style.setProperty("--zoom", zoom);
  stage.classList.toggle("near", zoom > 1);
  stage.scrollTo((left + x) * zoom / before - x, (top + y) * zoom / before - y);
}

// Where in the picture's pixels an event is; the picture stands in the middle of its frame.
export function at(event) {
  const canvas = $("view"), frame = canvas.getBoundingClientRect(), scale = Math.max(canvas.width / frame.width, canvas.height / frame.height);
  const left = frame.left + (frame.width - canvas.width / scale) / 2, top = frame.top + (frame.height - canvas.height / scale) / 2;
  return [(event.clientX - left) * scale, (event.clientY - top) * scale].map((v, i) => Math.min(Math.max(v, 0), i ? canvas.height : canvas.width));
}

const fingers = new Map();  // pointers that are down, by their id
let pan = null, pinch = null, stroke = false;

const between = () => {
  const [a, b] = [...fingers.values()];
  return { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2, apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
};

function scrollFrom(from, event) {
  $("stage").scrollBy(from.clientX - event.clientX, from.clientY - event.clientY);
}

export function listen() {
  const canvas = $("view");
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    canvas.setPointerCapture(event.pointerId);
    if (fingers.size === 2) {
      if (stroke) view.tool.up?.(at(event));
      [stroke, pinch] = [false, { ...between(), zoom }];
    } else if (event.button === 1 || (!view.tool && event.pointerType === "mouse")) {
      event.preventDefault();
      pan = event;
    } else if (view.tool && event.button === 0) {
      stroke = true;
      view.tool.down(at(event), event);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
    if (pinch && fingers.size === 2) {
      const now = between();
      zoomTo(pinch.zoom * now.apart / pinch.apart, now);
      scrollFrom(pinch, now);
      Object.assign(pinch, { clientX: now.clientX, clientY: now.clientY });
    } else if (pan) {
      scrollFrom(pan, event);
      pan = event;
    } else if (stroke) view.tool.move(at(event), event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (stroke) view.tool.up?.(at(event));
      fingers.delete(event.pointerId);
      [stroke, pan, pinch] = [false, null, null];
    });
  }
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(zoom * Math.exp(-event.deltaY / 200), event);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const wanted = { "+": zoom * 1.5, "=": zoom * 1.5, "-": zoom / 1.5, 0: 1 }[event.key];
    if (wanted && !event.ctrlKey && !event.metaKey) return zoomTo(wanted);
    if (view.tool?.key?.(event)) event.preventDefault();
  });
  $("nearer").addEventListener("click", () => zoomTo(zoom * 1.5));
  $("farther").addEventListener("click", () => zoomTo(zoom / 1.5));
  $("fit").addEventListener("click", () => zoomTo(1));
  $("opacity").addEventListener("input", (event) => { view.opacity = Number(event.target.value); paint(); });
}

export const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
