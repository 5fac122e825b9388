package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"boomerang/internal/fault"
)

var update = flag.Bool("update", false, "write the tables into the documents")

// testKeys holds the private keys that the server under attack trusts, and one that it does not trust.
type testKeys struct {
	rsa, otherRSA *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
	ed, stranger  ed25519.PrivateKey
}

var sharedKeys = sync.OnceValue(func() testKeys {
	return testKeys{
		rsa: must(rsa.GenerateKey(rand.Reader, 2048)), otherRSA: must(rsa.GenerateKey(rand.Reader, 2048)),
		ec: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		ed: newEd25519(), stranger: newEd25519(),
	}
})

func newEd25519() ed25519.PrivateKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)
}

func publicOf(private ed25519.PrivateKey) ed25519.PublicKey {
	public, _ := private.Public().(ed25519.PublicKey) // always succeeds
	return public
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pemOf writes the public key to a file and returns its path.
func pemOf(tb testing.TB, public crypto.PublicKey) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "key.pem")
	if err := os.WriteFile(path, pemText(public), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func pemText(public crypto.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))})
}

// newTestAuth returns an Auth with a secret of its own and four public keys, which requires an issuer and an audience.
func newTestAuth(tb testing.TB) *Auth {
	tb.Helper()
	keys := sharedKeys()
	return newAuth(tb, Config{Issuer: "i", Audience: "b", Keys: []KeyFile{
		{File: pemOf(tb, keys.rsa.Public()), ID: "rsa"},
		{File: pemOf(tb, keys.otherRSA.Public()), ID: "other"},
		{File: pemOf(tb, keys.ec.Public()), ID: "ec"},
		{File: pemOf(tb, keys.ed.Public()), ID: "ed"},
	}})
}

// validClaims is a payload that newTestAuth's server accepts from a trusted signer; withClaims adds claims to it.
const validClaims = `{"sub":"ann","iss":"i","aud":"b","exp":946684860}`

func withClaims(claims string) string {
	return strings.TrimSuffix(validClaims, "}") + "," + claims + "}"
}

// signed makes a token of literal JSON, signed with method and key.
func signed(method jwt.SigningMethod, key any, header, payload string) string {
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	return text + "." + base64.RawURLEncoding.EncodeToString(must(method.Sign(text, key)))
}

// resigned replaces the signature of a token.
func resigned(token string, signature []byte) string {
	return token[:strings.LastIndexByte(token, '.')+1] + base64.RawURLEncoding.EncodeToString(signature)
}

func signature(token string) []byte {
	return must(base64.RawURLEncoding.DecodeString(token[strings.LastIndexByte(token, '.')+1:]))
}

const (
	untrusted = "The token is malformed, or not signed by a key that is trusted here."
	misshapen = "The token lacks a claim that is needed here, " +
		"or has one of the wrong form (sub, exp, nbf, iat, scope, iss, aud)."
	odd   = "The token has a character that no token has."
	letIn = "" // the token is accepted and gives no extra rights
)

// attack is a malicious token and the expected answer.
type attack struct {
	name  string // Markdown
	token string
	says  string // the public sentence
}

