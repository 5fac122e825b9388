package config

import (
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"
)

// Log is the format of the log.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json, text, or auto: text on a terminal, JSON elsewhere
}

// Validate returns an error that names the invalid key.
func (l Log) Validate() error {
	if _, err := logrus.ParseLevel(l.Level); err != nil {
		return fmt.Errorf("level must be debug, info, warn or error, not %q", l.Level)
	}
	switch l.Format {
	case "auto", "json", "text":
		return nil
	}
	return fmt.Errorf("format must be auto, json or text, not %q", l.Format)
}

// Logger returns the logger that l describes; l must be valid. No line of the log is longer than 2 KiB.
func (l Log) Logger(out io.Writer) *logrus.Entry {
	log := logrus.New()
	log.SetOutput(out)
	if level, err := logrus.ParseLevel(l.Level); err == nil {
		log.SetLevel(level)
	}
	file, isFile := out.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	if l.Format == "json" || l.Format == "auto" && !terminal {
		log.SetFormatter(bounded{&logrus.JSONFormatter{}})
	} else {
		log.SetFormatter(bounded{&logrus.TextFormatter{
			ForceColors: terminal, FullTimestamp: true, TimestampFormat: "15:04:05.000",
		}})
	}
	return logrus.NewEntry(log)
}
