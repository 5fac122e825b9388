package hopx

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/follow"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

const (
	// OnStream is the timeout in seconds of a program on a stream that asks for none (wire, section 5).
	onStream = 120
	// FrameDistance is between two frames: HopX's JavaScript client loses those that come together.
	frameDistance = 50 * time.Millisecond
	// Pong is how long the other end may take to say that it is there.
	pong = 10 * time.Second
	// Swallowed is how many bytes of a first frame that is too long are read, so that its sender hears why it is refused.
	swallowed = 16 << 20
	// MaxResult bounds the frame "result" in bytes: some clients, such as websockets for Python, read no frame that is longer.
	maxResult = 1 << 20
	// Parting is how long the last frames may take when the server stops.
	closeTimeout = 2 * time.Second
)

// The frames that are sent. Each says which execution it is about, once there is one.
type (
	outputFrame struct {
		Type        execution.Stream `json:"type"`
		Data        string           `json:"data"`
		Timestamp   time.Time        `json:"timestamp"`
		ExecutionID execution.ID     `json:"execution_id"`
	}
	resultFrame struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"` // of the frame, as in every frame
		wire.WithoutOutput
	}
	errorFrame struct {
		Type        string         `json:"type"`
		Error       string         `json:"error"`
		Code        string         `json:"code"`
		Details     map[string]any `json:"details,omitempty"`
		Timestamp   time.Time      `json:"timestamp"`
		ExecutionID execution.ID   `json:"execution_id,omitempty"`
	}
	completeFrame struct {
		Type        string       `json:"type"`
		Success     bool         `json:"success"`
		Timestamp   time.Time    `json:"timestamp"`
		ExecutionID execution.ID `json:"execution_id,omitempty"`
	}
)

// handleStream runs the code of the first frame and tells what it prints as it comes, in HopX's frames. A socket that is lost
// ends nothing: the execution is one like every other.
func (h *door) handleStream(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	if _, err := gateway.WithHeaders(admission.Submission{}, r, caller); err != nil { // while an answer can still say so
		return err
	}
	release, err := h.Executions.AcquireStream(caller.Subject) // before anything is stored
	if err != nil {
		return err
	}
	defer release()
	done, err := server.HoldShutdown(r.Context())
	if err != nil {
		return err
	}
	defer done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // checkUpgrade has looked at the origin
	if err != nil {
		return fault.New(fault.InvalidRequest, "The request is no WebSocket handshake.").Because(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it is closed, or lost
	f := &frames{conn: conn, patience: server.Patience(r), now: h.Now, inline: h.Executions.Inline}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, err := f.first(ctx, server.Stopping(ctx), server.BodyLimit(r))
	if err == nil {
		err = h.play(conn.CloseRead(ctx), w, r, caller, body, f)
	}
	if err != nil {
		server.LogFault(r, err)
		f.refuse(ctx, fault.Of(err))
	}
	return nil
}

// play stores what the first frame asks for and follows it to its end. What goes wrong before it is stored is returned.
func (h *door) play(ctx context.Context, w http.ResponseWriter, r *http.Request, caller auth.Principal, body []byte, f *frames) error {
	s, err := decodeFrame(body)
	if err != nil {
		return err
	}
	if s, err = gateway.WithHeaders(s, r, caller); err != nil {
		return err
	}
	e, err := h.Executions.Submit(w, r, s)
	if err != nil {
		return err
	}
	f.id = e.ID
	followed, err := h.Executions.Follow(ctx, e.ID, caller)
	if err != nil {
		return err
	}
	defer followed.Leave()
	err = followed.Follow(ctx, server.Stopping(ctx), follow.Position{}, func(event follow.Event) error { return f.tell(ctx, event) })
	switch {
	case err != nil || ctx.Err() != nil:
		h.Log.WithField("execution_id", e.ID).WithError(cmp.Or(err, context.Cause(ctx))).Debug("socket of a stream is lost")
	case f.ended:
		_ = f.conn.Close(websocket.StatusNormalClosure, "")
	default:
		f.interrupt(ctx)
	}
	return nil
}

// checkUpgrade refuses what cannot become a WebSocket, and pages of other sites. A browser cannot send a token with a
// handshake, so no page gets this far; should that change, a page has to be ours.
func checkUpgrade(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") ||
		!strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade") ||
		r.Header.Get("Sec-WebSocket-Version") != "13" || err != nil || len(key) != 16 {
		return fault.New(fault.InvalidRequest, "This route speaks WebSocket (RFC 6455), over HTTP/1.1.").Because(err)
	}
	origin := r.Header.Get("Origin")
	if u, err := url.Parse(origin); origin != "" && (err != nil || !strings.EqualFold(u.Host, r.Host)) {
		return fault.New(fault.Forbidden, "Pages of other origins may not open a stream.")
	}
	return nil
}

// decodeFrame reads the first frame: what is to be run, to be kept and not posted.
func decodeFrame(body []byte) (s admission.Submission, err error) {
	o, err := server.ParseObject("frame", body)
	if err != nil {
		return s, err
	}
	s = gateway.SubmissionOf(&o)
	s.Body = body
	if o.Err() != nil {
		return s, o.Err()
	}
	if kind := o.Text("type"); o.Err() != nil || kind != "execute" {
		return s, cmp.Or(o.Err(), error(fault.New(fault.InvalidRequest, `type must be "execute", not %q.`, server.Clip(kind)).Field("type")))
	}
	s.Background, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, "", nil, nil
	s.Timeout = cmp.Or(s.Timeout, onStream)
	return s, nil
}

// frames writes to one socket. A client that takes no bytes for longer than patience is cut off.
type frames struct {
	conn     *websocket.Conn
	patience time.Duration
	now      func() time.Time
	inline   int // bytes of a stream that a result shows
	id       execution.ID
	last     time.Time // when a frame was written
	ended    bool      // everything was told
}

// first reads the frame that says what to run.
func (f *frames) first(ctx context.Context, stop <-chan struct{}, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	read := make(chan struct{})
	defer close(read)
	watch.Go(func() {
		select {
		case <-stop:
			cancel()
		case <-read:
		}
	})
	f.conn.SetReadLimit(-1) // the library's own breaks the connection off, and who still writes may hear of that instead of the reason
	_, frame, err := f.conn.Reader(ctx)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(frame, most+1))
	}
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The first frame came too late, or not at all.").Because(err)
	}
	if int64(len(body)) > most {
		if _, err := io.CopyN(io.Discard, frame, swallowed); err == nil {
			_ = f.conn.CloseNow()
		}
		return nil, fault.New(fault.PayloadTooLarge, "The frame must have at most %d bytes.", most)
	}
	return body, nil
}

