echo "žluťoučký kůň, 日本語, 🚀"
