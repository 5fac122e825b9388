package server

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"boomerang/internal/fault"
)

// ReadObject reads a body that is one JSON object. Errors: those of ReadJSON and fault INVALID_JSON.
func ReadObject(w http.ResponseWriter, r *http.Request) (*Object, error) {
	body, err := ReadJSON(w, r)
	if err != nil {
		return nil, err
	}
	o, err := ParseObject("body", body)
	return &o, err
}

// ReadJSON returns the body of a request, which must declare itself as JSON and have at most Config.Body bytes. It does
// not parse the body. Errors: faults UNSUPPORTED_MEDIA_TYPE, PAYLOAD_TOO_LARGE, INVALID_REQUEST.
func ReadJSON(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkContent(r.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(exchangeOf(r).config.Body)))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fault.New(fault.PayloadTooLarge, "The body must have at most %d bytes.", tooLarge.Limit)
	}
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The body ended too early or came too slowly.").Because(err)
	}
	return body, nil
}

// checkContent refuses a body that does not say it is plain JSON.
func checkContent(h http.Header) error {
	given := h.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	switch {
	case given == "":
		return fault.New(fault.UnsupportedMediaType, "The request has no Content-Type; it must be application/json.").
			Field("Content-Type")
	case kind == "application/x-www-form-urlencoded":
		return fault.New(fault.UnsupportedMediaType,
			"The Content-Type must be application/json, not %s, which is what curl sends unless told otherwise.",
			kind).Field("Content-Type")
	case err != nil || kind != "application/json":
		return fault.New(fault.UnsupportedMediaType, "The Content-Type must be application/json, not %q.", Clip(given)).
			Field("Content-Type")
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" {
		return fault.New(fault.UnsupportedMediaType, "The body must be sent as it is, and its Content-Encoding is %q.",
			Clip(encoding)).
			Field("Content-Encoding")
	}
	return nil
}

// HeaderOnce returns the value of a header that a request may have once; an absent header is "", an empty one is
// refused.
func HeaderOnce(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || values[0] == "":
		return "", fault.New(fault.InvalidRequest, "%s must be given once and not be empty.", name).Field(name)
	}
	return values[0], nil
}
