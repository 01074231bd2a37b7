// The jobs: each one's form, what it asks the server, and how the answer is shown.
import { $, button, field, make, percent, state, text, working } from "./page.js";
import { COLOURS, bitmap, layer, lighting, paint, spotlight, view } from "./view.js";
import { boxFields, boxTool, setBox } from "./boxes.js";
import { colourOf, edit, legend } from "./layouts.js";

// title, hint: words. picture: whether one is needed, or "optional". each: whether the same can be asked of several. fits:
// whether a sample is of the job's kind. example: the sample and the fields with which the job opens, answered. fields,
// sample: the form, and what it takes from a sample. asks(form, every): the bodies of the requests. told: whether the
// server tells how far it is. show(result, again, more): the elements of the answer, and the layers on the picture;
// again() shows it anew, more(fields) asks it with further fields. least: what the slider below the picture is about, with
// its first value.
export const JOBS = {
  caption: {
    title: "Caption",
    picture: true,
    each: true,
    fits: (one) => !one.note,
    example: { sample: "photo-motorcycle_left" },  // of a kind that the captioner knows; the others are a click away
    hint: "The captioner learned from text alone.",
    fields: () => [field("How many captions", "num", { type: "number", min: 1, max: 10, value: 3 })],
    asks: (form) => [{ image: state.data, num: Number(text(form, "num")) }],
    show: async (result, again, more) => {
      const words = make("div", { id: "why" }), ask = button("What does each word rest on?", () => working(ask, async (current) => {
        const { captions } = await more({ words: true });
        if (!current()) return;
        view.layers = [];
        words.replaceChildren(make("p", { class: "faint" }, "Point at a word: the picture stays bright where covering it makes the word less likely. A word without a line comes from the words before it alone."),
          make("ol", {}, ...captions.map((one) => make("li", {}, ...marked(one.text, one.words.map(rests))))));
      }));
      words.append(ask);
      return { elements: [list(result.captions), words] };
    },
  },
  "segment/labels": {
    title: "Name the pixels",
    picture: true,
    each: true,
    fits: (one) => one.labels,
    example: { sample: "photo-motorcycle_left", fields: { labels: "motorcycle, floor, wall, shelf" } },
    hint: "Any names, with commas between them.",
    fields: () => [field("Labels", "labels", { placeholder: "dog, grass, sky", required: true })],
    sample: (form, one) => { if (one.labels) form.elements.labels.value = one.labels.join(", "); },
    asks: (form) => [{ image: state.data, labels: text(form, "labels").split(",").map((name) => name.trim()).filter(Boolean), masks: "png" }],
    least: { words: "Names at least so likely to be seen:", value: () => 0 },
    show: async (result) => {
      const there = result.classes.filter((one) => one.area), layers = [];
      for (const [i, one] of there.entries()) layers.push(layer(await bitmap(one.mask), { name: one.label, colour: COLOURS[i % COLOURS.length], score: one.shown }));
      const entries = there.map((one, i) => ({ name: `${one.label} ${(100 * one.share).toFixed(1)}%${seen(one)}`, colour: layers[i].colour }));
      const nowhere = result.classes.filter((one) => !one.area).map((one) => one.label);
      return {
        layers, scores: there.some((one) => one.shown != null),
        elements: [legend(entries, (i) => ({ tabindex: 0, role: "button", class: "point", ...lighting([i]) })), ...(nowhere.length ? [make("p", { class: "faint" }, `nowhere: ${nowhere.join(", ")}`)] : [])],
      };
    },
  },
  describe: {
    title: "Describe a box",
    picture: true,
    fits: (one) => one.regions,
    example: { sample: "scene-0" },
    tool: boxTool,
    told: true,
    every: true,
    hint: "Draw a box (with Shift one more), click an object, or move the box by the arrow keys (with Shift: its size). Point at a phrase to see its mask alone; click it to ask about that.",
    fields: () => [
      boxFields(),
      field("What is in it, if nothing of the picture is known", "label", { placeholder: "dog" }),
      field("Words it must have", "include", { placeholder: "dog" }),
      field("Captions", "num", { type: "number", min: 1, max: 10, value: 5 }),
    ],
    asks: (form, every) => (every ? [null] : view.boxes).map((box) => ({
      image: state.data,
      ...(every ? { every } : { box }),
      include: text(form, "include").split(/[ ,]+/).filter(Boolean),
      num: Number(text(form, "num")),
      ...(text(form, "label") && !every ? { label: text(form, "label") }
        : state.sample?.regions ? { regions: state.sample.regions, relations: state.sample.relations } : {}),
      masks: "png",
    })),
    least: { words: "Masks at least so likely:", value: () => 0 },
    show: async (result) => {
      const places = result.prompts ?? [result], groundings = captionsOf(result).flatMap((caption) => caption.groundings), things = [], layers = [];
      for (const one of groundings) {  // one after the other, each within its box: of a photograph's many objects all whole would be gigabytes
        let thing = things.findIndex((other) => other.label === one.label && overlap(other.bbox, one.bbox) > 0.5);
        const hidden = thing >= 0;  // at rest each thing is outlined once
        if (!hidden) thing = things.push(one) - 1;
        const about = { name: one.phrase || one.label, colour: COLOURS[thing % COLOURS.length], score: one.score, hidden };
        layers.push(layer(await bitmap(one.mask), about, { box: one.bbox }));
      }
      let first = 0;
      const elements = places.flatMap(({ prompt, captions }) => [
        ...(prompt ? [make("p", {}, "Around ", button(`the box ${prompt.box.map(Math.round).join(", ")}`, () => setBox(prompt.box)))] : []),
        make("ol", { class: "grounded" }, ...captions.map((caption) => {
          const item = make("li", {}, ...phrases(caption, first, layers), ...scored(caption));
          first += caption.groundings.length;
          return item;
        })),
      ]);
      return { elements, layers, scores: groundings.length > 0 };
    },
  },
  "segment/note": {
    title: "Outline a note",
    picture: true,
    each: true,
    fits: (one) => one.note,
    example: { sample: "chest-0" },
    hint: "Drop a picture or choose a sample, and say what to outline.",
    fields: () => [make("label", {}, "Note", make("textarea", { name: "note", rows: 3, placeholder: "One infected area, upper right lung." }))],
    sample: (form, one) => { if (one.note) form.elements.note.value = one.note; },
    asks: (form) => [{ image: state.data, note: text(form, "note") || null, masks: "png", probability: true }],
    least: { words: "Pixels at least so likely to belong:", value: () => state.result.threshold },
    show: async (result, again, more) => {
      const about = { name: result.note || "the model's own guess", colour: COLOURS[0] };
      const likely = await bitmap(result.probability), said = make("p", {}), { area, share, score } = result;
      const tell = (pixels, part, mean) => { said.textContent = `${pixels} pixels, ${(100 * part).toFixed(1)}% of the picture${pixels ? `, on average ${percent(mean)} likely to belong` : ""}`; };
      tell(area, share, score);
      const words = make("div", { id: "why" }), ask = button("What does each word do?", () => working(ask, async (current) => {
        const found = await more({ words: true, probability: false }), parts = await Promise.all(found.words.map(does));
        if (!current()) return;
        view.layers = view.layers.slice(0, 1);
        words.replaceChildren(make("p", { class: "faint" }, "Point at a word: ", swatch(COLOURS[1]), "is outlined only with it, ", swatch(COLOURS[3]), "only without it. The thicker its line, the more it changes."),
          make("p", {}, ...marked(result.note, parts)));
      }));
      if (result.note) words.append(ask);
      return {
        layers: [layer(await bitmap(result.mask), about)], elements: [said, words], scores: true,
        moved(threshold) {
          if (result.note) words.replaceChildren(ask);  // what was shown of the words was at another threshold
          const one = layer(likely, about, { least: 255 * threshold });
          state.threshold = threshold;
          view.layers = [one];
          tell(one.area, one.area / likely.width / likely.height, one.mean);
        },
      };
    },
  },
  draw: {
    title: "Draw a sentence",
    picture: "optional",
    fits: () => true,
    example: { fields: { caption: "a dog left of a red car on the grass" } },
    told: true,
    hint: "A picture is optional: then its layout is drawn.",
    fields: () => [
      field("Sentence", "caption", { required: true, placeholder: "a dog left of a red car on the grass" }),
      field("Layouts", "num", { type: "number", min: 1, max: 8, value: 4 }),
      field("Seed", "seed", { type: "number", min: 0, value: 0 }),
    ],
    asks: (form) => [{ caption: text(form, "caption"), num: Number(text(form, "num")), seed: Number(text(form, "seed")), ...(state.data ? { image: state.data } : {}) }],
    show: async (result, again) => {
      const doubts = result.caption_doubts.map((doubt) => make("p", { class: "faint" }, `${doubt[0].toUpperCase()}${doubt.slice(1)}.`));
      const [question] = state.asked, pictures = result.layouts.map((one, i) => make("button", { type: "button", onclick: (event) => working(event.currentTarget, () => edit(result, i, { question, back: again, list })) },
        make("img", { src: `data:image/png;base64,${one.layout}`, alt: `Layout ${i + 1}: ${Object.entries(one.areas).map(([name, share]) => `${name} ${Math.round(100 * share)}%`).join(", ")}` })));
      const there = result.classes.filter((one) => result.layouts.some((layout) => layout.areas[one.name] > 0));
      return { elements: [make("div", { class: "layouts" }, ...pictures), legend(there.map((one) => ({ name: one.name, colour: colourOf(one) }))),
        make("p", { class: "faint" }, "Click a layout to edit it and caption it."), ...doubts] };
    },
  },
};

