package server

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// ServeRange sends content, or the range of it that the request asks for. It returns false, and has sent nothing, if
// the range lies outside of the content. A zero modified is unknown.
func ServeRange(w http.ResponseWriter, r *http.Request, modified time.Time, content io.ReadSeeker) (sent bool) {
	if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
		r.Header.Del("Range") // an unknown unit is ignored (RFC 9110, section 14.2)
	}
	ranged := &rangeWriter{ResponseWriter: w}
	http.ServeContent(ranged, r, "", modified, content)
	if ranged.outside {
		w.Header().Set("Cache-Control", "no-store") // http.Error removed it
	}
	return !ranged.outside
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
