<?php
function prime(int $n): bool {
    for ($d = 2; $d * $d <= $n; $d++) {
        if ($n % $d === 0) {
            return false;
        }
    }
    return true;
}
$below = 800000;
$count = 0;
for ($n = 2; $n < $below; $n++) {
    $count += prime($n) ? 1 : 0;
}
echo "$below $count\n";