func attacks() []attack {
	k := sharedKeys()
	hs := func(payload string) string { return sign(testKey, plainHeader, payload) }
	header := func(h string) string { return sign(testKey, h, validClaims) }
	rs := func(h string) string { return signed(jwt.SigningMethodRS256, k.rsa, h, validClaims) }
	es := signed(jwt.SigningMethodES256, k.ec, `{"alg":"ES256","kid":"ec"}`, validClaims)
	ed := signed(jwt.SigningMethodEdDSA, k.ed, `{"alg":"EdDSA","kid":"ed"}`, validClaims)
	der := must(k.ec.Sign(rand.Reader, must(hash(es)), crypto.SHA256))
	public := base64.RawURLEncoding.EncodeToString(publicOf(k.stranger))
	identity := append([]byte{1}, make([]byte, 31)...) // neutral point: R of a signature for a key of small order
	deep := strings.Repeat("[", 2500) + strings.Repeat("]", 2500)
	var list []attack
	add := func(says, name, token string) { list = append(list, attack{name, token, says}) }

	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", ""} {
		add(untrusted, fmt.Sprintf("`alg` is `%q`, without a signature", alg),
			unsigned(fmt.Sprintf(`{"alg":%q}`, alg), validClaims))
	}
	add(untrusted, "`alg` is `none`, signed all the same", header(`{"alg":"none"}`))
	add(untrusted, "no `alg`", header(`{}`))
	add(untrusted, "`alg` is a list", header(`{"alg":["HS256"]}`))
	add(untrusted, "`alg` stands twice, `HS256` last", header(`{"alg":"none","alg":"HS256"}`))
	add(untrusted, "`alg` is unknown (`HS1`)", header(`{"alg":"HS1"}`))
	add(untrusted, "`alg` is `hs256`", header(`{"alg":"hs256"}`))
	add(untrusted, "HS512 with the right secret",
		signed(jwt.SigningMethodHS512, []byte(testKey), `{"alg":"HS512"}`, validClaims))

	add(untrusted, "HS256 with the RSA public key's PEM as its secret",
		sign(string(pemText(k.rsa.Public())), `{"alg":"HS256","kid":"rsa"}`, validClaims))
	add(untrusted, "the same without `kid`", sign(string(pemText(k.rsa.Public())), plainHeader, validClaims))
	add(untrusted, "HS256 with the Ed25519 public key as its secret",
		sign(string(publicOf(k.ed)), plainHeader, validClaims))
	add(untrusted, "RS256 with an HMAC by our secret", header(`{"alg":"RS256","kid":"rsa"}`))
	add(untrusted, "PS256 with a key that is bound to RS256",
		signed(jwt.SigningMethodPS256, k.rsa, `{"alg":"PS256","kid":"rsa"}`, validClaims))
	add(untrusted, "RS512 with a key that is bound to RS256",
		signed(jwt.SigningMethodRS512, k.rsa, `{"alg":"RS512","kid":"rsa"}`, validClaims))
	add(untrusted, "ES256 signed with Ed25519",
		signed(jwt.SigningMethodEdDSA, k.ed, `{"alg":"ES256","kid":"ec"}`, validClaims))

	for _, kid := range []string{"../../etc/passwd", "/dev/null", "' OR 1=1 --", "unknown"} {
		add(untrusted, fmt.Sprintf("`kid` is `%s`, signed with an empty secret", kid),
			sign("", fmt.Sprintf(`{"alg":"HS256","kid":%q}`, kid), validClaims))
		add(untrusted, fmt.Sprintf("`kid` is `%s`, signed by a good key", kid),
			rs(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid)))
	}
	add(untrusted, "`kid` is a number", rs(`{"alg":"RS256","kid":1}`))
	add(untrusted, "`kid` is of another good key", rs(`{"alg":"RS256","kid":"other"}`))
	add(untrusted, "`jwk`: the attacker's own key in the header",
		signed(jwt.SigningMethodEdDSA, k.stranger,
			`{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+public+`"}}`, validClaims))
	for _, name := range []string{"jku", "x5u"} {
		add(untrusted, "`"+name+"`: the address of the attacker's key",
			signed(jwt.SigningMethodEdDSA, k.stranger,
				`{"alg":"EdDSA","`+name+`":"https://attacker.example/keys"}`, validClaims))
	}
	add(untrusted, "`x5c`: the attacker's certificate",
		signed(jwt.SigningMethodEdDSA, k.stranger, `{"alg":"EdDSA","x5c":["MIIB"]}`, validClaims))
	add(letIn, "`jku`, `jwk`, `x5u`, `x5c` in a token that a good key signed",
		rs(`{"alg":"RS256","kid":"rsa",`+
			`"jku":"https://attacker.example/","jwk":{},"x5u":"https://attacker.example/","x5c":[]}`))
	add(untrusted, "`crit` asks for an extension", header(`{"alg":"HS256","crit":["b64"],"b64":false}`))

	add("The token has expired.", "expired 31 s ago", hs(strings.Replace(validClaims, "946684860", "946684769", 1)))
	add(misshapen, "no `exp`", hs(`{"sub":"ann","iss":"i","aud":"b"}`))
	for _, exp := range []string{"null", "0", "-1", `"946684860"`, "1e18", "1e300", "[946684860]", "true"} {
		add(misshapen, "`exp` is `"+exp+"`", hs(strings.Replace(validClaims, "946684860", exp, 1)))
	}
	add(untrusted, "`exp` is `1e999`", hs(strings.Replace(validClaims, "946684860", "1e999", 1)))
	add("The token is not valid yet.", "`nbf` 31 s ahead", hs(withClaims(`"nbf":946684831`)))
	add("The token is not valid yet.", "`iat` 31 s ahead", hs(withClaims(`"iat":946684831`)))
	add(misshapen, "`nbf` is text", hs(withClaims(`"nbf":"never"`)))
	add("The token comes from an issuer that is not trusted here.", "another `iss`",
		hs(strings.Replace(validClaims, `"i"`, `"j"`, 1)))
	add(misshapen, "no `iss`", hs(`{"sub":"ann","aud":"b","exp":946684860}`))
	add("The token is meant for another audience.", "another `aud`", hs(strings.Replace(validClaims, `"b"`, `"c"`, 1)))
	add("The token is meant for another audience.", "`aud` in another case",
		hs(strings.Replace(validClaims, `"b"`, `"B"`, 1)))
	add(misshapen, "no `aud`", hs(`{"sub":"ann","iss":"i","exp":946684860}`))
	for _, sub := range []struct{ name, text string }{
		{"empty", `""`},
		{"a number", `7`},
		{"a list", `["ann"]`},
		{"with NUL", `"ann\u0000"`},
		{"with a line break", `"ann\nbob"`},
		{"with half of a surrogate pair", `"ann\ud800"`},
		{"256 bytes", `"` + strings.Repeat("s", 256) + `"`},
	} {
		add(misshapen, "`sub` is "+sub.name, hs(strings.Replace(validClaims, `"ann"`, sub.text, 1)))
	}
	add(misshapen, "no `sub`", hs(`{"iss":"i","aud":"b","exp":946684860}`))
	add("The token is longer than 8192 bytes.", "`sub` of 10 KB",
		hs(strings.Replace(validClaims, `ann`, strings.Repeat("s", 10<<10), 1)))
	add(misshapen, "`scope` is a number", hs(withClaims(`"scope":1`)))
	add(misshapen, "`scopes` has what is no string", hs(withClaims(`"scopes":["admin",1]`)))
	add(untrusted, "a claim stands twice", hs(withClaims(`"sub":"bob"`)))
	add(untrusted, "a claim stands twice, once escaped", hs(withClaims(`"\u0073ub":"bob"`)))
	add(untrusted, "the payload is not UTF-8", hs(withClaims("\"x\":\"\xff\"")))
	add(untrusted, "the payload is a list", hs(`["sub"]`))
	add(misshapen, "the payload is `null`", hs(`null`))
	add(untrusted, "the payload is broken JSON", hs(`{"sub":`))
	add(untrusted, "something follows the payload", hs(validClaims+`{}`))
	add(untrusted, "a token in a token (`cty`)", sign(testKey, `{"alg":"HS256","cty":"JWT"}`, hs(validClaims)))
	add(letIn, "2500 nested lists in a claim that nobody reads, signed by a good key", hs(withClaims(`"x":`+deep)))
	add(untrusted, "2500 nested lists in the header", unsigned(`{"alg":"none","x":`+deep+`}`, validClaims))

	add("The token is longer than 8192 bytes.", "100 KB of dots", strings.Repeat(".", 100<<10))
	add(untrusted, "8 KB of dots", strings.Repeat(".", 8<<10))
	add("The token is longer than 8192 bytes.", "10 000 segments", strings.Repeat("e30.", 10_000))
	add(untrusted, "a fourth segment", hs(validClaims)+".e30")
	add(untrusted, "one word", "hello")
	add(odd, "base64 with padding", hs(validClaims)+"=")
	add(odd, "base64 of the other alphabet", strings.Replace(hs(validClaims), ".", "+.", 1))
	add(odd, "a line break in the signature",
		hs(validClaims)[:len(hs(validClaims))-4]+"\n"+hs(validClaims)[len(hs(validClaims))-4:])
	add(odd, "a space behind it", hs(validClaims)+" ")
	add(untrusted, "other bits where base64 has no byte", spareBits(hs(validClaims)))
	add(untrusted, "no signature", unsigned(plainHeader, validClaims))
	add(untrusted, "half a signature", resigned(hs(validClaims), signature(hs(validClaims))[:16]))
	add(untrusted, "more behind the signature", resigned(hs(validClaims), append(signature(hs(validClaims)), 0)))
	add(untrusted, "the signature of another token",
		resigned(hs(withClaims(`"scope":"admin"`)), signature(hs(validClaims))))
	add(untrusted, "an unknown secret", sign(strings.Repeat("k", 32), plainHeader, validClaims))
	add(untrusted, "an empty secret", sign("", plainHeader, validClaims))
	add(untrusted, "ES256 with r = s = 0", resigned(es, make([]byte, 64)))
	add(untrusted, "ES256 with r = s = the order of the curve",
		resigned(es, append(elliptic.P256().Params().N.Bytes(), elliptic.P256().Params().N.Bytes()...)))
	add(untrusted, "ES256 with a good signature in DER", resigned(es, der))
	add(untrusted, "EdDSA with R = neutral point, S = 0", resigned(ed, append(identity, make([]byte, 32)...)))
	add(untrusted, "EdDSA of 64 zeros", resigned(ed, make([]byte, 64)))
	add(untrusted, "RS256 with a signature of zeros", resigned(rs(`{"alg":"RS256","kid":"rsa"}`), make([]byte, 256)))
	return list
}

// hash returns the SHA-256 that a token's signature signs.
func hash(token string) ([]byte, error) {
	h := sha256.New()
	_, err := h.Write([]byte(token[:strings.LastIndexByte(token, '.')]))
	return h.Sum(nil), err
}

// In a synctest bubble the time is 2000-01-01T00:00:00Z, 946684800, and stands still.
func TestEachAttackHasItsAnswer(t *testing.T) {
	list, a := attacks(), newTestAuth(t)
	var rows strings.Builder
	fmt.Fprintf(&rows, "\nEach is tried by the tests, and this is the answer. *(1)* stands for: %s *(2)*: %s\n\n",
		untrusted, misshapen)
	rows.WriteString("| attack | answer |\n|---|---|\n")
	shorter := strings.NewReplacer(untrusted, "*(1)*", misshapen, "*(2)*")
	for _, attack := range list {
		answer := "let in: nothing is gained by it"
		if attack.says != letIn {
			answer = "401: " + shorter.Replace(attack.says)
		}
		fmt.Fprintf(&rows, "| %s | %s |\n", attack.name, answer)
		t.Run(attack.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := a.Authenticate(attack.token)
				if attack.says == letIn {
					if want := (Principal{Subject: "ann"}); err != nil || got != want {
						t.Errorf("got %+v, %v; want %+v", got, err, want)
					}
					return
				}
				f, ok := errors.AsType[*fault.Error](err)
				if !ok || f.Code != fault.InvalidToken || f.Sentence != attack.says {
					t.Errorf("got %v; want INVALID_TOKEN that says %q", err, attack.says)
				}
				if got != (Principal{}) {
					t.Errorf("got %+v beside the error; want no principal", got)
				}
			})
		})
	}
	rows.WriteString("\n")
	checkDocument(t, rows.String())
}

