// Package auth turns a bearer token or an API key into a principal: a subject, and whether the subject is an
// administrator. It also issues tokens if this server has a signing key.
//
// Tokens are JSON Web Tokens (RFC 7519), signed with a secret of this server (HS256) or by another issuer, whose public
// keys are in files or at a URL. Each key is bound to one algorithm. The package does not know routes or permissions.
package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
)

// Config holds the settings of tokens. The zero value accepts every token signed with a secret that the server
// generates.
type Config struct {
	// Key is the secret that signs and verifies tokens with HS256, at least 32 bytes. If Key is empty, the secret is in
	// the file token.key in the data directory, made on first start. If Key is empty and Keys or JWKSURL is set, there
	// is no secret.
	Key string `yaml:"key"`
	// Keys are public keys in PEM files. Reload reads the files again.
	Keys []KeyFile `yaml:"keys"`
	// JWKSURL is the URL of a JSON Web Key Set (RFC 7517): https, or http on this machine only.
	JWKSURL string `yaml:"jwks_url"`
	// JWKSAllowHTTP allows http to other machines too. An attacker on the network between can then replace the keys.
	JWKSAllowHTTP bool `yaml:"jwks_allow_http"`
	// Issuer is the required "iss" of a token. Empty: any issuer, or none.
	Issuer string `yaml:"issuer"`
	// Audience must be in the "aud" of a token. Empty: any audience, or none; not allowed with JWKSURL.
	Audience string `yaml:"audience"`
	// APIKeys are the hashes of the keys that can be exchanged for tokens. They need a secret of this server, which
	// signs the tokens. Reload replaces them.
	APIKeys []APIKey `yaml:"api_keys"`
}

// Defaults returns settings with a generated key and no required issuer or audience.
func Defaults() Config { return Config{} }

// Validate returns an error that names the invalid key.
func (c Config) Validate() error {
	if c.Key != "" && len(c.Key) < minKey {
		return fmt.Errorf("key must have at least %d bytes, not %d", minKey, len(c.Key))
	}
	for i, k := range c.Keys {
		if err := k.validate(); err != nil {
			return fmt.Errorf("keys[%d].%w", i, err)
		}
	}
	if err := c.validateAPIKeys(); err != nil {
		return err
	}
	if c.JWKSURL == "" {
		return nil
	}
	if err := checkJWKSURL(c.JWKSURL, c.JWKSAllowHTTP); err != nil {
		return fmt.Errorf("jwks_url %w", err)
	}
	if c.Audience == "" {
		return errors.New("audience must be set with jwks_url: its issuer signs tokens for other services, too")
	}
	return nil
}

func (c Config) validateAPIKeys() error {
	first := map[string]int{}
	for i, k := range c.APIKeys {
		if err := k.validate(); err != nil {
			return fmt.Errorf("api_keys[%d].%w", i, err)
		}
		sum := strings.ToLower(k.SHA256)
		if j, twice := first[sum]; twice {
			return fmt.Errorf("api_keys[%d].sha256 is that of api_keys[%d]", i, j)
		}
		first[sum] = i
	}
	if len(c.APIKeys) > 0 && c.Key == "" && (len(c.Keys) > 0 || c.JWKSURL != "") {
		return errors.New("key must be set with api_keys: " +
			"it signs the tokens that API keys are exchanged for; keys and jwks_url only verify tokens")
	}
	return nil
}

// Principal is the authenticated caller.
type Principal struct {
	Subject string // "sub" of the token, owner of the caller's executions; 1–255 bytes
	Admin   bool   // sees every execution and may do everything

	Credential Credential // proof of the caller's identity
}

// Credential names the token or the API key that a caller showed, so that it can be revoked.
type Credential struct {
	Token    string    // "jti" of the token; empty if it has none
	Key      string    // ID of the API key, or of the key that the token was made for; empty without one
	IssuedAt time.Time // "iat" of the token; zero for an API key and for a token without it
}

// ScopeAdmin among the scopes of a token makes its subject an administrator.
const ScopeAdmin = "admin"

