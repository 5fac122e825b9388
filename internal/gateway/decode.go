package gateway

import (
	"encoding/json"
	"fmt"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/server"
)

// DecodeSubmission reads a JSON text with the fields of POST /execute/async. It checks the types of the fields;
// admission checks their values. Unknown fields are ignored, and null counts as absent. Errors: faults INVALID_JSON,
// and INVALID_REQUEST with the field.
func DecodeSubmission(body []byte) (admission.Submission, error) {
	o, err := server.ParseObject("body", body)
	if err != nil {
		return admission.Submission{}, err
	}
	s := SubmissionOf(&o)
	s.Body = body
	return s, o.Err()
}

// SubmissionOf reads the fields of one submission; o.Err has the first error.
func SubmissionOf(o *server.Object) admission.Submission {
	s := admission.Submission{
		Name:            o.Text("name"),
		Code:            o.Text("code"),
		CallbackURL:     o.Text("callback_url"),
		Language:        o.Text("language"),
		Timeout:         o.Whole("timeout", "must be a whole number of seconds"),
		WorkingDir:      o.Text("working_dir"),
		Env:             o.Texts("env"),
		Args:            o.List("args"),
		Stdin:           o.Content("stdin"),
		Files:           filesOf(o, "files"),
		Artifacts:       o.List("artifacts"),
		Limits:          limitsOf(o, "limits"),
		Metadata:        o.Texts("metadata"),
		Network:         o.Text("network"),
		Workspace:       workspaceOf(o, "workspace"),
		CallbackHeaders: o.Texts("callback_headers"),
		Secrets:         o.TextOrList("callback_signature_secret"),
	}
	if dir := o.Text("workdir"); dir != "" { // the SDKs' name for the field
		s.WorkingDir = dir
	}
	return s
}

func filesOf(o *server.Object, name string) (files []admission.File) {
	raw, there := o.Value(name)
	if !there {
		return nil
	}
	for i, entry := range o.Members(name, "must be a list of files", raw) {
		files = append(files, fileOf(o, fmt.Sprintf("%s[%d]", name, i), entry))
		if o.Err() != nil {
			return nil
		}
	}
	return files
}

func fileOf(o *server.Object, name string, raw json.RawMessage) (f admission.File) {
	inner, ok := o.Inner(name, raw)
	if !ok {
		o.Mismatch(name, "must be an object with a path and one of text, base64 and url", raw)
		return f
	}
	if inner.Count("text", "base64", "url") != 1 {
		o.Refuse(name, "must have exactly one of text, base64 and url.")
		return f
	}
	f = admission.File{Path: inner.Text("path"), Mode: inner.Mode("mode"), URL: inner.Text("url")}
	switch {
	case inner.Count("url") == 0:
		f.Content = inner.Bytes()
	case f.URL == "":
		inner.Refuse("url", "must be a URL.")
	}
	o.Fail(inner.Err())
	return f
}

func limitsOf(o *server.Object, name string) (l execution.Limits) {
	raw, there := o.Value(name)
	if !there {
		return l
	}
	inner, ok := o.Inner(name, raw)
	if !ok {
		o.Mismatch(name, "must be an object", raw)
		return l
	}
	for _, f := range execution.RequestableLimits() {
		switch to := f.Target(&l).(type) {
		case *float64:
			*to = inner.Number(f.Name, "must be a number")
		case *int64:
			if f.Unit == execution.UnitBytes {
				*to = inner.Size(f.Name)
			} else {
				*to = inner.Whole(f.Name, "must be a whole number")
			}
		}
	}
	o.Fail(inner.Err())
	return l
}

// workspaceOf reads the name of a workspace, or an object with the name.
func workspaceOf(o *server.Object, name string) (u execution.WorkspaceUse) {
	raw, there := o.Value(name)
	if !there || server.IsText(raw, &u.Name) {
		return u
	}
	inner, ok := o.Inner(name, raw)
	if !ok {
		o.Mismatch(name, `must be a string or {"name": …, "read_only": …}`, raw)
		return u
	}
	if u.Name = inner.Text("name"); u.Name == "" {
		inner.Refuse("name", "is required.")
	}
	u.ReadOnly = inner.Bool("read_only", false)
	o.Fail(inner.Err())
	return u
}
