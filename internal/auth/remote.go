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
	refreshInterval   = 5 * time.Minute  // how old the key set may become
	minRefreshInterval   = 30 * time.Second // between two fetches, whoever asks for them
	fetchTimeout = 5 * time.Second  // of one fetch
	maxJWKS      = 256 << 10        // bytes; a longer answer is no key set
)

// remote is a key set at a URL. While the URL does not answer, the set that it gave last goes on.
type remoteKeys struct {
	url    string
	client *http.Client
	keys   atomic.Pointer[keyset] // nil until it was read once

	fetching chan struct{} // cap 1: full during a fetch, so that all who need it wait for one; guards the rest
	fetchedAt    time.Time     // when the last fetch ended
	err      error         // how it ended
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

// run fetches the set now and again until ctx ends, and logs when that begins to fail and when it works again.
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
			log.WithError(err).Warn("token keys cannot be fetched; those that were known go on")
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

// find returns the keys that a token asks for. If there are none the set may be old, so it is fetched again, though not
// more often than the floor allows: tokens cost nothing, and strangers must not make us call anybody.
func (r *remoteKeys) find(algorithm, id string) []jwt.VerificationKey {
	if found := r.current().find(algorithm, id); len(found) > 0 {
		return found
	}
	_ = r.refresh(context.Background()) // run tells the log
	return r.current().find(algorithm, id)
}

func (r *remoteKeys) current() keyset {
	if keys := r.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

// renew fetches the set, unless that was tried just now, and tells how the last fetch ended.
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
	defer func() { _ = response.Body.Close() }() // what we wanted of it was read
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

// checkJWKSURL says in a clause what is wrong with the URL.
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

// local tells whether a host is this machine.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
