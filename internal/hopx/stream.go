package hopx

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
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
	// The default timeout of a program on a stream, in seconds.
	streamTimeout = 120
	// The least time between two frames: HopX's JavaScript client loses frames that arrive together.
	frameDistance = 50 * time.Millisecond
	// The time for the client to answer a ping.
	pongTimeout = 10 * time.Second
	// The bytes of a first frame beyond the limit that are still read, so that the client can receive the reason.
	maxDiscarded = 16 << 20
	// The longest frame "result" in bytes: some clients, such as websockets for Python, refuse longer frames.
	maxResult = 1 << 20
	// The time for the last frames when the server stops.
	closeTimeout = 2 * time.Second
)

// The frames that the server sends. A frame names its execution once there is one.
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

// handleStream runs the code of the first frame and streams the output of the program in HopX's frames. The execution
// goes on when the socket is lost.
func (h *door) handleStream(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	// While the answer is still an HTTP response
	if _, err := gateway.WithHeaders(admission.Submission{}, r, caller); err != nil {
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
	// checkUpgrade has checked the origin
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return fault.New(fault.InvalidRequest, "The request is no WebSocket handshake.").Because(err)
	}
	defer conn.CloseNow() //nolint:errcheck // the socket is closed or lost
	f := &frames{conn: conn, patience: server.Patience(r), now: h.Now, inline: h.Executions.Inline}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, err := f.readFirst(ctx, server.Stopping(ctx), server.BodyLimit(r))
	if err == nil {
		err = h.run(conn.CloseRead(ctx), w, r, caller, body, f)
	}
	if err != nil {
		server.LogFault(r, err)
		f.refuse(ctx, fault.Of(err))
	}
	return nil
}

// run submits the first frame and follows the execution to its end. It returns the errors before the execution is
// stored.
func (h *door) run(
	ctx context.Context, w http.ResponseWriter, r *http.Request, caller auth.Principal, body []byte, f *frames,
) error {
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
	err = followed.Follow(ctx, server.Stopping(ctx), follow.Position{}, func(event follow.Event) (err error) {
		if event.Kind == follow.End {
			if event.View.Execution, err = h.Executions.Complete(ctx, event.View.Execution); err != nil {
				return err
			}
		}
		return f.send(ctx, event)
	})
	switch {
	case err != nil || ctx.Err() != nil:
		h.Log.WithField("execution_id", e.ID).WithError(cmp.Or(err, context.Cause(ctx))).
			Debug("socket of a stream is lost")
	case f.ended:
		_ = f.conn.Close(websocket.StatusNormalClosure, "")
	default:
		f.interrupt(ctx)
	}
	return nil
}

// checkUpgrade refuses a request that is no WebSocket handshake, and pages of other origins. Today no page gets this
// far, because a browser cannot send a token with a handshake.
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

// decodeFrame reads the submission of the first frame. Its result is stored and not posted.
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
		return s, cmp.Or(o.Err(), error(fault.New(fault.InvalidRequest, `type must be "execute", not %q.`,
			server.Clip(kind)).Field("type")))
	}
	s.Background, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, "", nil, nil
	s.Timeout = cmp.Or(s.Timeout, streamTimeout)
	return s, nil
}

// frames writes to one socket. A client that takes no bytes for longer than patience is cut off.
type frames struct {
	conn     *websocket.Conn
	patience time.Duration
	now      func() time.Time
	inline   int // bytes of each stream in a result
	id       execution.ID
	last     time.Time // the time of the last frame
	ended    bool      // the last frame was written
}

// readFirst reads the first frame.
func (f *frames) readFirst(ctx context.Context, stop <-chan struct{}, most int64) ([]byte, error) {
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
	f.conn.SetReadLimit(-1) // the limit of the library would break the connection before the client reads the reason
	_, frame, err := f.conn.Reader(ctx)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(frame, most+1))
	}
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The first frame came too late, or not at all.").Because(err)
	}
	if int64(len(body)) > most {
		if _, err := io.CopyN(io.Discard, frame, maxDiscarded); err == nil {
			_ = f.conn.CloseNow()
		}
		return nil, fault.New(fault.PayloadTooLarge, "The frame must have at most %d bytes.", most)
	}
	return body, nil
}

// send writes one event of the follower.
func (f *frames) send(ctx context.Context, e follow.Event) error {
	switch e.Kind {
	case follow.Status:
		return nil // HopX has no frame for it
	case follow.Output:
		return f.write(ctx, outputFrame{e.Stream, string(e.Piece), wire.Time(f.now()), f.id})
	case follow.Gap:
		return f.write(ctx, outputFrame{
			e.Stream, fmt.Sprintf("\n[... %d bytes left out ...]\n", e.Bytes),
			wire.Time(f.now()), f.id,
		})
	case follow.End:
		return f.sendEnd(ctx, e.View.Execution)
	case follow.Idle:
		ctx, cancel := context.WithTimeout(ctx, pongTimeout)
		defer cancel()
		return f.conn.Ping(ctx)
	}
	return nil
}

// sendEnd writes the frames of the end: an error if the program has no exit code, the result, and "complete".
func (f *frames) sendEnd(ctx context.Context, e execution.Execution) error {
	z := e.Result
	if z.ExitCode == nil {
		if err := f.write(ctx, errorFrame{
			"error", z.Error, strings.ToUpper(string(z.Reason)), nil, wire.Time(f.now()),
			f.id,
		}); err != nil {
			return err
		}
	}
	r := wire.ResultOf(e, *z, f.inline)
	result := resultFrame{
		Type: "result", Timestamp: wire.Time(f.now()),
		WithoutOutput: wire.WithoutOutput{Nested: wire.Nested{Result: &r}},
	}
	if written(result) > maxResult {
		r.ArtifactList, r.WorkspaceResult = nil, nil
	}
	if err := f.write(ctx, result); err != nil {
		return err
	}
	f.ended = true
	return f.write(ctx, completeFrame{"complete", z.State == execution.Completed, wire.Time(f.now()), f.id})
}

// refuse writes the reason why no program runs, and closes the socket.
func (f *frames) refuse(ctx context.Context, why *fault.Error) {
	if f.write(ctx, errorFrame{
		"error", why.Sentence, string(why.Code), why.Details, wire.Time(f.now()),
		f.id,
	}) == nil &&
		f.write(ctx, completeFrame{"complete", false, wire.Time(f.now()), f.id}) == nil {
		_ = f.conn.Close(websocket.StatusNormalClosure, "")
	}
}

// interrupt writes that the server stops and the execution goes on, and closes the socket.
func (f *frames) interrupt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	sentence := fmt.Sprintf("The server stops. The execution goes on: GET /executions/%s/events follows it.", f.id)
	if f.write(ctx, errorFrame{
		"error", sentence, string(fault.ServiceUnavailable), nil, wire.Time(f.now()),
		f.id,
	}) == nil {
		late := time.AfterFunc(closeTimeout, func() { _ = f.conn.CloseNow() }) // Close would wait 5 s for the client
		defer late.Stop()
		_ = f.conn.Close(websocket.StatusServiceRestart, "")
	}
}

// write writes one frame, at least frameDistance after the previous one.
func (f *frames) write(ctx context.Context, frame any) error {
	timer := time.NewTimer(time.Until(f.last.Add(frameDistance)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	var text bytes.Buffer
	if err := wire.NewEncoder(&text).Encode(frame); err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	err := f.conn.Write(ctx, websocket.MessageText, text.Bytes())
	f.last = time.Now()
	return err
}
