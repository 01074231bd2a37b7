// An answer elsewhere: the same question as Python, curl and a command; its masks as COCO's json.
import { state } from "./page.js";
import { captionsOf } from "./jobs.js";

const python = (value) => value === true ? "True" : value === null ? "None" : Array.isArray(value) ? `(${value.map((one) => `${python(one)}, `).join("").replace(/, $/, value.length === 1 ? "," : "")})` : JSON.stringify(value);
const shell = (words) => `'${String(words).replaceAll("'", "'\\''")}'`;
const given = (names, body) => names.filter((name) => body[name] != null && String(body[name]) !== "").map((name) => `${name}=${python(body[name])}`).join(", ");
const listed = (values, write) => `[${values.map(write).join(", ")}]`;

// Each job in Python: what is imported besides, and the lines from the picture's name, the model's and the bodies.
const PYTHON = {
  caption: (file, model, [body]) => `import segue
from segue.options import Decoding

model = segue.load(${python(model)})
for caption in model.caption(${python(file)}, options=Decoding(beams=3, ${given(["num"], body)})):
    print(caption.score, caption.text)`,
  "segment/labels": (file, model, [body]) => `from segue.api import load_label_segmenter

answer = load_label_segmenter(${python(model)}).segment(${python(file)}, ${python(body.labels)})
answer.save("answer.png")
print(answer.to_json())`,
  "segment/note": (file, model, [body]) => `import segue
from segue.options import SegmentOptions

model = segue.load(${python(model)})
answer = model.segment(${python(file)}, ${python(body.note)}, options=SegmentOptions(${given(["threshold"], body)}))
answer.save("answer.png")
print(answer.to_json())`,
  describe: (file, model, bodies) => {
    const [body] = bodies, known = body.regions ? `
regions = ${listed(body.regions, (one) => `Region(${python(one.label)}, ${python(one.box)}, thing=${one.thing ? "True" : "False"})`)}
relations = ${listed(body.relations, (one) => `Relation(${one.subject}, ${python(one.predicate)}, ${one.object})`)}` : "";
    const how = `${body.regions ? "regions=regions, relations=relations, " : body.label ? `label=${python(body.label)}, ` : ""}options=DescribeOptions(${given(["num", "include"], body)})`;
    const ask = body.every ? `for box, captions in model.describe_objects(${python(file)}, ${how}):` : `for box in ${listed(bodies, (one) => python(one.box))}:
    captions = model.describe(${python(file)}, box=box, ${how})`;
    return `import segue
from segue.options import DescribeOptions
from segue.types import Region, Relation

model = segue.load(${python(model)})${known}
${ask}
    for caption in captions:
        print(box, caption.to_json())`;
  },
  draw: (file, model, [body]) => `import segue
from segue.options import DrawOptions

model = segue.load(${python(model)})
for i, layout in enumerate(model.draw(${python(body.caption)}, ${body.image ? `image=${python(file)}, ` : ""}options=DrawOptions(${given(["num", "seed"], body)}))):
    layout.save(f"layout-{i + 1}.png")`,
};

// What is known of a picture as a file of Visual Genome's kind.
function graph(file, { regions, relations }) {
  return JSON.stringify({
    image_id: file.replace(/\.[^.]*$/, ""),
    objects: regions.map(({ label, thing, box: [x, y, w, h] }, i) => ({ object_id: i, names: [label], x, y, w, h, ...(thing ? {} : { thing }) })),
    relationships: relations.map((one) => ({ subject_id: one.subject, predicate: one.predicate, object_id: one.object })),
  });
}

const COMMAND = {
  caption: (file, [body]) => `segue caption ${shell(file)} --num ${body.num}`,
  "segment/labels": (file, [body]) => `segue segment ${shell(file)} --labels ${shell(body.labels.join(", "))}`,
  "segment/note": (file, [body]) => `segue segment ${shell(file)}${body.note ? ` --note ${shell(body.note)}` : ""}${body.threshold ? ` --threshold ${body.threshold}` : ""}`,
  describe: (file, bodies) => {
    const [body] = bodies, words = body.include.length ? ` --include ${body.include.map(shell).join(" ")}` : "";
    const known = body.regions ? " --graph objects.json" : body.label ? ` --label ${shell(body.label)}` : "";
    const lines = bodies.map((one) => `segue describe ${shell(file)} ${one.every ? "--every" : `--box ${one.box.join(",")}`}${known} --num ${one.num}${words}`);
    return [...(body.regions ? [`printf '%s' ${shell(graph(file, body))} > objects.json`] : []), ...lines].join("\n");
  },
  draw: (file, [body]) => `segue draw ${shell(body.caption)} --num ${body.num} --seed ${body.seed}${body.image ? ` --image ${shell(file)}` : ""}`,
};

// The body goes through a pipe, since a picture is longer than an argument may be.
function curl(job, file, body, model) {
  const { image, ...rest } = { ...body, model }, json = JSON.stringify(rest).slice(0, -1);
  const send = `curl -sS${document.getElementById("token").value ? ' -H "Authorization: Bearer $TOKEN"' : ""} -H "Content-Type: application/json" -d @- ${shell(`${location.origin}/${job}`)}`;
  if (!image) return `printf '%s' ${shell(`${json}}`)} |\n  ${send}`;
  return `(printf '%s' ${shell(`${json}, "image": "`)}; base64 < ${shell(file)} | tr -d '\\n'; printf '"}') |\n  ${send}`;
}

/** The question as [["Python", text], ["curl", text], ["Command", text]]. */
export function code(job, file, bodies, model) {
  return [
    ["Python", PYTHON[job](file, model, bodies)],
    ["curl", bodies.map((body) => curl(job, file, body, model)).join("\n")],
    ["Command", COMMAND[job](file, bodies).split("\n").map((line) => line.startsWith("segue ") ? `${line} --model ${shell(model)}` : line).join("\n")],
  ];
}

// ------------------------------------------------------------------------------------------------ COCO

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

/** An answer whose masks are polygons as COCO's instances. */
export function coco(result) {
  const [found, names] = masksOf(result), [width, height] = result.size;
  const annotations = found.filter((one) => one.area).map((one, i) => ({
    id: i + 1, image_id: 1, category_id: names.indexOf(one.name) + 1, iscrowd: 0, area: one.area, bbox: bounds(one.mask), score: one.score,
    phrase: one.phrase ?? one.name, segmentation: one.mask,
  }));
  return { images: [{ id: 1, file_name: state.name, width, height }], annotations, categories: names.map((name, i) => ({ id: i + 1, name })) };
}