const (
	leeway   = 30 * time.Second // tolerated difference between the issuer's clock and ours
	maxToken = 8 << 10          // bytes; a longer token is refused unread

	// MaxLifetime is the longest lifetime of a token that Issue makes. The revocation of a subject is kept that long.
	MaxLifetime = 366 * 24 * time.Hour
)

// Auth verifies and issues tokens. It is safe for concurrent use.
type Auth struct {
	config  Config
	secret  []byte                   // HS256 signing key; nil if other issuers sign the tokens
	files   atomic.Pointer[keyset]   // keys of PEM files
	apiKeys atomic.Pointer[[]APIKey] // API keys of the configuration
	revoked atomic.Pointer[revoked]  // never nil
	holders holders
	remote  *remoteKeys // nil without a URL
	parser  *jwt.Parser
}

// New returns an Auth with the configured keys, or with the key in dataDir, a directory that must exist. New reads the
// files; Run reads the URL.
func New(c Config, dataDir string) (*Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	a := &Auth{config: c, secret: []byte(c.Key), parser: newParser(c)}
	a.holders.all = make(map[*holder]bool)
	a.revoked.Store(newRevoked(nil))
	if c.Key == "" {
		a.secret = nil
	}
	if c.Key == "" && len(c.Keys) == 0 && c.JWKSURL == "" {
		var err error
		if a.secret, err = openKey(dataDir); err != nil {
			return nil, err
		}
	}
	if c.JWKSURL != "" {
		a.remote = newRemoteKeys(c.JWKSURL)
	}
	return a, a.Reload(c)
}

func newParser(c Config) *jwt.Parser {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(append(slices.Clone(publicAlgorithms), hs256)),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithStrictDecoding(),
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	return jwt.NewParser(options...)
}

// Reload takes the API keys and the names of the key files from c, and reads the files again. Requests of an API key
// that is missing in c, and of its tokens, end. After an error the old keys stay. Other settings need a restart.
func (a *Auth) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	var keys keyset
	for _, file := range c.Keys {
		k, err := file.read()
		if err != nil {
			return fmt.Errorf("read token key %s: %w", file.File, err)
		}
		keys = append(keys, k)
	}
	a.files.Store(&keys)
	apiKeys := slices.Clone(c.APIKeys)
	a.apiKeys.Store(&apiKeys)
	a.endRevoked()
	return nil
}

// Run refreshes the keys from the URL until ctx ends, and then returns nil.
func (a *Auth) Run(ctx context.Context, log *logrus.Entry) error {
	if a.remote != nil {
		a.remote.run(ctx, log)
	}
	<-ctx.Done()
	return nil
}

// Ready reports whether keys are available. Errors: fault SERVICE_UNAVAILABLE until the URL has answered once.
func (a *Auth) Ready(context.Context) error {
	if a.remote != nil && a.remote.keys.Load() == nil {
		return fault.New(fault.ServiceUnavailable, "The key set that tokens are verified with has not been read yet.")
	}
	return nil
}

// Authenticate returns the principal of a token. Errors are faults: AUTHENTICATION_REQUIRED without a token,
// INVALID_TOKEN with an invalid or revoked one. An error names the claim only if the signature is valid. A token with
// an unknown key ID may wait 5 s for the key set to be fetched again.
func (a *Auth) Authenticate(token string) (Principal, error) {
	if token == "" {
		return Principal{}, fault.New(fault.AuthenticationRequired,
			"A bearer token is needed: Authorization: Bearer <token>.")
	}
	if len(token) > maxToken {
		return Principal{}, fault.New(fault.InvalidToken, "The token is longer than %d bytes.", maxToken)
	}
	if strings.ContainsFunc(token, isNotTokenRune) {
		return Principal{}, fault.New(fault.InvalidToken, "The token has a character that no token has.")
	}
	var c claims
	if _, err := a.parser.ParseWithClaims(token, &c, a.keysFor); err != nil {
		return Principal{}, fault.New(fault.InvalidToken, "%s", publicSentence(err)).Because(err)
	}
	p := Principal{Subject: c.subject, Admin: slices.Contains(c.scopes, ScopeAdmin), Credential: c.credential()}
	if err := a.check(p); err != nil {
		return Principal{}, err
	}
	return p, nil
}

