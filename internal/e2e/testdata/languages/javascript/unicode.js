console.log("žluťoučký kůň, 日本語, 🚀");
