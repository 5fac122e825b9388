use std::io;

fn main() {
    let sum: i32 = io::stdin().lines().map(|line| line.unwrap().parse::<i32>().unwrap()).sum();
    println!("{sum}");
}