// isNotTokenRune reports whether r is neither base64url nor the dot between the parts. The decoder would skip line
// breaks.
func isNotTokenRune(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// keysFor returns the keys that may have signed the token, chosen by "alg" and "kid" of its header. It ignores keys and
// key URLs in the header. It refuses a header with critical extensions, as RFC 7515, section 4.1.11, demands.
func (a *Auth) keysFor(token *jwt.Token) (any, error) {
	if err := checkHeader(token); err != nil {
		return nil, err
	}
	id, ok := token.Header["kid"].(string)
	if _, named := token.Header["kid"]; named && !ok {
		return nil, errors.New("kid is not a string")
	}
	algorithm := token.Method.Alg()
	if algorithm == hs256 {
		if a.secret == nil || id != "" { // the secret has no key ID
			return nil, errNoKey
		}
		return a.secret, nil
	}
	found := a.files.Load().find(algorithm, id)
	if a.remote != nil {
		found = append(found, a.remote.find(algorithm, id)...)
	}
	if len(found) == 0 {
		return nil, errNoKey
	}
	return jwt.VerificationKeySet{Keys: found}, nil
}

var errNoKey = errors.New("no key has this algorithm and key ID")

// errNoSigningKey is the error of Issue without a secret.
var errNoSigningKey = errors.New("this server only verifies tokens, " +
	"which the issuer of auth.keys or auth.jwks_url signs. Get one there, or set auth.key as well")

// Issue signs a token for subject (1–255 bytes) that is valid for ttl, counted in whole seconds, from 1 s to
// MaxLifetime.
func (a *Auth) Issue(subject string, ttl time.Duration, scopes ...string) (string, error) {
	return a.issue(subject, "", ttl, scopes)
}

// IssueFor signs a token for the holder of an API key. The token is refused as soon as the key is.
func (a *Auth) IssueFor(p Principal, ttl time.Duration) (string, error) {
	var scopes []string
	if p.Admin {
		scopes = append(scopes, ScopeAdmin)
	}
	return a.issue(p.Subject, p.Credential.Key, ttl, scopes)
}

func (a *Auth) issue(subject, keyID string, ttl time.Duration, scopes []string) (string, error) {
	if a.secret == nil {
		return "", fmt.Errorf("issue token: %w", errNoSigningKey)
	}
	if err := CheckSubject(subject); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if ttl < time.Second {
		return "", fmt.Errorf("issue token: a lifetime of %s is less than a second", ttl)
	}
	if ttl > MaxLifetime {
		return "", fmt.Errorf("issue token: a lifetime of %s is more than %s", ttl, MaxLifetime)
	}
	now := time.Now()
	c := jwt.MapClaims{
		"sub": subject,
		"iat": now.Unix(),
		"exp": now.Add(ttl).Unix(),
		"jti": strings.ToLower(rand.Text()),
	}
	if keyID != "" {
		c[claimKey] = keyID
	}
	if len(scopes) > 0 {
		c["scope"] = strings.Join(scopes, " ")
	}
	if a.config.Issuer != "" {
		c["iss"] = a.config.Issuer
	}
	if a.config.Audience != "" {
		c["aud"] = a.config.Audience
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(a.secret)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return token, nil
}

// publicSentence returns a public sentence about an invalid token.
func publicSentence(err error) string {
	const form = "The token lacks a claim that is needed here, " +
		"or has one of the wrong form (sub, exp, nbf, iat, scope, iss, aud)."
	switch {
	case errors.Is(err, errClaimForm):
		return form
	case errors.Is(err, jwt.ErrTokenExpired):
		return "The token has expired."
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return "The token is not valid yet."
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return "The token comes from an issuer that is not trusted here."
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "The token is meant for another audience."
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return form
	default:
		return "The token is malformed, or not signed by a key that is trusted here."
	}
}
