package quota

import "context"

type subjectKey struct{}

// WithSubject returns a context for the work on a request of a subject.
func WithSubject(ctx context.Context, subject string) context.Context {
	return context.WithValue(ctx, subjectKey{}, subject)
}

// SubjectOf returns the subject whose request ctx belongs to; "" for the server's own work.
func SubjectOf(ctx context.Context) string {
	subject, _ := ctx.Value(subjectKey{}).(string)
	return subject
}
