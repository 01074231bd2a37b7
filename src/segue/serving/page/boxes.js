// The boxes that are to be described: drawn, chosen and moved on the picture, or typed.
import { $, button, field, make, state } from "./page.js";
import { STEPS, paint, view } from "./view.js";

const SIDES = ["x", "y", "width", "height"];
const has = ([x, y, width, height], [px, py]) => px >= x && py >= y && px <= x + width && py <= y + height;
const area = (box) => box[2] * box[3];

export function setBox(box) {
  view.boxes[view.chosen] = box.map(Math.round);
  told();
}

// With all boxes: which one is chosen, in the fields and beside them.
function told() {
  const form = $("form"), many = view.boxes.length > 1;
  SIDES.forEach((name, i) => { form.elements[name].value = view.boxes[view.chosen][i]; });
  form.querySelector(".which").textContent = many ? `Box ${view.chosen + 1} of ${view.boxes.length}` : "";
  form.querySelector(".remove").hidden = !many;
  paint();
}

// The first box on a picture: its first object, if one is known, or the middle.
export function firstBox() {
  const { width, height } = view.image;
  Object.assign(view, { boxes: [], chosen: 0 });
  setBox(state.sample?.regions?.[0]?.box ?? [width / 4, height / 4, width / 2, height / 2]);
}

export function setBoxes(boxes) {
  Object.assign(view, { boxes, chosen: 0 });
  told();
}

function add(box) {
  if (!view.image) return;
  view.chosen = view.boxes.push(box) - 1;
  told();
}

function remove() {
  view.boxes.splice(view.chosen, 1);
  view.chosen = 0;
  told();
}

const typed = () => { if (view.image) { view.boxes[view.chosen] = SIDES.map((name) => Number($("form").elements[name].value)); paint(); } };

export const boxFields = () => make("div", {},
  make("div", { class: "boxes" }, ...SIDES.map((name) => field(name, name, { type: "number", min: 0, required: true, oninput: typed }))),
  make("div", { class: "row" },
    button("Another box", () => { const { width, height } = view.image ?? {}; add([width / 3, height / 3, width / 3, height / 3].map(Math.round)); }),
    button("Remove box", remove, { class: "remove", hidden: true }), make("span", { class: "which faint" })));

let start = null, drawn = false;

export const boxTool = {
  down(point, event) {
    [start, drawn] = [point, false];
    if (event.shiftKey) add([...point.map(Math.round), 1, 1]);
  },
  move(end) {
    drawn ||= Math.hypot(end[0] - start[0], end[1] - start[1]) > view.image.width / 150;
    if (!drawn) return;
    const [x, y] = [0, 1].map((i) => Math.round(Math.min(start[i], end[i])));
    setBox([x, y, Math.max(1, Math.round(Math.abs(end[0] - start[0]))), Math.max(1, Math.round(Math.abs(end[1] - start[1])))]);
  },
  // A click chooses another box, or the smallest object there that is known.
  up(point) {
    if (drawn) return;
    const other = view.boxes.findIndex((box, i) => i !== view.chosen && has(box, point));
    const [object] = (state.sample?.regions ?? []).filter((one) => one.thing && has(one.box, point)).sort((a, b) => area(a.box) - area(b.box));
    if (other >= 0) { view.chosen = other; told(); } else if (object) setBox(object.box);
  },
  key(event) {
    const step = STEPS[event.key];
    if (!step || !view.boxes.length) return false;
    const grow = event.shiftKey ? 2 : 0, box = [...view.boxes[view.chosen]], unit = Math.max(1, Math.round(view.image.width / 50));
    box[grow] += unit * step[0]; box[grow + 1] += unit * step[1];
    setBox(box.map((v, i) => Math.max(v, i > 1 ? 1 : 0)));
    return true;
  },
};
