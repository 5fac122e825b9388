fn main() {
    eprintln!("leaving");
    std::process::exit(7);
}
