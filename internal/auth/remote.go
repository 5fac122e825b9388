package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sirupsen/logrus"
)

const (
	refreshInterval    = 5 * time.Minute  // largest age of the key set
	minRefreshInterval = 30 * time.Second // between two fetches, whatever their cause
	fetchTimeout       = 5 * time.Second  // of one fetch
	maxJWKS            = 256 << 10        // bytes; a longer answer is not a key set
)

// remoteKeys is a key set at a URL. While the URL does not answer, the last set stays in use.
type remoteKeys struct {
	url    string
	client *http.Client
	keys   atomic.Pointer[keyset] // nil until the first successful fetch

	// fetching has capacity 1 and is full during a fetch, so that concurrent callers share one fetch. It guards the
	// fields below.
	fetching  chan struct{}
	fetchedAt time.Time // end of the last fetch
	err       error     // error of the last fetch
}

func newRemoteKeys(url string) *remoteKeys {
	return &remoteKeys{url: url, fetching: make(chan struct{}, 1), client: &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// run fetches the set periodically until ctx ends. It logs the first failure in a row and the first success after it.
func (r *remoteKeys) run(ctx context.Context, log *logrus.Entry) {
	log = log.WithField("url", r.url)
	for worked, first := false, true; ; first = false {
		err := r.refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := refreshInterval
		if err != nil {
			pause = minRefreshInterval
		}
		switch {
		case err == nil && !worked:
			log.WithField("keys", len(r.current())).Info("token keys fetched")
		case err != nil && (worked || first):
			log.WithError(err).Warn("token keys cannot be fetched; the last known keys stay in use")
		}
		worked = err == nil
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// find returns the keys that match a token. If none match, the set may be outdated, so it is fetched again, but no more
// often than minRefreshInterval: strangers can send any number of tokens and must not cause any number of fetches.
func (r *remoteKeys) find(algorithm, id string) []jwt.VerificationKey {
	if found := r.current().find(algorithm, id); len(found) > 0 {
		return found
	}
	_ = r.refresh(context.Background()) // run logs the error
	return r.current().find(algorithm, id)
}

func (r *remoteKeys) current() keyset {
	if keys := r.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

// refresh fetches the set, unless the last fetch is too recent, and returns the error of the last fetch.
func (r *remoteKeys) refresh(ctx context.Context) error {
	r.fetching <- struct{}{}
	defer func() { <-r.fetching }()
	if !r.fetchedAt.IsZero() && time.Since(r.fetchedAt) < minRefreshInterval {
		return r.err
	}
	keys, err := r.fetch(ctx)
	r.fetchedAt, r.err = time.Now(), err
	if err == nil {
		r.keys.Store(&keys)
	}
	return err
}

func (r *remoteKeys) fetch(ctx context.Context) (keyset, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // the body was read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxJWKS+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxJWKS {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxJWKS)
	}
	return parseJWKS(text)
}

// checkJWKSURL returns an error that continues a sentence whose subject is the URL.
func checkJWKSURL(text string, allowHTTP bool) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("is not a URL")
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("must be a URL with a host, and without a user and a fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && (allowHTTP || isLoopback(u.Hostname())) {
		return nil
	}
	return errors.New("must be https (jwks_allow_http allows http to other machines)")
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
