// The server's requests, as /openapi.json tells them; nothing comes from the network.
import { $, make } from "./page.js";

const told = await (await fetch("openapi.json")).json();
const meant = (schema) => schema?.$ref ? told.components.schemas[schema.$ref.split("/").at(-1)] : schema ?? {};

// A schema in words: "number, 0 to 1", "one of rle, png, polygons", "list of text".
function words(given) {
  const schema = meant(given);
  if (schema.enum) return `one of ${schema.enum.join(", ")}`;
  if (schema.anyOf) return schema.anyOf.map(words).join(" or ");
  if (schema.prefixItems) return `${schema.prefixItems.length} numbers`;
  if (schema.type === "array") return `list of ${words(schema.items)}`;
  if (schema.properties) return `object with ${Object.keys(schema.properties).join(", ")}`;
  const name = { string: "text", integer: "whole number", boolean: "true or false", null: "null" }[schema.type] ?? schema.type ?? "any";
  const [low, high] = [schema.minimum ?? schema.exclusiveMinimum, schema.maximum ?? schema.exclusiveMaximum];
  return name + (low !== undefined && high !== undefined ? `, ${low} to ${high}` : low !== undefined ? `, from ${low}` : high !== undefined ? `, up to ${high}` : "");
}

const row = (kind, cells) => make("tr", {}, ...cells.map((cell) => make(kind, {}, cell)));

function fields(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, one]) => row("td", [
    make("code", {}, name), words(one), schema.required?.includes(name) ? "required" : JSON.stringify(one.default ?? null), one.description ?? "",
  ]));
  return rows.length ? [make("div", { class: "wide" }, make("table", {}, make("thead", {}, row("th", ["field", "what", "default", "meaning"])), make("tbody", {}, ...rows)))] : [];
}

$("api").replaceChildren(...Object.entries(told.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => {
  const body = meant(one.requestBody?.content?.["application/json"]?.schema);
  const codes = Object.keys(one.responses).filter((code) => code !== "200").join(", ");
  return make("section", {}, make("h2", {}, `${method.toUpperCase()} ${path}`), make("p", {}, one.summary ?? ""), ...fields(body), make("p", { class: "faint" }, `Answers 200, or why not: ${codes || "nothing else"}.`));
})));