// Those of one place, or of several one after the other.
export const captionsOf = (result) => result.prompts?.flatMap((one) => one.captions) ?? result.captions;

// The answers to several boxes as that to every object: each box with its captions.
export const merged = (bodies, results) => results.length === 1 ? results[0]
  : { ...results[0], captions: undefined, prompts: results.map((one, i) => ({ prompt: { box: bodies[i].box }, captions: one.captions })) };

const swatch = (colour) => make("span", { class: "swatch", style: { background: colour } });

// A caption's score in words: the probability that people's captions of such a picture agree with it. Nothing where it is
// not calibrated: a likelihood says nothing to people.
const scored = (one) => one.score == null ? [] : [make("div", { class: "score" }, `${percent(one.score)} likely that people would say so`)];

// A name's, where the model was calibrated; below one in ten it is hardly there, as the command line says.
function seen(one) {
  if (one.shown == null) return "";
  return one.shown < 0.1 ? ", hardly there" : `, ${percent(one.shown)} likely to be seen`;
}

function list(captions) {
  return make("ol", {}, ...captions.map((one) => make("li", {}, one.text, ...scored(one))));
}

// A word of a caption: the parts of the picture stay bright that lower its probability when they are covered.
function rests({ word, start, end, falls }) {
  const most = Math.max(...falls.flat()), found = { word, start, end, colour: COLOURS[0] };
  if (most < 0.1) return { ...found, strength: 0, layers: [], told: "rests on no part of the picture" };
  const bright = spotlight(falls.map((row) => row.map((fall) => fall / most)), `what “${word}” rests on`);
  return { ...found, strength: Math.min(1, most / 2), layers: [bright], told: `up to ${times(Math.exp(most))} times less likely where the picture is covered` };
}

