package httpapi

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

// Rate bounds how often somebody may ask.
type Rate struct {
	// PerSubject is how many requests a minute the tokens of one subject have, all of which may come at once. 0: any number.
	PerSubject int `yaml:"per_subject"`
	// PerAddress is the same for one IPv4 address, or one IPv6 network of 64 bits, tokens or not.
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

// ratePeriod is the time that a rate counts in.
const ratePeriod = time.Minute

// generation is how many a limiter remembers before it begins to forget. Two generations are kept: some 10 MB when all
// addresses of the world ask.
const generation = 1 << 15

// limiter has a bucket of requests for each who asks, which fills again within a minute.
type limiter struct {
	perMinute int // ≥ 1

	mu         sync.Mutex // guards all below
	young, old map[string]*rate.Limiter
}

// newLimiter returns nil, which lets everybody pass, for 0.
func newLimiter(perMinute int) *limiter {
	if perMinute == 0 {
		return nil
	}
	return &limiter{perMinute: perMinute, young: map[string]*rate.Limiter{}}
}

// take takes a request out of the bucket of who asks and says so in the answer. Errors: fault RATE_LIMIT_EXCEEDED.
func (l *limiter) take(h http.Header, who string, now time.Time) error {
	if l == nil {
		return nil
	}
	bucket := l.bucket(who)
	allowed := bucket.AllowN(now, 1)
	left := max(bucket.TokensAt(now), 0)
	h.Set("X-RateLimit-Limit", strconv.Itoa(l.perMinute))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(int(left)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(l.within(float64(l.perMinute)-left)).Add(time.Second-1).Unix(), 10))
	if allowed {
		return nil
	}
	return fault.New(fault.RateLimitExceeded, "There were more than %d requests within a minute.", l.perMinute).
		After(max(l.within(1-left), time.Second))
}

// within is how long it takes until so many more may come.
func (l *limiter) within(requests float64) time.Duration {
	return time.Duration(math.Ceil(requests * float64(ratePeriod) / float64(l.perMinute)))
}

// bucket finds the bucket of who asks. The buckets of those who did not ask for long are forgotten when there are too
// many: such a one is full again, and a new one is full, too.
func (l *limiter) bucket(who string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.young[who]; b != nil {
		return b
	}
	b := l.old[who]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(float64(l.perMinute)/ratePeriod.Seconds()), l.perMinute)
	}
	if len(l.young) >= generation {
		l.old, l.young = l.young, make(map[string]*rate.Limiter)
	}
	l.young[who] = b
	return b
}

// address tells who is at the other end of the connection, or, when that is a trusted proxy, whom the last of the
// trusted ones saw. X-Forwarded-For is read from its end, where those stand that we know; the rest anybody can write.
func address(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // never with TCP: all such are one
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

// neighbourhood is what one customer has: an IPv4 address, or an IPv6 network of 64 bits.
func neighbourhood(a netip.Addr) string {
	if a.Is6() {
		if network, err := a.Prefix(64); err == nil {
			return network.String()
		}
	}
	return a.String()
}
