package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

const (
	maxTrials = 8                // callbacks that are tested at the same time
	maxTrial  = 30 * time.Second // of one
)

// callback answers with the delivery of one execution and says what became of it.
func (a *api) callback(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	return a.showDelivery(r.Context(), w, e)
}

func (a *api) showDelivery(ctx context.Context, w http.ResponseWriter, e execution.Execution) error {
	d, err := a.Records.Delivery(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read delivery: %w", err)
	}
	attempts, err := a.Deliveries.Attempts(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	breakers, err := a.Deliveries.Breakers(ctx)
	if err != nil {
		return fmt.Errorf("read breakers: %w", err)
	}
	return respond(w, http.StatusOK, deliveryOf(e, d, attempts, breakers, a.Now()))
}

// attempts answers with all that was tried to deliver one result.
func (a *api) attempts(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	attempts, err := a.Deliveries.Attempts(r.Context(), e.ID)
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	return respond(w, http.StatusOK, attemptsOf(e.ID, attempts))
}

// redeliver sends a result once more, now.
func (a *api) redeliver(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	if err := a.Deliveries.Redeliver(r.Context(), e.ID, a.Now()); err != nil {
		return fmt.Errorf("redeliver: %w", err)
	}
	a.Log.WithFields(logrus.Fields{
		"execution_id": e.ID, "subject": p.Subject, "request_id": exchangeOf(r).id,
	}).Info("callback asked for again")
	return a.showDelivery(r.Context(), w, e)
}

// deliveryPage is one answer of a list.
type deliveryPage struct {
	Callbacks  []wire.Delivery `json:"callbacks"`
	Count      int             `json:"count"`
	NextCursor *string         `json:"next_cursor"` // null: there is nothing older
}

func (a *api) callbacks(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	q := queryOf(r)
	filter := execution.DeliveryFilter{
		States:      words(q, "status", execution.DeliveryStates()),
		Destination: q.destination("destination"),
		Since:       q.instant("since"),
		Until:       q.instant("until"),
		Before:      q.deliveryCursor("cursor"),
		Limit:       q.number("limit", standardPage, 1, maxPage),
	}
	if q.err != nil {
		return q.err
	}
	if !p.Admin {
		filter.Subject = p.Subject
	}
	deliveries, err := a.Deliveries.Deliveries(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list deliveries: %w", err)
	}
	answer := deliveryPage{Callbacks: make([]wire.Delivery, 0, len(deliveries)), Count: len(deliveries)}
	for _, d := range deliveries {
		answer.Callbacks = append(answer.Callbacks, lineOf(d))
	}
	if len(deliveries) == filter.Limit { // a full page may have another behind it
		answer.NextCursor = new(cursorText(deliveries[len(deliveries)-1].Cursor()))
	}
	return respond(w, http.StatusOK, answer)
}

func cursorText(c execution.DeliveryCursor) string {
	return strconv.FormatInt(c.CreatedAt.UnixNano(), 10) + "." + string(c.Execution)
}

// deliveryCursor reads what cursorText wrote; zero when there is none.
func (q *query) deliveryCursor(name string) execution.DeliveryCursor {
	text := q.text(name)
	if text == "" {
		return execution.DeliveryCursor{}
	}
	at, id, _ := strings.Cut(text, ".")
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !execution.ID(id).Valid() {
		q.refuse(name, "%s must be the next_cursor of an earlier answer.", name)
	}
	return execution.DeliveryCursor{CreatedAt: time.Unix(0, ns).UTC(), Execution: execution.ID(id)}
}

// recovered is how many dead deliveries are on their way again.
type recovered struct {
	Recovered int `json:"recovered"`
}

// recover sends again what was given up.
func (a *api) recover(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	q := queryOf(r)
	recovery := execution.Recovery{Since: q.instant("since"), Destination: q.destination("destination")}
	if q.err != nil {
		return q.err
	}
	if !p.Admin {
		recovery.Subject = p.Subject
	}
	n, err := a.Deliveries.Recover(r.Context(), recovery, a.Now())
	if n > 0 {
		a.Log.WithFields(logrus.Fields{"recovered": n, "subject": p.Subject, "request_id": exchangeOf(r).id}).Info("dead callbacks asked for again")
	}
	if err != nil {
		return fmt.Errorf("recover deliveries: %w", err)
	}
	return respond(w, http.StatusOK, recovered{n})
}

// test sends a sample to a URL now and answers with what happened.
func (a *api) test(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	body, err := a.readJSON(w, r)
	if err != nil {
		return err
	}
	s, err := decodeSubmission(body)
	if err != nil {
		return err
	}
	if err := a.Admission.CheckCallback(s); err != nil {
		return err
	}
	select {
	case a.trials <- struct{}{}:
		defer func() { <-a.trials }()
	default:
		return fault.New(fault.RateLimitExceeded, "%d callbacks are being tested already; try again when one is through.", maxTrials)
	}
	if err := a.extend(w, maxTrial); err != nil {
		return err
	}
	trial, err := a.Try(r.Context(), callback.Sample{URL: s.CallbackURL, Headers: s.CallbackHeaders, Secrets: s.Secrets})
	if err != nil {
		return fmt.Errorf("test callback: %w", err)
	}
	a.Log.WithFields(logrus.Fields{
		"destination": execution.Callback{URL: s.CallbackURL}.Destination(), "outcome": trial.Outcome, "status": trial.StatusCode,
		"duration_ms": trial.Duration.Milliseconds(), "subject": p.Subject, "request_id": exchangeOf(r).id,
	}).Info("callback tested")
	return respond(w, http.StatusOK, trialOf(s, trial))
}
