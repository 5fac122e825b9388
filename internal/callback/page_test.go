//go:build integration

package callback

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// pagePython and pageNode are the functions of the API's page, letter for letter, fed from the command line.
const pagePython = `
import sys
import hmac
import hashlib
import json
def verify_webhook(payload_bytes, signature, secret):
    """Verify HMAC-SHA256 signature"""
    expected_signature = hmac.new(
        secret.encode('utf-8'),
        payload_bytes,
        hashlib.sha256
    ).hexdigest()
    # Remove 'sha256=' prefix if present
    if signature.startswith('sha256='):
        signature = signature[7:]
    return hmac.compare_digest(signature, expected_signature)
with open(sys.argv[1], 'rb') as f:
    payload_bytes = f.read()
data = json.loads(payload_bytes)
print(verify_webhook(payload_bytes, sys.argv[2], sys.argv[3]), data['execution_id'], data['status'])
`

const pageNode = `
const crypto = require('crypto');
function verifyWebhook(payloadString, signature, secret) {
  const expectedSignature = crypto
    .createHmac('sha256', secret)
    .update(payloadString)
    .digest('hex');
  // Remove 'sha256=' prefix if present
  const actualSignature = signature.startsWith('sha256=')
    ? signature.slice(7)
    : signature;
  return crypto.timingSafeEqual(
    Buffer.from(actualSignature),
    Buffer.from(expectedSignature)
  );
}
const payloadString = require('fs').readFileSync(process.argv[1]).toString('utf8');
const data = JSON.parse(payloadString);
console.log(verifyWebhook(payloadString, process.argv[2], process.argv[3]), data.execution_id, data.status);
`

func TestThePagesOwnFunctionsVerifyOurSignature(t *testing.T) {
	for name, c := range map[string]struct {
		interpreter string
		args        []string
		yes, no     string
	}{
		"Python": {"python3", []string{"-c", pagePython}, "True", "False"},
		"Node":   {"node", []string{"-e", pageNode}, "true", "false"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(c.interpreter); err != nil {
				if os.Getenv("REQUIRE_DOCKER") == "1" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for i, file := range []string{"testdata/completed.json", "testdata/invalid_utf8.json"} {
				body, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				secret := secrets[i]
				for signed, verdict := range map[string]string{secret: c.yes, secret + "x": c.no} {
					args := slices.Concat(c.args, []string{file, Sign(signed, body), secret})
					got, err := exec.CommandContext(t.Context(), c.interpreter, args...).CombinedOutput()
					if want := verdict + " " + string(anID) + " completed\n"; err != nil || string(got) != want {
						t.Errorf("%s, secret %q, signed with %q: got %q, %v; want %q", file, secret, signed, got, err, want)
					}
				}
			}
		})
	}
}
