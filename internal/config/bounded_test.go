package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/config"
)

// long returns values that are too long for a line of the log, of different kinds.
func long() map[string]string {
	return map[string]string{
		"a word":          strings.Repeat("x", 15_000),
		"words":           strings.Repeat("many words ", 2000),
		"quotes":          strings.Repeat(`{"a": "\\"}`, 2000),
		"control bytes":   strings.Repeat("\x01\n\t", 4000),
		"markup":          strings.Repeat("<&>", 4000),
		"letters":         strings.Repeat("ä🙂\u2028", 3000),
		"invalid UTF-8":   strings.Repeat("\xff\xfe", 4000),
		"hardly too long": strings.Repeat("y", 2048),
	}
}

func TestNoLineOfTheLogIsLongerThan2KiB(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		for name, value := range long() {
			for place, write := range map[string]func(*logrus.Entry){
				"an error": func(l *logrus.Entry) { l.WithError(errors.New(value)).Warn("it begins") },
				"a wrapped error": func(l *logrus.Entry) {
					l.WithError(fmt.Errorf("act: %w", errors.New(value))).Warn("it begins")
				},
				"a field":     func(l *logrus.Entry) { l.WithField("value", value).Info("it begins") },
				"the message": func(l *logrus.Entry) { l.Info("it begins " + value) },
				"all three": func(l *logrus.Entry) {
					l.WithError(errors.New(value)).WithField("value", value).Error("it begins " + value)
				},
				"a list":   func(l *logrus.Entry) { l.WithField("value", []string{value, value}).Info("it begins") },
				"bytes":    func(l *logrus.Entry) { l.WithField("value", []byte(value)).Info("it begins") },
				"the name": func(l *logrus.Entry) { l.WithField(value, 1).Info("it begins") },
				"a field beside a short one": func(l *logrus.Entry) {
					l.WithField("value", value).WithField("execution_id", "exec_1").Info("it begins")
				},
			} {
				var out bytes.Buffer
				write(config.Log{Level: "info", Format: format}.Logger(&out))
				line := out.String()
				if len(line) > 2048 || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
					t.Errorf("%s, %s in %s: got %d bytes in %d lines; want one line of at most 2048 bytes",
						format, name, place, len(line), strings.Count(line, "\n"))
				}
				if !strings.Contains(line, "left out") && !strings.Contains(line, "left_out") {
					t.Errorf("%s, %s in %s: the line does not mention the left-out text: %s", format, name, place, line)
				}
				if !strings.Contains(line, "it begins") ||
					place == "a field beside a short one" && !strings.Contains(line, "exec_1") {
					t.Errorf("%s, %s in %s: a short text is missing: %s", format, name, place, line)
				}
				if format == "json" && !json.Valid(out.Bytes()) {
					t.Errorf("%s in %s: invalid JSON: %s", name, place, line)
				}
			}
		}
	}
}

func TestALineOfManyFieldsIsBounded(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		for n := 1; n < 400; n += 7 {
			var out bytes.Buffer
			log := config.Log{Level: "info", Format: format}.Logger(&out)
			for i := range n {
				log = log.WithField(fmt.Sprintf("field_%03d", i), strings.Repeat("v", 300))
			}
			log.Info("it begins")
			line := out.String()
			if len(line) > 2048 || !strings.Contains(line, "field_000") || !strings.Contains(line, "it begins") {
				t.Fatalf("%s: %d fields make a line of %d bytes: %s", format, n, len(line), line)
			}
		}
	}
}

func TestALineThatFitsIsUnchanged(t *testing.T) {
	var out bytes.Buffer
	log := config.Log{Level: "info", Format: "json"}.Logger(&out)
	log.WithError(errors.New(strings.Repeat("e", 1500))).WithField("n", 7).Info("m")
	var line struct {
		Error string
		N     int
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || len(line.Error) != 1500 || line.N != 7 {
		t.Errorf("got %v: %s; want the whole line", err, &out)
	}
}
