//go:build ignore

// Verify a callback of boomerang. Copy the functions; the standard library is all they need.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute

// verify tells whether webhook-signature holds: one of the secrets signed this body, its id and its time, at most 5 minutes
// from now. The body is the bytes as they came, read before anything parses them.
func verify(secrets []string, header http.Header, body []byte, now time.Time) bool {
	timestamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	message := append([]byte(header.Get("webhook-id")+"."+timestamp+"."), body...)
	for _, secret := range secrets {
		key := []byte(secret)
		if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
			key, err = base64.StdEncoding.DecodeString(encoded)
			if err != nil || base64.StdEncoding.EncodeToString(key) != encoded || len(key) < 24 || len(key) > 64 {
				continue // it is no key: boomerang takes no such secret
			}
		}
		expected := []byte("v1," + base64.StdEncoding.EncodeToString(sum(key, message)))
		for _, signature := range strings.Fields(header.Get("webhook-signature")) {
			if hmac.Equal([]byte(signature), expected) { // in constant time, and false when the lengths differ
				return true
			}
		}
	}
	return false
}

// verifyBody tells whether X-HopX-Signature holds: one of the secrets signed this body, no matter when.
func verifyBody(secrets []string, header http.Header, body []byte) bool {
	signature := []byte(header.Get("X-HopX-Signature"))
	for _, secret := range secrets {
		if hmac.Equal(signature, []byte("sha256="+hex.EncodeToString(sum([]byte(secret), body)))) {
			return true
		}
	}
	return false
}

func sum(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

// To try it, and for our tests: the body on standard input, the headers in the environment under their CGI names, the
// secrets as arguments. NOW stands for the clock.
func main() {
	header := http.Header{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if name, ok := strings.CutPrefix(name, "HTTP_"); ok {
			header.Set(strings.ReplaceAll(name, "_", "-"), value)
		}
	}
	now := time.Now()
	if seconds, err := strconv.ParseInt(os.Getenv("NOW"), 10, 64); err == nil {
		now = time.Unix(seconds, 0)
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	fmt.Println("webhook-signature", verify(os.Args[1:], header, body, now))
	fmt.Println("X-HopX-Signature", verifyBody(os.Args[1:], header, body))
}
