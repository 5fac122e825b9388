<?php
// Verify a callback of boomerang. Copy the functions; PHP alone is all they need.

const TOLERANCE = 300; // seconds

// Whether webhook-signature holds: one of the secrets signed this body, its id and its time, at most 5 minutes from now.
//
// $secrets: strings; $headers: $_SERVER, where PHP-FPM and Apache's module show webhook-id as HTTP_WEBHOOK_ID (getallheaders()
// has other names); $body: file_get_contents('php://input'), the bytes as they came; $now: time().
function verify(array $secrets, array $headers, string $body, int $now): bool
{
    $timestamp = $headers['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!preg_match('/\A[0-9]+\z/', $timestamp) || abs($now - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $message = ($headers['HTTP_WEBHOOK_ID'] ?? '') . ".$timestamp.$body";
    foreach ($secrets as $secret) {
        $key = $secret;
        if (str_starts_with($secret, 'whsec_')) {
            $key = base64_decode(substr($secret, 6));
            if (base64_encode($key) !== substr($secret, 6) || strlen($key) < 24 || strlen($key) > 64) {
                continue; // it is no key: boomerang takes no such secret
            }
        }
        $expected = 'v1,' . base64_encode(hash_hmac('sha256', $message, $key, true));
        foreach (explode(' ', $headers['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
            if (hash_equals($expected, $signature)) { // in constant time, and false when the lengths differ
                return true;
            }
        }
    }
    return false;
}

// Whether X-HopX-Signature holds: one of the secrets signed this body, no matter when.
function verify_body(array $secrets, array $headers, string $body): bool
{
    foreach ($secrets as $secret) {
        if (hash_equals('sha256=' . hash_hmac('sha256', $body, $secret), $headers['HTTP_X_HOPX_SIGNATURE'] ?? '')) {
            return true;
        }
    }
    return false;
}

// To try it, and for our tests: the body on standard input, the headers in the environment, the secrets as arguments. NOW
// stands for the clock.
if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    $secrets = array_slice($argv, 1);
    $body = file_get_contents('php://stdin');
    $now = (int) ($_SERVER['NOW'] ?? time());
    echo 'webhook-signature ', json_encode(verify($secrets, $_SERVER, $body, $now)), "\n";
    echo 'X-HopX-Signature ', json_encode(verify_body($secrets, $_SERVER, $body)), "\n";
}
