// Copies what the pages use of other people's work from node_modules to web/static/vendor, each
// library as one ES module with its licence beside it; what only tests use goes to the tests.
// The result is committed, so that running needs neither npm nor a build. Called by `make vendor`.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const OUT = "web/static/vendor";
const FOR_TESTS = "tests/e2e/screens/vendor";
const { dependencies, devDependencies } = JSON.parse(readFileSync("package.json", "utf8"));

const packageOf = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));

/** One minified ES module of a package and all that it imports. */
const bundle = (name, entry = name) =>
  build({
    // The entry re-exports: Leaflet and dwv have named exports, uPlot has a default one.
    stdin: {
      contents: `export * from "${entry}"; ${name === "uplot" ? `export { default } from "${entry}";` : ""}`,
      resolveDir: ".",
    },
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    legalComments: "inline",
    outfile: `${OUT}/${name}.js`,
    logLevel: "warning",
  });

/** The licences of packages, each under its name and version, in one text. */
function licences(file, ...names) {
  const texts = names.map((name) => {
    const { version, license } = packageOf(name);
    const found = ["LICENSE", "LICENSE.md", "LICENSE.markdown", "license.txt", "LICENCE"].flatMap((candidate) => {
      try {
        return [readFileSync(`node_modules/${name}/${candidate}`, "utf8")];
      } catch {
        return [];
      }
    });
    return `${name} ${version} (${license})\n\n${found[0] ?? "No licence file in the package."}\n`;
  });
  writeFileSync(file, texts.join("\n" + "-".repeat(80) + "\n\n"));
}

for (const folder of [OUT, FOR_TESTS]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
await bundle("dwv");
licences(`${OUT}/dwv.LICENSE.txt`, "dwv", "konva", "magic-wand-tool", "jszip", "pako", "lie", "immediate", "setimmediate", "readable-stream");
await bundle("leaflet", "leaflet/dist/leaflet-src.esm.js");
cpSync("node_modules/leaflet/dist/leaflet.css", `${OUT}/leaflet.css`);
licences(`${OUT}/leaflet.LICENSE.txt`, "leaflet");
await bundle("uplot");
cpSync("node_modules/uplot/dist/uPlot.min.css", `${OUT}/uplot.css`);
licences(`${OUT}/uplot.LICENSE.txt`, "uplot");
cpSync("node_modules/axe-core/axe.min.js", `${FOR_TESTS}/axe.min.js`);
licences(`${FOR_TESTS}/axe.LICENSE.txt`, "axe-core");
writeFileSync(
  `${OUT}/versions.json`,
  `${JSON.stringify({ ...dependencies, "axe-core": devDependencies["axe-core"] }, null, 2)}\n`,
);
