package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// hs256 is the only algorithm with a shared secret.
const hs256 = "HS256"

// publicAlgorithms are the algorithms with a public key.
var publicAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// KeyFile is a public key in a PEM file.
type KeyFile struct {
	// File is the path of the file. Its PEM block is a PUBLIC KEY or an RSA PUBLIC KEY.
	File string `yaml:"file"`
	// Algorithm is the algorithm of the key's signatures (RFC 7518, section 3.1). Empty: RS256 for an RSA key, the only
	// possible one for other keys.
	Algorithm string `yaml:"algorithm"`
	// ID is the "kid" by which tokens name the key. Empty: the key verifies tokens without a "kid".
	ID string `yaml:"kid"`
}

func (k KeyFile) validate() error {
	if k.File == "" {
		return errors.New("file must be named")
	}
	if k.Algorithm != "" && !slices.Contains(publicAlgorithms, k.Algorithm) {
		return fmt.Errorf("algorithm must be one of %v, not %q", publicAlgorithms, k.Algorithm)
	}
	return nil
}

const maxPEM = 64 << 10 // bytes; a longer file is not a key

func (k KeyFile) read() (key, error) {
	file, err := os.Open(k.File)
	if err != nil {
		return key{}, err
	}
	defer func() { _ = file.Close() }() // only read: no data can be lost
	text, err := io.ReadAll(io.LimitReader(file, maxPEM))
	if err != nil {
		return key{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return key{}, errors.New("there is no PEM block in it")
	}
	var public any
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		err = fmt.Errorf("it holds a %s, not a public key (openssl pkey -pubout)", block.Type)
	}
	if err != nil {
		return key{}, err
	}
	return newKey(k.ID, k.Algorithm, public)
}

// key verifies signatures of one algorithm only.
type key struct {
	id        string // "kid"; empty if the key has none
	algorithm string // "alg"
	public    any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// newKey binds a public key to an algorithm. An empty algorithm means the usual one for this kind of key.
func newKey(id, algorithm string, public any) (key, error) {
	possible, err := algorithmsOf(public)
	if err != nil {
		return key{}, err
	}
	if algorithm == "" {
		algorithm = possible[0]
	}
	if !slices.Contains(possible, algorithm) {
		return key{}, fmt.Errorf("it is a key for %v, not for %s", possible, algorithm)
	}
	return key{id: id, algorithm: algorithm, public: public}, nil
}

// Sizes of an RSA key in bits: at least the minimum of RFC 7518, section 3.3, and small enough to verify cheaply.
const (
	minRSA = 2048
	maxRSA = 8192
)

// algorithmsOf lists the algorithms of a public key (RFC 7518, section 3.1; RFC 8037, section 3.1), the usual one
// first.
func algorithmsOf(public any) ([]string, error) {
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("an RSA key must have %d to %d bits, not %d", minRSA, maxRSA, bits)
		}
		return publicAlgorithms[:6], nil
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("tokens are not signed with a key of this kind")
}

type keyset []key

// find returns the keys of the algorithm with this key ID, or all keys of the algorithm for a token without a key ID.
func (s keyset) find(algorithm, id string) (found []jwt.VerificationKey) {
	for _, k := range s {
		if k.algorithm == algorithm && (id == "" || k.id == id) {
			found = append(found, k.public)
		}
	}
	return found
}
