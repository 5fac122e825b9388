// Package auth turns a bearer token into a principal: who asks, and whether as an administrator. It also issues tokens.
//
// Tokens are JSON Web Tokens (RFC 7519) signed with HS256 and nothing else. The package refuses to know routes and
// what a principal may do there.
package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"boomerang/internal/fault"
)

// Config of the tokens. The zero value accepts every token that is signed with the key.
type Config struct {
	// Key signs and verifies tokens, ≥ 32 bytes. Empty: the file token.key in the data directory, made on first start.
	Key string `yaml:"key"`
	// Issuer must be the token's "iss". Empty: any, or none.
	Issuer string `yaml:"issuer"`
	// Audience must be among the token's "aud". Empty: any, or none.
	Audience string `yaml:"audience"`
}

// Defaults makes its own key and asks for no issuer and no audience.
func Defaults() Config { return Config{} }

// Validate names the key that is wrong.
func (c Config) Validate() error {
	if c.Key != "" && len(c.Key) < minKey {
		return fmt.Errorf("key must have at least %d bytes, not %d", minKey, len(c.Key))
	}
	return nil
}

// Principal is who asks.
type Principal struct {
	Subject string // the token's "sub": owns what it makes; 1–255 bytes
	Admin   bool   // sees and may do everything
}

// ScopeAdmin in a token's "scope" claim makes its holder an administrator.
const ScopeAdmin = "admin"

const (
	leeway   = 30 * time.Second // how far the issuer's clock and ours may differ
	maxToken = 8 << 10          // bytes; a longer one is refused unread
)

// Auth verifies and issues tokens. It is safe for concurrent use.
type Auth struct {
	config Config
	key    []byte
	parser *jwt.Parser
}

// New makes an Auth with the configured key, or with the one in dataDir, a directory that must exist.
func New(c Config, dataDir string) (*Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	key := []byte(c.Key)
	if c.Key == "" {
		var err error
		if key, err = openKey(dataDir); err != nil {
			return nil, err
		}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
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
	return &Auth{config: c, key: key, parser: jwt.NewParser(options...)}, nil
}

// Authenticate tells who holds the token. Errors are faults: AUTHENTICATION_REQUIRED without a token, INVALID_TOKEN
// with one that does not hold. What is wrong with its claims is told only if its signature holds.
func (a *Auth) Authenticate(token string) (Principal, error) {
	if token == "" {
		return Principal{}, fault.New(fault.AuthenticationRequired, "A bearer token is needed: Authorization: Bearer <token>.")
	}
	if len(token) > maxToken {
		return Principal{}, fault.New(fault.InvalidToken, "The token is longer than %d bytes.", maxToken)
	}
	var c claims
	if _, err := a.parser.ParseWithClaims(token, &c, a.keyFor); err != nil {
		return Principal{}, fault.New(fault.InvalidToken, "%s", sentence(err)).Because(err)
	}
	return Principal{Subject: c.subject, Admin: slices.Contains(c.scopes, ScopeAdmin)}, nil
}

// keyFor refuses what RFC 7515, section 4.1.11, says must be refused: a header that asks for extensions we do not know.
func (a *Auth) keyFor(token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical {
		return nil, errors.New("critical extensions are not understood")
	}
	return a.key, nil
}

// Issue signs a token for subject (1–255 bytes) that holds for ttl, counted in whole seconds, ≥ 1.
func (a *Auth) Issue(subject string, ttl time.Duration, scopes ...string) (string, error) {
	if err := checkSubject(subject); err != nil {
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
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(a.key)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return token, nil
}

// sentence says publicly what is wrong with a token.
func sentence(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "The token has expired."
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return "The token is not valid yet."
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return "The token comes from an issuer that is not trusted here."
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "The token is meant for another audience."
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return "The token lacks a claim that is needed here, or has one of the wrong form (sub, exp, scope, iss, aud)."
	default:
		return "The token is not one that was signed with HS256 and this server's key."
	}
}
