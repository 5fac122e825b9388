package execution

import (
	"net"
	"net/url"
	"strings"
)

// Destination is what the traffic of callbacks is counted by: scheme://host:port of the URL, the host in lower case and
// without a closing dot, the port written out. A URL that cannot be parsed is its own destination.
func (c Callback) Destination() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return c.URL
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}
