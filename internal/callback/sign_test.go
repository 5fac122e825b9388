package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// secrets holds every kind of secret that a client may send.
var secrets = []string{
	"your-secret-key",
	"with spaces and ümlauts",
	"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	"whsec_!!! this is not base64",
	"whsec_++//++//+/8=",
	"whsec_",
	"x",
}

var signedBodies = []string{`{"execution_id":"exec_1","stdout":"ok\n"}`, "", "a.b.c \x00\xff é"}

// encoded returns the secret of a key of n bytes.
func encoded(n int) string {
	return secretPrefix + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xfb", n)))
}

func TestASecretWithThePrefixIsAKeyThatEveryLibraryDerives(t *testing.T) {
	good := encoded(32)
	for name, secret := range map[string]string{
		"24 bytes":                encoded(24),
		"25 bytes, two ='s":       encoded(25),
		"26 bytes, one =":         encoded(26),
		"64 bytes":                encoded(64),
		"raw":                     "your-secret-key",
		"raw, one letter":         "x",
		"another case of it":      "WHSEC_",
		"a mixed case of it":      "Whsec_!!!",
		"a space before it":       " whsec_",
		"its beginning":           "whsec",
		"another separator of it": "whsec-AAAA",
	} {
		if err := CheckSecret(secret); err != nil {
			t.Errorf("%s, %q: %v", name, secret, err)
		}
	}
	for name, secret := range map[string]string{
		"nothing":                   "whsec_",
		"23 bytes":                  encoded(23),
		"65 bytes":                  encoded(65),
		"not base64":                "whsec_!!! this is not base64, but it is long enough",
		"no padding":                strings.TrimRight(good, "="),
		"too much padding":          good + "=",
		"padding alone":             "whsec_====",
		"the URL-safe alphabet":     strings.NewReplacer("+", "-", "/", "_").Replace(good),
		"loose bits":                strings.TrimSuffix(encoded(25), "w==") + "x==",
		"a line break at its end":   good + "\n",
		"a line break in it":        good[:20] + "\r\n" + good[20:],
		"a space at its end":        good + " ",
		"a space before it":         "whsec_ " + good[6:],
		"the prefix twice":          "whsec_" + good,
		"a NUL":                     good[:20] + "\x00" + good[20:],
		"something behind its end":  good + "AAAA",
		"a hexadecimal key":         "whsec_" + strings.Repeat("0f", 33),
		"letters of another script": "whsec_" + strings.Repeat("ä", 32),
	} {
		if err := CheckSecret(secret); err == nil {
			t.Errorf("%s, %q: it passes", name, secret)
		} else if len(secret) > 10 && strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("%s: the error shows the secret: %v", name, err)
		}
	}
}

// The rule is newer than some stored executions.
func TestARefusedSecretStillSignsAsItDid(t *testing.T) {
	at, body := time.Unix(1706400000, 0), []byte("{}")
	for secret, key := range map[string]string{
		"whsec_":                  "",
		"whsec_AAAA":              "\x00\x00\x00",
		"whsec_-_":                "whsec_-_",
		"whsec_AAAA\nAAAA":        "\x00\x00\x00\x00\x00\x00",
		"whsec_!!! is not base64": "whsec_!!! is not base64",
	} {
		hash := hmac.New(sha256.New, []byte(key))
		hash.Write([]byte("msg_1.1706400000.{}"))
		want := "v1," + base64.StdEncoding.EncodeToString(hash.Sum(nil))
		if got := SignStandard("msg_1", at, body, secret); got != want {
			t.Errorf("%q: got %s, want %s", secret, got, want)
		}
		if err := CheckSecret(secret); err == nil {
			t.Errorf("%q is not refused", secret)
		}
	}
}

