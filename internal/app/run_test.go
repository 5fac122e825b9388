package app

import (
	"errors"
	"slices"
	"testing"
)

func TestACloseErrorNamesTheResource(t *testing.T) {
	var order []string
	a := &App{}
	for name, err := range map[string]error{"store": nil, "engine": errors.New("connection reset")} {
		a.onClose(name, func() error {
			order = append(order, name)
			return err
		})
	}
	var opened []string
	for _, c := range a.closers {
		opened = append(opened, c.name)
	}
	err := a.close()
	if err == nil || err.Error() != "close engine: connection reset" {
		t.Errorf("close: %v, want close engine: connection reset", err)
	}
	slices.Reverse(opened)
	if !slices.Equal(order, opened) {
		t.Errorf("closed %q, want %q", order, opened)
	}
	if err := a.close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}
