"""Verify a callback of boomerang. Copy the functions; the standard library is all they need."""

import base64
import hashlib
import hmac
import re

TOLERANCE = 300  # seconds


def verify(secrets, headers, body, now):
    """Whether webhook-signature holds: one of the secrets signed this body, its id and its time, at most 5 minutes from now.

    secrets: list of str; headers: mapping of str, names in any case; body: the bytes as they came; now: Unix seconds.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    timestamp = headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,15}", timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    message = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    signatures = headers.get("webhook-signature", "").encode().split()
    for secret in secrets:
        key = secret.encode()
        if secret.startswith("whsec_"):
            try:
                key = base64.b64decode(secret[6:], validate=True)
            except ValueError:
                continue
            if base64.b64encode(key).decode() != secret[6:] or not 24 <= len(key) <= 64:
                continue  # it is no key: boomerang takes no such secret
        expected = b"v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256))
        if any(hmac.compare_digest(signature, expected) for signature in signatures):
            return True
    return False


def verify_body(secrets, headers, body):
    """Whether X-HopX-Signature holds: one of the secrets signed this body, no matter when."""
    headers = {name.lower(): value for name, value in headers.items()}
    signature = headers.get("x-hopx-signature", "").encode()
    for secret in secrets:
        expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(signature, expected.encode()):
            return True
    return False


# To try it, and for our tests: the body on standard input, the headers in the environment under their CGI names, the
# secrets as arguments. NOW stands for the clock.
if __name__ == "__main__":
    import os
    import sys
    import time

    received = {name[5:].replace("_", "-"): value for name, value in os.environ.items() if name.startswith("HTTP_")}
    payload = sys.stdin.buffer.read()
    clock = int(os.environ.get("NOW", time.time()))
    print("webhook-signature", str(verify(sys.argv[1:], received, payload, clock)).lower())
    print("X-HopX-Signature", str(verify_body(sys.argv[1:], received, payload)).lower())
