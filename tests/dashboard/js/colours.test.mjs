import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const STATIC = new URL("../../../controller/edgesplit_controller/dashboard/static/", import.meta.url);
const { GROUNDS, HUES, nodeSign, nodeSlot } = await import(new URL("js/core/colours.js", STATIC));
const css = readFileSync(new URL("app.css", STATIC), "utf8");

/** Relative luminance and contrast as WCAG 2.2 defines them. */
function luminance(hex) {
  const [red, green, blue] = hex
    .slice(1)
    .match(/../g)
    .map((digits) => Number.parseInt(digits, 16) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [high, low] = [luminance(one), luminance(other)].sort((left, right) => right - left);
  return (high + 0.05) / (low + 0.05);
}

function variables(selector) {
  const block = css.slice(css.indexOf(selector));
  return Object.fromEntries([...block.slice(0, block.indexOf("}")).matchAll(/--([a-z]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name, value]));
}

const THEMES = { light: variables(":root {"), dark: variables(':root[data-theme="dark"]') };

for (const [theme, colours] of Object.entries(THEMES)) {
  test(`writing has 4.5:1 on every ground, ${theme}`, () => {
    for (const ground of ["ground", "raised", "band"]) {
      for (const ink of ["ink", "muted", "accent", "good", "warn", "bad"]) {
        const found = contrast(colours[ink], colours[ground]);
        assert.ok(found >= 4.5, `--${ink} on --${ground}: ${found.toFixed(2)}`);
      }
    }
  });

  test(`hues of nodes have 4.5:1 on their grounds, ${theme}`, () => {
    assert.equal(GROUNDS[theme], colours.ground);
    for (const hue of HUES[theme]) {
      for (const ground of ["ground", "raised"]) assert.ok(contrast(hue, colours[ground]) >= 4.5, `${hue} on --${ground}: ${contrast(hue, colours[ground]).toFixed(2)}`);
    }
  });
}

test("the system's dark theme is the one that can be chosen", () => {
  assert.deepEqual(variables(':root:not([data-theme="light"])'), THEMES.dark);
});

test("ten nodes have ten hues, and each keeps its own", () => {
  const names = Array.from({ length: 10 }, (_, index) => `till-${index}`);
  const slots = names.map(nodeSlot);
  assert.equal(new Set(slots).size, 10);
  assert.deepEqual(names.map(nodeSlot), slots);
  assert.ok(nodeSlot("an eleventh") < 10);
});

test("a sign tells nodes of a kind apart", () => {
  assert.equal(nodeSign("device"), "De");
  assert.equal(nodeSign("shop-03-till-12"), "S12");
  assert.equal(nodeSign("edge-box"), "EB");
  assert.equal(nodeSign("<>"), "?");
});