const times = (factor) => factor < 10 ? factor.toFixed(1) : Math.round(factor);

// A word of a note: the pixels that are outlined only with it, and only without it.
async function does({ word, start, end, change, lost, gained }) {
  const [only, without] = await Promise.all([[lost, COLOURS[1], `only with “${word}”`], [gained, COLOURS[3], `only without “${word}”`]]
    .map(async ([mask, colour, name]) => ({ ...layer(await bitmap(mask), { name, colour }), hidden: true })));
  return { word, start, end, strength: change, colour: COLOURS[1], layers: [only, without], told: `left out, ${percent(change)} of what is outlined changes` };
}

// A text whose words light layers that they bring; each has a line as thick as its strength.
function marked(text, words) {
  const parts = [];
  let end = 0;
  for (const one of words) {
    const places = one.layers.map((made) => view.layers.push(made) - 1);
    parts.push(text.slice(end, one.start), make("button", {
      type: "button", class: "phrase word", style: { "--c": one.colour, "--s": one.strength }, title: one.told, "aria-label": `${one.word}: ${one.told}`, ...lighting(places),
    }, one.word));
    end = one.end;
  }
  paint();
  return [...parts, text.slice(end)];
}

function overlap([ax, ay, aw, ah], [bx, by, bw, bh]) {
  const both = Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx)) * Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by));
  return both / (aw * ah + bw * bh - both);
}

// A caption whose phrases light their masks. first: the position of its first grounding among the layers.
function phrases(caption, first, layers) {
  const parts = [], found = caption.groundings.map((one, i) => ({ ...one, place: first + i })).sort((a, b) => a.start - b.start);
  let end = 0;
  for (const one of found) {
    if (one.start < end) continue;
    parts.push(caption.caption.slice(end, one.start));
    const same = found.filter((other) => other === one || (one.end && other.start === one.start && other.end === one.end));  // a phrase of several things
    const ask = () => { setBox(one.bbox); $("form").requestSubmit(); };
    parts.push(make("button", {
      type: "button", class: "phrase", style: { "--c": layers[one.place].colour }, title: `${one.label}: ${percent(one.score)} likely to be its mask`,
      ...lighting(same.map((other) => other.place), ask),
    }, one.phrase));
    end = one.end;
  }
  return [...parts, caption.caption.slice(end)];
}
