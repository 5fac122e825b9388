fn prime(n: u32) -> bool {
    let mut d = 2;
    while d * d <= n {
        if n % d == 0 {
            return false;
        }
        d += 1;
    }
    true
}

fn main() {
    let below = 4_000_000;
    println!("{} {}", below, (2..below).filter(|n| prime(*n)).count());
}
