import process from "node:process";

const code: number = await Promise.resolve(7);
console.error("leaving");
process.exit(code);
