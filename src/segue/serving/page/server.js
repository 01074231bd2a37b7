// What the page asks the server.
import { $ } from "./page.js";

const token = () => $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};

export async function picture(path) {
  return (await fetch(path, { headers: token() })).blob();
}

// An answer. told(share): is called on the way, if given, with the share that is done. signal: by which it is stopped.
export async function ask(path, body, { told, signal } = {}) {
  const headers = { "Content-Type": "application/json", ...token(), ...(told ? { Accept: "text/event-stream" } : {}) };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers });
  if (answer.status === 401) document.querySelector(".token").hidden = false;
  if (answer.ok && told) return streamed(answer, told);
  const result = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(result.error);
  return result;
}

// Server-sent events: some "progress", then one "answer" or "error".
async function streamed(answer, told) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = [""];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server broke off; ask again");
    rest.push(value);
    if (!value.includes("\n\n") && !value.endsWith("\n")) continue;  // a large answer comes in many parts, joined once
    const events = rest.join("").split("\n\n");
    rest = [events.pop()];
    for (const one of events) {
      const [kind, data] = one.split("\n").map((line) => line.slice(line.indexOf(": ") + 2)), found = JSON.parse(data);
      if (kind === "answer") return found;
      if (kind === "error") throw new Error(found.error);
      told(found.done);
    }
  }
}
