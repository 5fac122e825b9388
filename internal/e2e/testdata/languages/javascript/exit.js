console.error("leaving");
process.exit(7);
