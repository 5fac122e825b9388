puts "žluťoučký kůň, 日本語, 🚀"
