package execution

import "testing"

func TestDestinationIsTheSameForEverySpellingOfOneReceiver(t *testing.T) {
	for raw, want := range map[string]string{
		"https://hooks.example.com/a?b=c":  "https://hooks.example.com:443",
		"HTTPS://Hooks.Example.COM.:443/x": "https://hooks.example.com:443",
		"http://hooks.example.com":         "http://hooks.example.com:80",
		"http://hooks.example.com:8080/":   "http://hooks.example.com:8080",
		"http://[2001:DB8::1]/":            "http://[2001:db8::1]:80",
		"http://bad host":                  "http://bad host",
	} {
		if got := (Callback{URL: raw}).Destination(); got != want {
			t.Errorf("Destination of %q = %q, want %q", raw, got, want)
		}
	}
}
