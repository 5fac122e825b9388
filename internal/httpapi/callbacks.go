package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// callbackRoutes answers requests for deliveries.
type callbackRoutes struct{ Deps }

// handleDelivery answers with the delivery of one execution and explains its state.
func (a *callbackRoutes) handleDelivery(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	return a.showDelivery(r.Context(), w, e)
}

func (a *callbackRoutes) showDelivery(ctx context.Context, w http.ResponseWriter, e execution.Execution) error {
	d, err := a.Records.Delivery(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read delivery: %w", err)
	}
	attempts, err := a.Deliveries.Attempts(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	breaker, err := a.Deliveries.Breaker(ctx, e.Subject, e.Callback.Destination())
	if err != nil {
		return fmt.Errorf("read breaker: %w", err)
	}
	return server.Respond(w, http.StatusOK, deliveryOf(e, d, attempts, breaker, a.Now()))
}

// handleAttempts answers with all attempts of one delivery.
func (a *callbackRoutes) handleAttempts(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	attempts, err := a.Deliveries.Attempts(r.Context(), e.ID)
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	return server.Respond(w, http.StatusOK, attemptsOf(e.ID, attempts))
}

// handleRedeliver makes a delivery due now.
func (a *callbackRoutes) handleRedeliver(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	if err := a.Deliveries.Redeliver(r.Context(), e.ID, a.Now()); err != nil {
		return fmt.Errorf("redeliver: %w", err)
	}
	a.Log.WithFields(logrus.Fields{
		"execution_id": e.ID, "subject": caller.Subject, "request_id": server.RequestID(r),
	}).Info("callback asked for again")
	return a.showDelivery(r.Context(), w, e)
}

// deliveryPage is one page of a list.
type deliveryPage struct {
	Callbacks  []wire.Delivery `json:"callbacks"`
	Count      int             `json:"count"`
	NextCursor *string         `json:"next_cursor"` // null: there is nothing older
}

func (a *callbackRoutes) handleDeliveries(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	q := server.QueryOf(r)
	filter := execution.DeliveryFilter{
		States:      server.Words(q, "status", execution.DeliveryStates()),
		Destination: destinationOf(q, "destination"),
		Since:       q.Instant("since"),
		Until:       q.Instant("until"),
		Before:      deliveryCursorOf(q, "cursor"),
		Limit:       q.Number("limit", standardPage, 1, maxPage),
	}
	if q.Err() != nil {
		return q.Err()
	}
	if !caller.Admin {
		filter.Subject = caller.Subject
	}
	deliveries, err := a.Deliveries.Deliveries(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list deliveries: %w", err)
	}
	answer := deliveryPage{Callbacks: make([]wire.Delivery, 0, len(deliveries)), Count: len(deliveries)}
	for _, d := range deliveries {
		answer.Callbacks = append(answer.Callbacks, lineOf(d))
	}
	if len(deliveries) == filter.Limit { // another page may follow a full one
		answer.NextCursor = new(cursorText(deliveries[len(deliveries)-1].Cursor()))
	}
	return server.Respond(w, http.StatusOK, answer)
}

func cursorText(c execution.DeliveryCursor) string {
	return strconv.FormatInt(c.CreatedAt.UnixNano(), 10) + "." + string(c.Execution)
}

// deliveryCursorOf parses the text of cursorText; an absent parameter is the zero cursor.
func deliveryCursorOf(q *server.Query, name string) execution.DeliveryCursor {
	text := q.Text(name)
	if text == "" {
		return execution.DeliveryCursor{}
	}
	at, id, _ := strings.Cut(text, ".")
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !execution.ID(id).Valid() {
		q.Refuse(name, "%s must be the next_cursor of an earlier answer.", name)
	}
	return execution.DeliveryCursor{CreatedAt: time.Unix(0, ns).UTC(), Execution: execution.ID(id)}
}

// destinationOf returns the destination of the callbacks to the URL of a receiver; "" for an absent parameter.
func destinationOf(q *server.Query, name string) string {
	text := q.Text(name)
	if text == "" {
		return ""
	}
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		q.Refuse(name, "%s must be a URL like https://hooks.example.com; what follows the port does not count.", name)
		return ""
	}
	return execution.Callback{URL: text}.Destination()
}

// recovered is the number of dead deliveries that became pending.
type recovered struct {
	Recovered int `json:"recovered"`
}

// handleRecover makes dead deliveries due now.
func (a *callbackRoutes) handleRecover(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	q := server.QueryOf(r)
	recovery := execution.Recovery{Since: q.Instant("since"), Destination: destinationOf(q, "destination")}
	if q.Err() != nil {
		return q.Err()
	}
	if !caller.Admin {
		recovery.Subject = caller.Subject
	}
	n, err := a.Deliveries.Recover(r.Context(), recovery, a.Now())
	if n > 0 {
		a.Log.WithFields(logrus.Fields{"recovered": n, "subject": caller.Subject, "request_id": server.RequestID(r)}).
			Info("dead callbacks asked for again")
	}
	if err != nil {
		return fmt.Errorf("recover deliveries: %w", err)
	}
	return server.Respond(w, http.StatusOK, recovered{n})
}

// handleTrial sends a sample to a URL now and answers with the outcome.
func (a *callbackRoutes) handleTrial(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	body, err := server.ReadJSON(w, r)
	if err != nil {
		return err
	}
	s, err := gateway.DecodeSubmission(body)
	if err != nil {
		return err
	}
	if err := a.Admission.CheckCallback(s); err != nil {
		return err
	}
	if err := server.ExtendWrite(w, r, callback.MaxTrial); err != nil {
		return err
	}
	trial, err := a.Try(r.Context(), callback.Sample{
		Subject: caller.Subject, URL: s.CallbackURL, Headers: s.CallbackHeaders, Secrets: s.Secrets,
	})
	if err != nil {
		return fmt.Errorf("test callback: %w", err)
	}
	a.Log.WithFields(logrus.Fields{
		"destination": execution.Callback{URL: s.CallbackURL}.Destination(), "outcome": trial.Outcome,
		"status":      trial.StatusCode,
		"duration_ms": trial.Duration.Milliseconds(), "subject": caller.Subject, "request_id": server.RequestID(r),
	}).Info("callback tested")
	return server.Respond(w, http.StatusOK, trialOf(s, trial))
}
