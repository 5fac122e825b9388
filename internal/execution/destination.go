package execution

import (
	"net"
	"net/url"
	"strings"
)

// Destination returns the receiver by which callbacks are counted: scheme://host:port of the URL, with the host in
// lower case and without a closing dot, and with the port written out. It returns a URL that cannot be parsed
// unchanged.
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