// tell is what a follower is told.
func (f *frames) tell(ctx context.Context, e follow.Event) error {
	switch e.Kind {
	case follow.Status:
		return nil // there is no frame for it
	case follow.Output:
		return f.write(ctx, outputFrame{e.Stream, string(e.Piece), wire.Time(f.now()), f.id})
	case follow.Gap:
		return f.write(ctx, outputFrame{e.Stream, fmt.Sprintf("\n[... %d bytes left out ...]\n", e.Bytes), wire.Time(f.now()), f.id})
	case follow.End:
		return f.end(ctx, e.View.Execution)
	case follow.Idle:
		ctx, cancel := context.WithTimeout(ctx, pong)
		defer cancel()
		return f.conn.Ping(ctx)
	}
	return nil
}

func (f *frames) end(ctx context.Context, e execution.Execution) error {
	z := e.Result
	if z.ExitCode == nil {
		if err := f.write(ctx, errorFrame{"error", z.Error, strings.ToUpper(string(z.Reason)), nil, wire.Time(f.now()), f.id}); err != nil {
			return err
		}
	}
	r, _, _ := wire.ResultOf(e, *z, f.inline)
	result := resultFrame{Type: "result", Timestamp: wire.Time(f.now()), WithoutOutput: wire.WithoutOutput{Nested: wire.Nested{Result: &r}}}
	if written(result) > maxResult {
		r.ArtifactList, r.WorkspaceResult = nil, nil
	}
	if err := f.write(ctx, result); err != nil {
		return err
	}
	f.ended = true
	return f.write(ctx, completeFrame{"complete", z.State == execution.Completed, wire.Time(f.now()), f.id})
}

// refuse says why nothing runs, and closes.
func (f *frames) refuse(ctx context.Context, why *fault.Error) {
	if f.write(ctx, errorFrame{"error", why.Sentence, string(why.Code), why.Details, wire.Time(f.now()), f.id}) == nil &&
		f.write(ctx, completeFrame{"complete", false, wire.Time(f.now()), f.id}) == nil {
		_ = f.conn.Close(websocket.StatusNormalClosure, "")
	}
}

// interrupt says that the server stops, and that the execution does not.
func (f *frames) interrupt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	sentence := fmt.Sprintf("The server stops. The execution goes on: GET /executions/%s/events follows it.", f.id)
	if f.write(ctx, errorFrame{"error", sentence, string(fault.ServiceUnavailable), nil, wire.Time(f.now()), f.id}) == nil {
		late := time.AfterFunc(closeTimeout, func() { _ = f.conn.CloseNow() }) // Close would wait for 5 s for the other end
		defer late.Stop()
		_ = f.conn.Close(websocket.StatusServiceRestart, "")
	}
}

// write writes one frame, at a distance from the one before.
func (f *frames) write(ctx context.Context, frame any) error {
	timer := time.NewTimer(time.Until(f.last.Add(frameDistance)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(frame); err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	err := f.conn.Write(ctx, websocket.MessageText, text.Bytes())
	f.last = time.Now()
	return err
}