func TestSignIsTheHexOfRFC4231(t *testing.T) {
	// RFC 4231 test case 2.
	const want = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := Sign("Jefe", []byte("what do ya want for nothing?")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVerifyAcceptsOnlyOurSignature(t *testing.T) {
	for _, secret := range secrets {
		for _, body := range signedBodies {
			signature := Sign(secret, []byte(body))
			for given, want := range map[string]error{
				signature:                      nil,
				signature[len("sha256="):]:     nil,
				"":                             ErrUnsigned,
				"sha256=":                      ErrMismatch,
				"sha1=" + signature[7:]:        ErrMismatch,
				signature + "0":                ErrMismatch,
				signature[:len(signature)-1]:   ErrMismatch,
				Sign(secret+"x", []byte(body)): ErrMismatch,
			} {
				if err := Verify(secret, given, []byte(body)); !errors.Is(err, want) {
					t.Errorf("Verify(%q, %q, %q) = %v, want %v", secret, given, body, err, want)
				}
			}
			if err := Verify(secret, signature, []byte(body+" ")); !errors.Is(err, ErrMismatch) {
				t.Errorf("another body: got %v", err)
			}
		}
	}
}

// standardHeader returns the headers of a standard signature.
func standardHeader(id string, at time.Time, signature string) http.Header {
	h := http.Header{}
	h.Set(HeaderStandardID, id)
	h.Set(HeaderStandardTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderStandardSignature, signature)
	return h
}

func TestTheStandardLibraryVerifiesOurSignature(t *testing.T) {
	now := time.Now()
	for _, secret := range secrets {
		official, err := standardwebhooks.NewWebhook(secret)
		if err != nil || secret[:min(6, len(secret))] != "whsec_" {
			official, err = standardwebhooks.NewWebhookRaw([]byte(secret))
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range signedBodies {
			h := standardHeader("msg_exec_1", now, SignStandard("msg_exec_1", now, []byte(body), "another", secret))
			if err := official.Verify([]byte(body), h); err != nil {
				t.Errorf("secret %q, body %q: %v", secret, body, err)
			}
			signature, err := official.Sign("msg_exec_1", now, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			header := standardHeader("msg_exec_1", now, signature)
			if err := VerifyStandard(secret, header, []byte(body), now); err != nil {
				t.Errorf("their signature, secret %q, body %q: %v", secret, body, err)
			}
		}
	}
}

func TestVerifyStandardRefusesEverythingThatTheLibraryRefuses(t *testing.T) {
	now := time.Unix(1706400000, 0)
	body := []byte(`{"a":1}`)
	sign := func(id string, at time.Time) string { return SignStandard(id, at, body, "secret") }
	header := func(change func(http.Header)) http.Header {
		h := standardHeader("msg_1", now, sign("msg_1", now))
		change(h)
		return h
	}
	for name, c := range map[string]struct {
		header http.Header
		want   error
	}{
		"as it is": {header(func(http.Header) {}), nil},
		"one of several": {
			header(func(h http.Header) { h.Set(HeaderStandardSignature, "v1a,xx v1,bad "+sign("msg_1", now)) }), nil,
		},
		"no signature":           {header(func(h http.Header) { h.Del(HeaderStandardSignature) }), ErrUnsigned},
		"no timestamp":           {header(func(h http.Header) { h.Del(HeaderStandardTimestamp) }), ErrStale},
		"timestamp not a number": {header(func(h http.Header) { h.Set(HeaderStandardTimestamp, "now") }), ErrStale},
		"another id":             {header(func(h http.Header) { h.Set(HeaderStandardID, "msg_2") }), ErrMismatch},
		"another version": {
			header(func(h http.Header) { h.Set(HeaderStandardSignature, "v2"+sign("msg_1", now)[2:]) }), ErrMismatch,
		},
		"another instant": {header(func(h http.Header) { h.Set(HeaderStandardTimestamp, "1706400001") }), ErrMismatch},
		"just old enough": {standardHeader("m", now.Add(-Tolerance), sign("m", now.Add(-Tolerance))), nil},
		"too old": {
			standardHeader("m", now.Add(-Tolerance-time.Second), sign("m", now.Add(-Tolerance-time.Second))), ErrStale,
		},
		"too new": {
			standardHeader("m", now.Add(Tolerance+time.Second), sign("m", now.Add(Tolerance+time.Second))), ErrStale,
		},
		"end of time": {standardHeader("m", time.Unix(1<<62, 0), sign("m", time.Unix(1<<62, 0))), ErrStale},
	} {
		if err := VerifyStandard("secret", c.header, body, now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	h := standardHeader("msg_1", now, sign("msg_1", now))
	if err := VerifyStandard("secret", h, append(body, ' '), now); !errors.Is(err, ErrMismatch) {
		t.Errorf("another body: got %v", err)
	}
	if err := VerifyStandard("whsec_"+base64.StdEncoding.EncodeToString([]byte("secret")), h, body, now); err != nil {
		t.Errorf("the same key spelled in base64: %v", err)
	}
}
