package wire

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSecondsHaveNoExponentAndNoRoundingTail(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                            "0",
		999 * time.Nanosecond:        "0",
		time.Microsecond:             "0.000001",
		10 * time.Microsecond:        "0.00001",
		time.Second:                  "1",
		4035 * time.Millisecond:      "4.035",
		100 * time.Millisecond:       "0.1",
		-1500 * time.Millisecond:     "-1.5",
		-1 * time.Microsecond:        "-0.000001",
		86400*time.Second + 1:        "86400",
		1234567891 * time.Nanosecond: "1.234567",
	} {
		if got, err := json.Marshal(Seconds(d)); err != nil || string(got) != want {
			t.Errorf("%v = %s, %v; want %s", d, got, err, want)
		}
	}
}

func TestSecondsAreReadAsTheyWereWritten(t *testing.T) {
	for micros := range 200_000 {
		want := Seconds(time.Duration(micros) * 997 * time.Microsecond)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Seconds
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Fatalf("%s is read as %v, %v; want %v", text, got, err, want)
		}
	}
}
