package httpapi

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// The headers that say what the bytes of an output are.
const (
	headerStatus    = "X-Execution-Status"
	headerBytes     = "X-Output-Bytes"     // what the program wrote in all; absent until it ended
	headerTruncated = "X-Output-Truncated" // whether bytes were left out; absent until it ended
)

// download is how much longer than other requests the sending of an output may take.
const download = 5 * time.Minute

// output answers with the bytes of one stream, or with the range of them that is asked for. Of a running execution
// they are those written so far, so asking again for what lies behind the last byte follows it.
func (a *api) output(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	q := queryOf(r)
	stream := q.stream("stream")
	if q.err != nil {
		return q.err
	}
	id := execution.ID(mux.Vars(r)["id"])
	// The live bytes are looked up first: between the two looks the execution may end, and then its record has them.
	kept, _ := a.Live.Live(id, stream)
	e, err := a.find(r.Context(), id, p)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set(headerStatus, string(e.State))
	if e.Result != nil {
		written := e.Result.Stdout
		if stream == execution.Stderr {
			written = e.Result.Stderr
		}
		kept = written.Kept()
		h.Set(headerBytes, strconv.FormatInt(written.Bytes, 10))
		h.Set(headerTruncated, strconv.FormatBool(written.LeftOut() > 0))
	}
	if err := a.extend(w, download); err != nil {
		return err
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+string(id)+"."+string(stream)+`"`) // what a program printed is no page
	for _, condition := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		r.Header.Del(condition) // what grows has no version that a condition could be about
	}
	return serveRange(w, r, bytes.NewReader(kept), int64(len(kept)))
}

// serveRange sends content, or the range of it that is asked for.
func serveRange(w http.ResponseWriter, r *http.Request, content io.ReadSeeker, size int64) error {
	if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
		r.Header.Del("Range") // a unit that is not understood is ignored (RFC 9110, section 14.2)
	}
	ranged := &rangeWriter{ResponseWriter: w}
	http.ServeContent(ranged, r, "", time.Time{}, content)
	if ranged.outside {
		w.Header().Del("Content-Disposition")
		w.Header().Set("Cache-Control", "no-store") // http.Error took it away
		return fault.New(fault.RangeNotSatisfiable, "There is nothing in that range: there are %d bytes.", size).Detail("bytes", size)
	}
	return nil
}

// rangeWriter keeps back the plain text with which http.ServeContent refuses a range.
type rangeWriter struct {
	http.ResponseWriter
	outside bool
}

func (w *rangeWriter) WriteHeader(status int) {
	w.outside = status == http.StatusRequestedRangeNotSatisfiable
	if !w.outside {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rangeWriter) Write(p []byte) (int, error) {
	if w.outside {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}
