const text: string = "žluťoučký kůň, 日本語, 🚀";
console.log(text);
