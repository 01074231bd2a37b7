// One question for several pictures of one's own, one after the other, with the answers side by side.
import { $, button, dataUrl, make, save, state } from "./page.js";
import { picture } from "./view.js";
import { JOBS } from "./jobs.js";

const SIDE = 320;  // pixels of an answer's longer side in the strip

// ask(bodies): the answer. again(file, bodies, result): shows it above. told(share): is called on the way. A picture that
// can't be read or is refused is named, and the next one is asked. signal: by which all is stopped.
export async function askEach(bodies, { ask, again, told, signal }) {
  const job = JOBS[state.job], name = state.job, files = [...state.files], answers = [], strip = make("div", { class: "strip" });
  const said = make("p", { role: "status" });
  const tell = () => {
    const wrong = answers.filter((one) => one.error).length, rest = files.length - answers.length;
    said.textContent = `${answers.length - wrong} of ${files.length} pictures answered${wrong ? `, ${wrong} not` : ""}${signal.aborted && rest ? ", then stopped" : ""}`;
  };
  const download = button("Download all answers", () => save("segue-answers.json", new Blob([JSON.stringify({ job: name, question: bodies.map((body) => ({ ...body, image: undefined })), answers }, null, 1)], { type: "application/json" })));
  const close = button("Close", () => { $("every").replaceChildren(); $("every").hidden = true; });
  $("every").replaceChildren(make("div", { class: "row" }, make("strong", {}, job.title), said, download, close), strip);
  $("every").hidden = false;
  for (const file of files) {
    tell();
    told(answers.length / files.length);
    try {
      const image = await createImageBitmap(file).catch(() => { throw new Error("is no picture that can be read; PNG, JPEG and WebP can"); });
      const data = await dataUrl(file), mine = bodies.map((body) => ({ ...body, image: data })), result = await ask(mine);
      const shown = await job.show(result), words = shown.elements[0].cloneNode(true);
      for (const one of words.querySelectorAll("[role]")) for (const name of ["role", "tabindex", "class"]) one.removeAttribute(name);
      const open = button("", () => again(file, mine, result), { class: "thumbnail" });
      open.append(make("img", { src: picture(image, shown.layers ?? [], SIDE), alt: `${file.name}, answered` }));
      strip.append(make("figure", {}, open, make("figcaption", {}, make("strong", {}, file.name), words)));
      answers.push({ file: file.name, ...result, probability: undefined });
    } catch (error) {
      if (signal.aborted) break;
      strip.append(make("figure", {}, make("figcaption", {}, make("strong", {}, file.name), make("p", { class: "wrong" }, error.message))));
      answers.push({ file: file.name, error: error.message });
    }
  }
  tell();
}
