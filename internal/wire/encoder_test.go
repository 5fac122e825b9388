package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

func section(text string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
}

func TestPiecesOfALongTextFormOneJSONString(t *testing.T) {
	for shift := range 8 { // so that the border of two pieces falls on each byte of a rune
		printed := strings.Repeat("x", shift) + strings.Repeat("é世🎈\xff\"\n<", 10_000)
		var want bytes.Buffer
		if err := NewEncoder(&want).Encode(Result{Stdout: printed, Stderr: printed}); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := EncodeWithOutput(&got, Result{}, execution.Text{section(printed)},
			execution.Text{section(printed[:shift]), section(printed[shift:])}); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%d bytes before it: %d bytes are not the %d that json writes", shift, got.Len(), want.Len())
		}
	}
}

func TestTheTextsOfAClientAreNotTakenForTheOutput(t *testing.T) {
	r := Result{Metadata: map[string]string{"stderr": "", "stdout": "", "x": string(noOutput)}}
	v := struct {
		Metadata map[string]string `json:"asked"`
		Nested
	}{r.Metadata, Nested{&r}}
	var got, want bytes.Buffer
	if err := EncodeWithOutput(&got, v, execution.Text{section("out")}, execution.Text{section("err")}); err != nil {
		t.Fatal(err)
	}
	r.Stdout, r.Stderr = "out", "err"
	if err := NewEncoder(&want).Encode(v); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got %s; want %s", &got, &want)
	}
}
