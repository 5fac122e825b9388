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
	"syscall"
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
	owners     map[execution.ID]string // subjects; the owner is "" if an execution is missing
	revisions  map[execution.ID]int64  // of the last change that made a delivery pending
	revision   int64
	asked      int            // calls of News, Heads and Waiting
	flying     map[string]int // attempts without a record, by destination
	most       map[string]int // largest number of attempts in flight, by destination
	breakers   map[[2]string]execution.Breaker
	readError  error // of News, Heads and Waiting
	writeError error // of Record
	unreadable error // of Delivery
}

func newMemoryStore(deliveries ...execution.Delivery) *memoryStore {
	m := &memoryStore{
		deliveries: make(map[execution.ID]*execution.Delivery),
		owners:     make(map[execution.ID]string),
		revisions:  make(map[execution.ID]int64),
		pending:    make(chan struct{}, 1),
		flying:     make(map[string]int),
		most:       make(map[string]int),
		breakers:   make(map[[2]string]execution.Breaker),
	}
	m.add(deliveries...)
	return m
}

// add makes deliveries pending, due now.
func (m *memoryStore) add(deliveries ...execution.Delivery) { m.addOf("", deliveries...) }

// addOf makes deliveries of a subject pending, due now.
func (m *memoryStore) addOf(subject string, deliveries ...execution.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range deliveries {
		if d.NextAt.IsZero() {
			d.NextAt = time.Now()
		}
		m.revision++
		m.deliveries[d.Execution], m.owners[d.Execution], m.revisions[d.Execution] = &d, subject, m.revision
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

func (m *memoryStore) LatestNews(context.Context) (execution.NewsCursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return execution.NewsCursor{Revision: m.revision, Row: 1}, m.readError
}

func (m *memoryStore) News(
	_ context.Context, after execution.NewsCursor, limit int,
) (news []execution.Due, next execution.NewsCursor, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	next = after
	for _, id := range slices.SortedFunc(maps.Keys(m.revisions), func(a, b execution.ID) int {
		return cmp.Compare(m.revisions[a], m.revisions[b])
	}) {
		if m.revisions[id] > after.Revision && len(news) < limit {
			next.Revision = m.revisions[id]
			if d := m.deliveries[id]; d.State == execution.Pending {
				news = append(news, m.due(d))
			}
		}
	}
	return news, next, m.readError
}

// due returns what the schedule knows of a delivery.
func (m *memoryStore) due(d *execution.Delivery) execution.Due {
	return execution.Due{
		Execution: d.Execution, Subject: m.owners[d.Execution], Destination: d.Callback.Destination(), NextAt: d.NextAt,
	}
}

// pendingDeliveries lists the pending deliveries by subject, destination and time.
func (m *memoryStore) pendingDeliveries() (list []execution.Due) {
	for _, d := range m.deliveries {
		if d.State == execution.Pending {
			list = append(list, m.due(d))
		}
	}
	slices.SortFunc(list, func(a, b execution.Due) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Destination, b.Destination),
			a.NextAt.Compare(b.NextAt), cmp.Compare(a.Execution, b.Execution))
	})
	return list
}

func (m *memoryStore) Heads(
	_ context.Context, subject, destination string, limit int,
) (heads []execution.Due, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	for _, d := range m.pendingDeliveries() {
		behind := cmp.Or(cmp.Compare(d.Subject, subject), cmp.Compare(d.Destination, destination)) > 0
		if behind && len(heads) < limit {
			heads = append(heads, d)
			subject, destination = d.Subject, d.Destination
		}
	}
	return heads, m.readError
}

func (m *memoryStore) Waiting(
	_ context.Context, subject, destination string, limit int,
) (list []execution.Due, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	for _, d := range m.pendingDeliveries() {
		if d.Subject == subject && d.Destination == destination && len(list) < limit {
			list = append(list, d)
		}
	}
	return list, m.readError
}

func (m *memoryStore) Delivery(_ context.Context, id execution.ID) (execution.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unreadable == nil {
		destination := m.deliveries[id].Callback.Destination()
		m.flying[destination]++
		m.most[destination] = max(m.most[destination], m.flying[destination])
	}
	return *m.deliveries[id], m.unreadable
}

func (m *memoryStore) Breakers(context.Context) ([]execution.Breaker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.breakers)), nil
}

func (m *memoryStore) ForgetBreakers(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.breakers, func(_ [2]string, b execution.Breaker) bool { return b.OpenUntil.Before(before) })
	return nil
}

func (m *memoryStore) KeepBreaker(_ context.Context, b execution.Breaker) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Openings == 0 {
		delete(m.breakers, [2]string{b.Subject, b.Destination})
		return nil
	}
	m.breakers[[2]string{b.Subject, b.Destination}] = b
	return nil
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
	m.flying[d.Callback.Destination()]--
	m.attempts = append(m.attempts, a)
	if state != execution.Delivered && d.NextAt.After(a.StartedAt) {
		nextAt = d.NextAt // it was sent again meanwhile
	}
	d.Attempts, d.State, d.Reason, d.NextAt = a.Number, state, reason, nextAt
	return nil
}

// redeliver makes a delivery due now.
func (m *memoryStore) redeliver(id execution.ID) {
	m.mu.Lock()
	d := *m.deliveries[id]
	subject := m.owners[id]
	m.mu.Unlock()
	d.State, d.NextAt = execution.Pending, time.Now()
	m.addOf(subject, d)
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
	// path replaces answer if it is set; the argument is host and path.
	path func(target string) (status int, after time.Duration)
	down func(host string) bool // nil: every host is reachable

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
	if n.down != nil && n.down(host) {
		return nil, syscall.ECONNREFUSED
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
		var status int
		var after time.Duration
		if n.path != nil {
			status, after = n.path(host + request.URL.Path)
		} else {
			status, after = n.answer(host)
		}
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
