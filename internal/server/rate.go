package server

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"boomerang/internal/fault"
)

// Rate bounds the number of requests per minute; each limit may come as one burst.
type Rate struct {
	// PerSubject bounds the requests of all tokens of one subject; 0 is no limit.
	PerSubject int `yaml:"per_subject"`
	// PerAddress bounds the requests of one IPv4 address or one IPv6 network of 64 bits, with and without a token; 0 is
	// no limit.
	PerAddress int `yaml:"per_address"`
}

const maxRate = 10_000_000

func (r Rate) validate() error {
	if r.PerSubject < 0 || r.PerSubject > maxRate {
		return fmt.Errorf("per_subject must be between 0 and %d, not %d", maxRate, r.PerSubject)
	}
	if r.PerAddress < 0 || r.PerAddress > maxRate {
		return fmt.Errorf("per_address must be between 0 and %d, not %d", maxRate, r.PerAddress)
	}
	return nil
}

// ratePeriod is the period of a Rate.
const ratePeriod = time.Minute

// generation is the number of clients in one generation of a limiter. A limiter keeps two generations, at most some 10
// MB.
const generation = 1 << 15

// limiter has a token bucket for each client, by subject or by address. A bucket fills within a minute.
type limiter struct {
	perMinute int // ≥ 1

	mu         sync.Mutex // guards the fields below
	young, old map[string]*rate.Limiter
}

// newLimiter returns nil, a limiter without a limit, for 0.
func newLimiter(perMinute int) *limiter {
	if perMinute == 0 {
		return nil
	}
	return &limiter{perMinute: perMinute, young: map[string]*rate.Limiter{}}
}

// spend takes one request out of the bucket of a client and writes the headers X-RateLimit-*. Errors: fault
// RATE_LIMIT_EXCEEDED.
func (l *limiter) spend(h http.Header, client string, now time.Time) error {
	if l == nil {
		return nil
	}
	bucket := l.bucket(client)
	allowed := bucket.AllowN(now, 1)
	left := max(bucket.TokensAt(now), 0)
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.perMinute))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(int(left)))
	full := now.Add(l.refill(float64(l.perMinute) - left)).Add(time.Second - 1) // rounded up to a second
	h.Set("X-RateLimit-Reset", strconv.FormatInt(full.Unix(), 10))
	if allowed {
		return nil
	}
	return fault.New(fault.RateLimitExceeded, "There were more than %d requests within a minute.", l.perMinute).
		After(max(l.refill(1-left), time.Second))
}

// refill returns how long a bucket takes to gain a number of requests.
func (l *limiter) refill(requests float64) time.Duration {
	return time.Duration(math.Ceil(requests * float64(ratePeriod) / float64(l.perMinute)))
}

// bucket returns the bucket of a client. When there are too many, the limiter drops the buckets of the clients that
// sent nothing for long: they are full again, like a new bucket.
func (l *limiter) bucket(client string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.young[client]; b != nil {
		return b
	}
	b := l.old[client]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(float64(l.perMinute)/ratePeriod.Seconds()), l.perMinute)
	}
	if len(l.young) >= generation {
		l.old, l.young = l.young, make(map[string]*rate.Limiter)
	}
	l.young[client] = b
	return b
}

// address returns the peer of the connection or, behind trusted proxies, the peer of the first of them. It reads
// X-Forwarded-For from the end, where the trusted proxies stand; any client can write the rest.
func address(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // never with TCP
	}
	from := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for n := len(hops) - 1; n >= 0 && contains(trusted, from); n-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[n]))
		if err != nil {
			break
		}
		from = hop.Unmap()
	}
	return from.WithZone("")
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// neighbourhood returns the network of one customer: an IPv4 address, or an IPv6 network of 64 bits.
func neighbourhood(a netip.Addr) string {
	if a.Is6() {
		if network, err := a.Prefix(64); err == nil {
			return network.String()
		}
	}
	return a.String()
}
