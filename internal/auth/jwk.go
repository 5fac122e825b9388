package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// maxKeys is the largest number of keys in a set: a token without a key ID is tried with every key of its algorithm.
const maxKeys = 64

// parseJWKS reads a JSON Web Key Set (RFC 7517, section 5). It skips keys that cannot verify tokens, as the RFC
// demands. A set without usable keys is valid too: its publisher no longer trusts any key.
func parseJWKS(text []byte) (keyset, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		return nil, errors.New("it is not a key set")
	}
	if len(*set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys; %d are read at most", len(*set.Keys), maxKeys)
	}
	keys := keyset{}
	for _, raw := range *set.Keys {
		if k, err := parseJWK(raw); err == nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// jwk holds the public parts of a JSON Web Key (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
type jwk struct {
	Type       string    `json:"kty"`
	Use        string    `json:"use"`
	Operations []string  `json:"key_ops"`
	Algorithm  string    `json:"alg"`
	ID         string    `json:"kid"`
	Curve      string    `json:"crv"`
	N          base64URL `json:"n"`
	E          base64URL `json:"e"`
	X          base64URL `json:"x"`
	Y          base64URL `json:"y"`
}

// base64URL is decoded from base64url text without padding.
type base64URL []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *base64URL) UnmarshalText(text []byte) (err error) {
	*n, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}

func parseJWK(text []byte) (key, error) {
	var j jwk
	if err := json.Unmarshal(text, &j); err != nil {
		return key{}, err
	}
	if j.Use != "" && j.Use != "sig" || j.Operations != nil && !slices.Contains(j.Operations, "verify") {
		return key{}, errors.New("it is not for signatures")
	}
	public, err := j.publicKey()
	if err != nil {
		return key{}, err
	}
	return newKey(j.ID, j.Algorithm, public)
}

// publicKey returns the public key. It refuses a symmetric key ("oct"), because a published key is no secret.
func (j jwk) publicKey() (any, error) {
	switch j.Type {
	case "RSA":
		e := new(big.Int).SetBytes(j.E)
		if !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
			return nil, errors.New("its exponent is not valid for an RSA key")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(j.N), E: int(e.Int64())}, nil
	case "EC":
		curve := map[string]elliptic.Curve{
			"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
		}[j.Curve]
		if curve == nil {
			return nil, fmt.Errorf("its curve %q is not known", j.Curve)
		}
		// ParseUncompressedPublicKey checks that the point is on the curve.
		return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, j.X, j.Y))
	case "OKP":
		if j.Curve != "Ed25519" || len(j.X) != ed25519.PublicKeySize {
			return nil, errors.New("it is not an Ed25519 key")
		}
		return ed25519.PublicKey(j.X), nil
	}
	return nil, fmt.Errorf("its type %q is not known", j.Type)
}
