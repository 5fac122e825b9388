package callback

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"boomerang/internal/execution"
)

// fakeUnsealer is an Unsealer of fields that are not sealed.
type fakeUnsealer struct{ err error }

func (p fakeUnsealer) Unseal(_ execution.ID, _ string, sealed execution.Sealed) ([]byte, error) {
	return sealed, p.err
}

func testSender(p *Policy) *sender {
	return newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", defaultTimeouts())
}

func aDelivery(url string) execution.Delivery {
	return execution.Delivery{
		Execution: testID, State: execution.Pending, Callback: execution.Callback{URL: url},
		Body: []byte(`{"execution_id":"exec_1"}`),
	}
}

func anAttempt() execution.Attempt {
	return execution.Attempt{Execution: testID, Number: 1, StartedAt: time.Unix(1706400000, 0)}
}

// discardLog is for servers whose clients misbehave on purpose.
var discardLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// closeConn closes c and ignores the error.
func closeConn(c io.Closer) { _ = c.Close() }

// memoryStore is a Store in memory.
type memoryStore struct {
	mu         sync.Mutex
	deliveries map[execution.ID]*execution.Delivery
	attempts   []execution.Attempt
	pending    chan struct{}
	asked      int            // calls of Due
	most       map[string]int // largest number of attempts in flight, by destination
	breakers   map[string]execution.Breaker
	readError  error // of Due and NextDue
	writeError error // of Record
	unreadable error // of Delivery
}

func newMemoryStore(deliveries ...execution.Delivery) *memoryStore {
	m := &memoryStore{
		deliveries: make(map[execution.ID]*execution.Delivery),
		pending:    make(chan struct{}, 1),
		most:       make(map[string]int),
		breakers:   make(map[string]execution.Breaker),
	}
	m.add(deliveries...)
	return m
}

// add makes deliveries pending, due now.
func (m *memoryStore) add(deliveries ...execution.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range deliveries {
		if d.NextAt.IsZero() {
			d.NextAt = time.Now()
		}
		m.deliveries[d.Execution] = &d
	}
	select {
	case m.pending <- struct{}{}:
	default:
	}
}

// fail sets the errors of reading and writing from now on; nil means success.
func (m *memoryStore) fail(read, write error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readError, m.writeError = read, write
}

func (m *memoryStore) Due(
	_ context.Context, now time.Time, perDestination, limit int, inFlight []execution.ID, closed []string,
) ([]execution.Due, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	flying := make(map[string]int)
	for _, id := range inFlight {
		destination := m.deliveries[id].Callback.Destination()
		flying[destination]++
		m.most[destination] = max(m.most[destination], flying[destination])
	}
	if m.readError != nil {
		return nil, m.readError
	}
	var pending []execution.Delivery
	for _, d := range m.deliveries {
		if d.State == execution.Pending && !d.NextAt.After(now) &&
			!slices.Contains(inFlight, d.Execution) && !slices.Contains(closed, d.Callback.Destination()) {
			pending = append(pending, *d)
		}
	}
	slices.SortFunc(pending, func(a, b execution.Delivery) int {
		return cmp.Or(a.NextAt.Compare(b.NextAt), cmp.Compare(a.Execution, b.Execution))
	})
	var due []execution.Due
	taken := make(map[string]int)
	for _, d := range pending {
		if destination := d.Callback.Destination(); taken[destination] < perDestination && len(due) < limit {
			taken[destination]++
			due = append(due, execution.Due{Execution: d.Execution, Destination: destination})
		}
	}
	return due, nil
}

func (m *memoryStore) Delivery(_ context.Context, id execution.ID) (execution.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.deliveries[id], m.unreadable
}

func (m *memoryStore) Breakers(context.Context) ([]execution.Breaker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.breakers)), nil
}

func (m *memoryStore) KeepBreaker(_ context.Context, b execution.Breaker) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Openings == 0 {
		delete(m.breakers, b.Destination)
		return nil
	}
	m.breakers[b.Destination] = b
	return nil
}

func (m *memoryStore) NextDue(_ context.Context, now time.Time) (at time.Time, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.deliveries {
		if d.State == execution.Pending && d.NextAt.After(now) && (!ok || d.NextAt.Before(at)) {
			at, ok = d.NextAt, true
		}
	}
	return at, ok, m.readError
}

func (m *memoryStore) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason,
	nextAt time.Time,
) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(m.writeError, ctx.Err()); err != nil {
		return err
	}
	d := m.deliveries[a.Execution]
	if d.State != execution.Pending || a.Number != d.Attempts+1 {
		return fmt.Errorf("attempt %d of a delivery that is %s after %d", a.Number, d.State, d.Attempts)
	}
	m.attempts = append(m.attempts, a)
	d.Attempts, d.State, d.Reason, d.NextAt = a.Number, state, reason, nextAt
	return nil
}

func (m *memoryStore) Pending() <-chan struct{} { return m.pending }

// get returns the current state of a delivery.
func (m *memoryStore) get(id execution.ID) execution.Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.deliveries[id]
}

// delivered returns the number of deliveries that have arrived.
func (m *memoryStore) delivered() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, d := range m.deliveries {
		if d.State == execution.Delivered {
			n++
		}
	}
	return n
}

// arrival is one request to a receiver of a fakeNetwork.
type arrival struct {
	at     time.Time
	host   string
	header http.Header
	body   string
}

// statusEndlessBody is a success status whose answer has an endless body.
const statusEndlessBody = 299

// fakeNetwork is a network of receivers without sockets, for bubbles of synctest. Every name is a receiver.
type fakeNetwork struct {
	answer func(host string) (status int, after time.Duration) // status 0 = no answer, statusEndlessBody = endless body

	mu       sync.Mutex
	arrivals []arrival
	open     int // requests without an answer yet
	most     int // largest value of open
}

func newFakeNetwork(answer func(host string) (int, time.Duration)) *fakeNetwork {
	return &fakeNetwork{answer: answer}
}

func (n *fakeNetwork) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	go n.serve(host, server)
	return client, nil
}

func (n *fakeNetwork) serve(host string, conn net.Conn) {
	defer closeConn(conn)
	in := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		n.arrived(arrival{time.Now(), host, request.Header, string(body)})
		status, after := n.answer(host)
		if status == statusEndlessBody {
			_, _ = io.WriteString(conn, "HTTP/1.1 299 X\r\nContent-Length: 1\r\n\r\n")
		}
		if status == 0 || status == statusEndlessBody {
			_, _ = io.Copy(io.Discard, in) // until the client closes the connection
			return
		}
		<-time.After(after)
		n.left()
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status); err != nil {
			return
		}
	}
}

func (n *fakeNetwork) arrived(a arrival) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.arrivals = append(n.arrivals, a)
	n.open++
	n.most = max(n.most, n.open)
}

func (n *fakeNetwork) left() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open--
}

// count returns the number of requests so far.
func (n *fakeNetwork) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.arrivals)
}

// at lists the times of the requests to host, counted from start.
func (n *fakeNetwork) at(host string, start time.Time) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var at []time.Duration
	for _, a := range n.arrivals {
		if a.host == host {
			at = append(at, a.at.Sub(start))
		}
	}
	return at
}
