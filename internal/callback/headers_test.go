package callback

import (
	"fmt"
	"strings"
	"testing"
)

func TestHeadersThatFrameRouteOrProveAreRefusedByName(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Authorization", "proxy-connection", "TE", "Trailer", "Transfer-Encoding",
		"UPGRADE",
		"Host", "Content-Type", "content-length", "Content-Encoding", "Expect", "Forwarded", "X-Forwarded-For",
		"x-forwarded-host",
		"webhook-id", "Webhook-Signature", "X-HopX-Signature", "x-hopx-anything", "X-HOPX-Callback-Depth",
		"Idempotency-Key",
		"traceparent", "TraceState", "Metadata", "Metadata-Flavor", "metadata-token", "X-aws-ec2-metadata-token",
		"X-AWS-EC2-Metadata-Token-TTL-Seconds",
	} {
		checkRefusal(t, name, p.CheckHeaders(map[string]string{name: "x"}), invalid,
			fmt.Sprintf("%q may not be set", name))
	}
}

func TestHeadersThatCannotBeSentAreRefusedByName(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	many := make(map[string]string)
	for i := range maxHeaders + 1 {
		many[fmt.Sprintf("X-%d", i)] = ""
	}
	for rule, headers := range map[string]map[string]string{
		`"" is not a header name`:             {"": "x"},
		`"X A" is not a header name`:          {"X A": "x"},
		`"X-A:" is not a header name`:         {"X-A:": "x"},
		`"X-A\r\nX-B" is not a header name`:   {"X-A\r\nX-B": "x"},
		`"X-Ä" is not a header name`:          {"X-Ä": "x"},
		`"X-\xff" is not a header name`:       {"X-\xff": "x"},
		`the value of "X-A" must not contain`: {"X-A": "a\r\nX-HopX-Signature: forged"},
		`the value of "X-B" must not contain`: {"X-B": "a\nb"},
		`the value of "X-C" must not contain`: {"X-C": "a\x00b"},
		`the value of "X-D" must not contain`: {"X-D": "a\x7fb"},
		`"x-a" appears twice`:                 {"X-A": "1", "x-a": "2"},
		"at most 32 entries":                  many,
		`at most 8192 bytes in all; "X-B" is`: {"X-A": strings.Repeat("a", maxHeaderBytes-3), "X-B": ""},
	} {
		checkRefusal(t, rule, p.CheckHeaders(headers), invalid, rule)
	}
}

func TestCustomHeadersPass(t *testing.T) {
	full := map[string]string{"X-0": strings.Repeat("a", maxHeaderBytes-3)}
	many := make(map[string]string)
	for i := range maxHeaders {
		many[fmt.Sprintf("X-%d", i)] = ""
	}
	for _, headers := range []map[string]string{
		nil,
		{
			"Authorization": "Bearer t", "Cookie": "a=b", "X-Custom-Header": "my-value", "X-Task-ID": "task-123",
			"User-Agent": "mine",
		},
		{"X-Tab": "a\tb", "X-Umlaut": "ä", "X-Empty": "", "!#$%&'*+-.^_`|~": "odd"},
		{"X-Hop": "not ours", "Contents": "x", "Hosts": "x"},
		full, many,
	} {
		if err := newTestPolicy(t, defaultConfig).CheckHeaders(headers); err != nil {
			t.Errorf("%v: %v", headers, err)
		}
	}
}
