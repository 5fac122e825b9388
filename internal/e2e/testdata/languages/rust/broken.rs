fn main() {
    println!("before");
    let n: i32 = "one";
}
