print("žluťoučký kůň, 日本語, 🚀")
