fn main() {
    println!("žluťoučký kůň, 日本語, 🚀");
}
