package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// chunk is one chunk of a multiplexed log.
func chunk(stream byte, text string) string {
	var header [8]byte
	header[0] = stream
	binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
	return string(header[:]) + text
}

func TestDemuxReportsTheEndOfALog(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct {
		log            string
		stdout, stderr string
		err            error
	}{
		"empty":                {},
		"both streams":         {log: chunk(1, "a") + chunk(2, "b") + chunk(1, "c"), stdout: "ac", stderr: "b"},
		"an empty chunk":       {log: chunk(1, "") + chunk(2, "b"), stderr: "b"},
		"a long chunk":         {log: chunk(1, long) + chunk(2, long), stdout: long, stderr: long},
		"cut in a header":      {log: chunk(1, "a") + "\x01\x00", stdout: "a", err: io.ErrUnexpectedEOF},
		"cut behind a header":  {log: chunk(1, "abc")[:8], err: io.ErrUnexpectedEOF},
		"cut in a chunk":       {log: chunk(1, "abc")[:10], stdout: "ab", err: io.ErrUnexpectedEOF},
		"the engine complains": {log: chunk(1, "a") + chunk(3, "disk full") + chunk(1, "b"), stdout: "a", err: errLog},
		"no such stream":       {log: chunk(1, "a") + chunk(7, "?"), stdout: "a", err: errLog},
	} {
		for reader, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
			"data with EOF": iotest.DataErrReader,
		} {
			t.Run(name+", "+reader, func(t *testing.T) {
				var out [3]bytes.Buffer
				err := demux(wrap(strings.NewReader(c.log)), func(stream byte, chunk []byte) error {
					out[stream].Write(chunk)
					return nil
				})
				if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("demux = %v, want %v", err, c.err)
				}
				if out[1].String() != c.stdout || out[2].String() != c.stderr {
					t.Errorf("got %d and %d bytes, want %d and %d", out[1].Len(), out[2].Len(), len(c.stdout),
						len(c.stderr))
				}
			})
		}
	}
}

func TestDemuxStopsWhenItsSinkDoes(t *testing.T) {
	enough := errors.New("enough")
	calls := 0
	err := demux(strings.NewReader(chunk(1, "a")+chunk(1, "b")), func(byte, []byte) error {
		calls++
		return enough
	})
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("demux = %v after %d calls, want %v after 1", err, calls, enough)
	}
}

func FuzzDemuxNeverInventsBytes(f *testing.F) {
	f.Add([]byte(chunk(1, "a") + chunk(2, "b") + chunk(3, "c")))
	f.Add([]byte(chunk(1, "abc")[:10]))
	f.Fuzz(func(t *testing.T, log []byte) {
		passed := 0
		err := demux(bytes.NewReader(log), func(stream byte, chunk []byte) error {
			if stream != streamStdout && stream != streamStderr || len(chunk) == 0 {
				t.Errorf("stream %d, %d bytes", stream, len(chunk))
			}
			passed += len(chunk)
			return nil
		})
		if passed > len(log) || err == nil && len(log)%8 == 0 && passed > max(0, len(log)-8) {
			t.Errorf("%d bytes became %d, %v", len(log), passed, err)
		}
	})
}
