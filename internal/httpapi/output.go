package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
)

// The headers of an output.
const (
	headerStatus    = "X-Execution-Status"
	headerBytes     = "X-Output-Bytes"     // the bytes that the program wrote; absent before its end
	headerTruncated = "X-Output-Truncated" // whether bytes are missing; absent before its end
)

// handleOutput answers with the bytes of one stream, or with the range that the request asks for. A client follows a
// running execution by asking again for the range after the last byte.
func (a *api) handleOutput(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	q := server.QueryOf(r)
	stream := streamOf(q, "stream")
	if q.Err() != nil {
		return q.Err()
	}
	id := execution.ID(r.PathValue("id"))
	// The live bytes come first: the execution may end before the record is read, which then has all bytes.
	printed, _ := a.Executions.SoFar(r.Context(), id, stream)
	e, err := a.Executions.Find(r.Context(), id, caller)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set(headerStatus, string(e.State))
	if e.Result != nil {
		if printed, err = a.Executions.Printed(r.Context(), e, stream); err != nil {
			return err
		}
		h.Set(headerBytes, strconv.FormatInt(printed.Bytes, 10))
		h.Set(headerTruncated, strconv.FormatBool(printed.LeftOut() > 0))
	}
	kept, err := printed.Kept()
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	if err := server.ExtendWrite(w, r, gateway.Download); err != nil {
		return err
	}
	h.Set("Content-Type", "application/octet-stream")
	// Keeps a browser from showing the output as a page
	h.Set("Content-Disposition", `attachment; filename="`+string(id)+"."+string(stream)+`"`)
	for _, condition := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		r.Header.Del(condition) // growing content has no version for a condition
	}
	if !server.ServeRange(w, r, time.Time{}, io.NewSectionReader(kept, 0, kept.Len())) {
		return outsideOf(w, kept.Len())
	}
	return nil
}

// outsideOf returns the error for a range outside of content with so many bytes.
func outsideOf(w http.ResponseWriter, bytes int64) error {
	w.Header().Del("Content-Disposition")
	return fault.New(fault.RangeNotSatisfiable, "There is nothing in that range: there are %d bytes.", bytes).
		Detail("bytes", bytes)
}

// streamOf returns the stream that a parameter names; stdout for an absent parameter.
func streamOf(q *server.Query, name string) execution.Stream {
	switch stream := execution.Stream(q.Text(name)); stream {
	case "":
		return execution.Stdout
	case execution.Stdout, execution.Stderr:
		return stream
	}
	q.Refuse(name, "%s must be %s or %s.", name, execution.Stdout, execution.Stderr)
	return ""
}
