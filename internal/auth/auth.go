// Package auth turns a bearer token or an API key into a principal: who asks, and whether as an administrator. It also
// issues tokens, where the key to do so is its own.
//
// Tokens are JSON Web Tokens (RFC 7519), signed with a secret of this server (HS256) or by somebody else, whose public
// keys are in files or at a URL. Each key is bound to one algorithm. The package refuses to know routes and what a
// principal may do there.
package auth

import (
	"context"
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

// Config of the tokens. The zero value accepts every token that is signed with a secret of the server's own making.
type Config struct {
	// Key is the secret that signs and verifies tokens with HS256, ≥ 32 bytes. Empty: the file token.key in the data
	// directory, made on first start; but no secret at all where Keys or JWKSURL say whose tokens are accepted.
	Key string `yaml:"key"`
	// Keys are public keys in PEM files. They are read again by Reload.
	Keys []KeyFile `yaml:"keys"`
	// JWKSURL is where a JSON Web Key Set (RFC 7517) is fetched from: https, or http on this machine alone.
	JWKSURL string `yaml:"jwks_url"`
	// JWKSAllowHTTP allows http to other machines, too: who is between them and us can then let in whom they want.
	JWKSAllowHTTP bool `yaml:"jwks_allow_http"`
	// Issuer must be the token's "iss". Empty: any, or none.
	Issuer string `yaml:"issuer"`
	// Audience must be among the token's "aud". Empty: any, or none; not allowed with JWKSURL.
	Audience string `yaml:"audience"`
	// APIKeys are what tokens are given for, by hash. They need a secret of ours, which signs those tokens.
	APIKeys []APIKey `yaml:"api_keys"`
}

// Defaults makes its own key and asks for no issuer and no audience.
func Defaults() Config { return Config{} }

// Validate names the key that is wrong.
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
		return errors.New("audience must be set with jwks_url: whoever has those keys signs tokens for other services, too")
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
		return errors.New("key must be set with api_keys: it signs the tokens that they are good for, and keys and jwks_url only verify")
	}
	return nil
}

// Principal is who asks.
type Principal struct {
	Subject string // the token's "sub": owns what it makes; 1–255 bytes
	Admin   bool   // sees and may do everything
}

// ScopeAdmin among a token's scopes makes its holder an administrator.
const ScopeAdmin = "admin"

const (
	leeway   = 30 * time.Second // how far the issuer's clock and ours may differ
	maxToken = 8 << 10          // bytes; a longer one is refused unread
)

// Auth verifies and issues tokens. It is safe for concurrent use.
type Auth struct {
	config Config
	secret []byte                 // signs with HS256; nil: tokens come from elsewhere
	files  atomic.Pointer[keyset] // of PEM files
	remote *remoteKeys                // nil without a URL
	parser *jwt.Parser
}

// New makes an Auth with the configured keys, or with the one in dataDir, a directory that must exist. It reads the
// files, and leaves the URL to Run.
func New(c Config, dataDir string) (*Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	a := &Auth{config: c, secret: []byte(c.Key), parser: newParser(c)}
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
	return a, a.Reload()
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

// Reload reads the key files again; on an error the old keys stay.
func (a *Auth) Reload() error {
	var keys keyset
	for _, file := range a.config.Keys {
		k, err := file.read()
		if err != nil {
			return fmt.Errorf("read token key %s: %w", file.File, err)
		}
		keys = append(keys, k)
	}
	a.files.Store(&keys)
	return nil
}

// Run keeps the keys from the URL fresh until ctx ends, and returns nil then.
func (a *Auth) Run(ctx context.Context, log *logrus.Entry) error {
	if a.remote != nil {
		a.remote.run(ctx, log)
	}
	<-ctx.Done()
	return nil
}

// Ready tells whether there are keys. Errors: fault SERVICE_UNAVAILABLE until the URL has answered once.
func (a *Auth) Ready(context.Context) error {
	if a.remote != nil && a.remote.keys.Load() == nil {
		return fault.New(fault.ServiceUnavailable, "The key set that tokens are verified with has not been read yet.")
	}
	return nil
}

// Authenticate tells who holds the token. Errors are faults: AUTHENTICATION_REQUIRED without a token, INVALID_TOKEN
// with one that does not hold. What is wrong with its claims is told only if its signature holds. A token that names a
// key which is not known can wait 5 s for the key set to be fetched again.
func (a *Auth) Authenticate(token string) (Principal, error) {
	if token == "" {
		return Principal{}, fault.New(fault.AuthenticationRequired, "A bearer token is needed: Authorization: Bearer <token>.")
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
	return Principal{Subject: c.subject, Admin: slices.Contains(c.scopes, ScopeAdmin)}, nil
}

// strange tells what is neither base64url nor the dot between the parts. The decoder would pass over line breaks.
func isNotTokenRune(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// keysFor returns the keys that may have signed the token, by what its header says. Nothing else of the header is heeded:
// no key and no address of a key in it. It refuses what RFC 7515, section 4.1.11, says must be refused: a header that
// asks for extensions we do not know.
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
		if a.secret == nil || id != "" { // the secret has no name
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

var errNoKey = errors.New("there is no key of this algorithm and name")

// errElsewhere is what Issue says where there is no secret.
var errNoSigningKey = errors.New("this server only verifies tokens: auth.keys or auth.jwks_url says who signs them. " +
	"Get one there, or set auth.key as well")

// Issue signs a token for subject (1–255 bytes) that holds for ttl, counted in whole seconds, ≥ 1.
func (a *Auth) Issue(subject string, ttl time.Duration, scopes ...string) (string, error) {
	if a.secret == nil {
		return "", fmt.Errorf("issue token: %w", errNoSigningKey)
	}
	if err := CheckSubject(subject); err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	if ttl < time.Second {
		return "", fmt.Errorf("issue token: a lifetime of %s is less than a second", ttl)
	}
	now := time.Now()
	c := jwt.MapClaims{
		"sub": subject,
		"iat": now.Unix(),
		"exp": now.Add(ttl).Unix(),
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

// sentence says publicly what is wrong with a token.
func publicSentence(err error) string {
	const form = "The token lacks a claim that is needed here, or has one of the wrong form (sub, exp, nbf, iat, scope, iss, aud)."
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
