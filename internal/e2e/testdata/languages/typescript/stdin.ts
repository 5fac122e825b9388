const fs = require("node:fs");

function main(): void {
  const lines: string[] = fs.readFileSync(0, "utf8").trim().split("\n");
  console.log(lines.map(Number).reduce((a: number, b: number) => a + b));
}
if (require.main === module) main();
