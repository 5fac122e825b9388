package docker

import (
	"io"

	"github.com/sirupsen/logrus"
)

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}
