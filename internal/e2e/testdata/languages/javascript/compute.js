function prime(n) {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}
const below = 4000000;
let count = 0;
for (let n = 2; n < below; n++) if (prime(n)) count++;
console.log(below, count);
