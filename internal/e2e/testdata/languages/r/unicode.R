cat("žluťoučký kůň, 日本語, 🚀\n")
