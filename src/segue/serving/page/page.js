// What all of the page's parts use: elements, and what is open just now.

export const $ = (id) => document.getElementById(id);

// job: the name of the open one. data: the picture as a data URL, name: of its file. sample: what is known of it, if it
// is one of ours. result: the answer, asked: the bodies that it answers. turn: counted up where an answer under way is
// not wanted any more. threshold: of a note's mask, where the person moved it. files: several pictures of one's own.
export const state = { job: null, data: null, name: null, sample: null, files: [], result: null, asked: null, turn: 0, threshold: null, models: [], samples: [] };

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export function dataUrl(blob) {
  return new Promise((done) => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); });
}

export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

export const field = (label, name, more = {}) => make("label", {}, label, make("input", { name, ...more }));
export const button = (words, onclick, more = {}) => make("button", { type: "button", onclick, ...more }, words);
export const text = (form, name) => form.elements[name].value.trim();

// A probability in words: "14 %", "0.4 %".
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

// work(current): current() is false once the person has gone on to another job or picture.
export async function working(pressed, work) {
  const turn = state.turn, current = () => turn === state.turn;
  $("error").textContent = "";
  pressed.disabled = true;
  try {
    await work(current);
  } catch (error) {
    if (current()) $("error").textContent = plainly(error.message);
  } finally {
    pressed.disabled = false;
  }
}

// Where the server speaks of the command line's options, the page's words.
function plainly(message) {
  if (message.startsWith("no scene graph")) return "Nothing is known of this picture: say in one word what is in the box, such as dog. (A server with a detector finds the objects by itself.)";
  return message;
}
