package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAKeyFileIsBoundToOneAlgorithm(t *testing.T) {
	k := sharedKeys()
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	pkcs1 := filepath.Join(t.TempDir(), "pkcs1.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)})
	if err := os.WriteFile(pkcs1, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file   KeyFile
		method jwt.SigningMethod
		key    any
		ok     bool
	}{
		"RSA is RS256":          {KeyFile{File: pemOf(t, k.rsa.Public())}, jwt.SigningMethodRS256, k.rsa, true},
		"RSA in its own format": {KeyFile{File: pkcs1}, jwt.SigningMethodRS256, k.rsa, true},
		"RSA is not PS256":      {KeyFile{File: pemOf(t, k.rsa.Public())}, jwt.SigningMethodPS256, k.rsa, false},
		"RSA as PS256": {
			KeyFile{File: pemOf(t, k.rsa.Public()), Algorithm: "PS256"}, jwt.SigningMethodPS256, k.rsa, true,
		},
		"PS256 is not RS256": {
			KeyFile{File: pemOf(t, k.rsa.Public()), Algorithm: "PS256"}, jwt.SigningMethodRS256, k.rsa, false,
		},
		"P-384 is ES384":     {KeyFile{File: pemOf(t, p384.Public())}, jwt.SigningMethodES384, p384, true},
		"Ed25519 is EdDSA":   {KeyFile{File: pemOf(t, k.ed.Public())}, jwt.SigningMethodEdDSA, k.ed, true},
		"another issuer's":   {KeyFile{File: pemOf(t, k.ed.Public())}, jwt.SigningMethodEdDSA, k.stranger, false},
		"there is no secret": {KeyFile{File: pemOf(t, k.ed.Public())}, jwt.SigningMethodHS256, []byte(""), false},
		"an ID that the token does not name": {
			KeyFile{File: pemOf(t, k.ed.Public()), ID: "ed"}, jwt.SigningMethodEdDSA, k.ed, true,
		},
	} {
		a, err := New(Config{Keys: []KeyFile{test.file}}, t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		token := signed(test.method, test.key, `{"alg":"`+test.method.Alg()+`"}`, validClaims)
		synctest.Test(t, func(t *testing.T) {
			if got, err := a.Authenticate(token); (err == nil) != test.ok || test.ok && got.Subject != "ann" {
				t.Errorf("%s: got %+v, %v; want it let in: %t", name, got, err, test.ok)
			}
		})
	}
}

func TestNewRefusesAnInvalidKeyFile(t *testing.T) {
	k := sharedKeys()
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(k.ed))})
	for name, test := range map[string]struct {
		text      []byte
		algorithm string
		says      string
	}{
		"no PEM":           {[]byte("hello"), "", "no PEM block"},
		"a private key":    {private, "", "openssl pkey -pubout"},
		"broken":           {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "", "asn1"},
		"RSA of 1024 bits": {pemText(must(rsa.GenerateKey(rand.Reader, 1024)).Public()), "", "2048 to 8192 bits"},
		"P-224": {
			pemText(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).Public()), "", "of this kind",
		},
		"RSA for ES256":     {pemText(k.rsa.Public()), "ES256", "not for ES256"},
		"P-256 for ES384":   {pemText(k.ec.Public()), "ES384", "not for ES384"},
		"Ed25519 for RS256": {pemText(k.ed.Public()), "RS256", "not for RS256"},
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Keys: []KeyFile{{File: path, Algorithm: test.algorithm}}}, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v; want an error that names the file and says %q", name, err, test.says)
		}
	}
	if _, err := New(Config{Keys: []KeyFile{{File: "/nowhere.pem"}}}, t.TempDir()); err == nil {
		t.Error("a file that is not there was passed over")
	}
}

func TestReloadReadsTheFilesAgain(t *testing.T) {
	k := sharedKeys()
	path := pemOf(t, k.rsa.Public())
	a, err := New(Config{Keys: []KeyFile{{File: path}}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first := signed(jwt.SigningMethodRS256, k.rsa, `{"alg":"RS256"}`, validClaims)
	second := signed(jwt.SigningMethodRS256, k.otherRSA, `{"alg":"RS256"}`, validClaims)
	letsIn := func(token string) (ok bool) {
		synctest.Test(t, func(*testing.T) {
			_, err := a.Authenticate(token)
			ok = err == nil
		})
		return ok
	}
	for step, test := range []struct {
		text          []byte
		reloads       bool
		first, second bool
	}{
		{pemText(k.rsa.Public()), true, true, false},
		{[]byte("half a fi"), false, true, false},
		{pemText(k.otherRSA.Public()), true, false, true},
	} {
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Reload(a.config); (err == nil) != test.reloads {
			t.Errorf("step %d: got %v; want it reloaded: %t", step, err, test.reloads)
		}
		if got := [2]bool{letsIn(first), letsIn(second)}; got != [2]bool{test.first, test.second} {
			t.Errorf("step %d: got %v let in; want %t, %t", step, got, test.first, test.second)
		}
	}
}

func TestIssueNeedsASecret(t *testing.T) {
	dir := t.TempDir()
	a, err := New(Config{Keys: []KeyFile{{File: pemOf(t, sharedKeys().ed.Public())}}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := a.Issue("ann", time.Hour); err == nil || !strings.Contains(err.Error(), "only verifies tokens") {
		t.Errorf("got %q, %v; want an error that says where tokens come from", token, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("got %v; want no generated secret", entries)
	}
}

func TestValidateNamesTheInvalidKeySetting(t *testing.T) {
	for _, test := range []struct {
		config Config
		says   string
	}{
		{Config{Keys: []KeyFile{{}}}, "keys[0].file"},
		{Config{Keys: []KeyFile{{File: "a"}, {File: "b", Algorithm: "none"}}}, "keys[1].algorithm"},
		{Config{Keys: []KeyFile{{File: "b", Algorithm: "HS256"}}}, "keys[0].algorithm"},
		{Config{JWKSURL: "https://issuer.example/keys"}, "audience must be set"},
		{Config{JWKSURL: "http://issuer.example/keys", Audience: "b"}, "jwks_url must be https"},
		{Config{JWKSURL: "file:///keys", Audience: "b"}, "jwks_url must be"},
		{Config{JWKSURL: "ftp://issuer.example/keys", Audience: "b", JWKSAllowHTTP: true}, "jwks_url must be https"},
		{Config{JWKSURL: "https://u:p@issuer.example/keys", Audience: "b"}, "without a user"},
		{Config{JWKSURL: "http://127.0.0.1.issuer.example/keys", Audience: "b"}, "jwks_url must be https"},
		{Config{JWKSURL: "://", Audience: "b"}, "jwks_url is not a URL"},
	} {
		if err := test.config.Validate(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: got %v; want an error that says %q", test.config, err, test.says)
		}
	}
	for _, url := range []string{
		"https://issuer.example/keys?p=1", "http://127.0.0.1:1/keys", "http://[::1]/keys", "http://localhost/keys",
	} {
		if err := (Config{JWKSURL: url, Audience: "b"}).Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	c := Config{JWKSURL: "http://issuer.example/keys", JWKSAllowHTTP: true, Audience: "b"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