// checkDocument compares the table in the document with the answers of this test.
func checkDocument(t *testing.T, rows string) {
	t.Helper()
	const page = "../../docs/SECURITY-ATTACKS.md"
	text := string(must(os.ReadFile(page)))
	match := regexp.MustCompile(`(?s)(<!-- attacks:[^>]*-->\n)(.*?)(<!-- /attacks -->)`).FindStringSubmatch(text)
	if match == nil {
		t.Fatal("docs/SECURITY-ATTACKS.md has no place for the attacks")
	}
	if match[2] == rows {
		return
	}
	if !*update {
		t.Fatalf(
			"the table in docs/SECURITY-ATTACKS.md is outdated; run go test ./internal/auth -run Attack -update\n%s",
			rows,
		)
	}
	text = strings.Replace(text, match[0], match[1]+rows+match[3], 1)
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The tokens that the attacks start from are accepted, so an attack fails only because of its change.
func TestATokenOfEachTrustedKeyIsAccepted(t *testing.T) {
	k, a := sharedKeys(), newTestAuth(t)
	for name, token := range map[string]string{
		"HS256":             sign(testKey, plainHeader, validClaims),
		"RS256":             signed(jwt.SigningMethodRS256, k.rsa, `{"alg":"RS256","kid":"rsa"}`, validClaims),
		"RS256, other key":  signed(jwt.SigningMethodRS256, k.otherRSA, `{"alg":"RS256","kid":"other"}`, validClaims),
		"RS256 without kid": signed(jwt.SigningMethodRS256, k.otherRSA, `{"alg":"RS256"}`, validClaims),
		"ES256":             signed(jwt.SigningMethodES256, k.ec, `{"alg":"ES256","kid":"ec"}`, validClaims),
		"EdDSA":             signed(jwt.SigningMethodEdDSA, k.ed, `{"alg":"EdDSA","kid":"ed"}`, validClaims),
	} {
		synctest.Test(t, func(t *testing.T) {
			if got, err := a.Authenticate(token); err != nil || got.Subject != "ann" {
				t.Errorf("%s: got %+v, %v; want ann", name, got, err)
			}
		})
	}
}

// FuzzAuthenticate checks that no token panics, and that every accepted token has a signature of a trusted key.
func FuzzAuthenticate(f *testing.F) {
	k := sharedKeys()
	a := newTestAuth(f)
	const forever = `{"sub":"ann","iss":"i","aud":"b","exp":99999999999}`
	f.Add(sign(testKey, plainHeader, forever))
	f.Add(signed(jwt.SigningMethodRS256, k.rsa, `{"alg":"RS256","kid":"rsa"}`, forever))
	f.Add(signed(jwt.SigningMethodES256, k.ec, `{"alg":"ES256","kid":"ec"}`, forever))
	f.Add(signed(jwt.SigningMethodEdDSA, k.ed, `{"alg":"EdDSA","kid":"ed"}`, forever))
	for _, attack := range attacks() {
		if len(attack.token) <= maxToken {
			f.Add(attack.token)
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := a.Authenticate(token)
		if err != nil {
			if f := fault.Of(err); f.Code != fault.AuthenticationRequired && f.Code != fault.InvalidToken {
				t.Fatalf("got %v; want a fault of the token", err)
			}
			return
		}
		if p.Subject == "" || !signedByTrustedKey(k, token) {
			t.Fatalf("accepted %q as %+v", token, p)
		}
	})
}

// signedByTrustedKey verifies a signature without the library.
func signedByTrustedKey(k testKeys, token string) bool {
	cut := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[cut+1:])
	if err != nil {
		return false
	}
	digest := must(hash(token))
	mac := hmac.New(sha256.New, []byte(testKey))
	mac.Write([]byte(token[:cut]))
	if hmac.Equal(sig, mac.Sum(nil)) || ed25519.Verify(publicOf(k.ed), []byte(token[:cut]), sig) {
		return true
	}
	if rsa.VerifyPKCS1v15(&k.rsa.PublicKey, crypto.SHA256, digest, sig) == nil ||
		rsa.VerifyPKCS1v15(&k.otherRSA.PublicKey, crypto.SHA256, digest, sig) == nil {
		return true
	}
	if len(sig) != 64 {
		return false
	}
	return ecdsa.Verify(&k.ec.PublicKey, digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

func unsigned(header, payload string) string {
	signed := sign("", header, payload)
	return signed[:strings.LastIndexByte(signed, '.')+1]
}

// spareBits changes the two bits of the last character that belong to no byte.
func spareBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last|1])
}
