package docker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The stream types in the header of a chunk of a container's log (Engine API, "Attach to a container", Stream format).
const (
	streamStdout = 1
	streamStderr = 2
	streamError  = 3 // words of the engine itself, e.g. that it cannot read its own log file
)

// errLog is the engine's own complaint in the midst of a log.
var errLog = errors.New("the engine broke off the log")

const maxErrorText = 4096

// demux cuts a multiplexed log into the chunks of its two streams, in order, each passed on as soon as any of it is
// there. It ends with nil at the end of the log, with errLog when the engine complains, with io.ErrUnexpectedEOF when
// the log ends inside a chunk, and with the error of sink. (stdcopy of Docker's own would hold whole chunks, take a
// log that ends inside a chunk for complete, and not tell an engine's complaint from a broken connection.)
func demux(log io.Reader, sink func(stream byte, chunk []byte) error) error {
	r := bufio.NewReaderSize(log, 32<<10)
	for {
		var header [8]byte
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		stream, size := header[0], int64(binary.BigEndian.Uint32(header[4:]))
		switch stream {
		case streamStdout, streamStderr:
			if err := copyChunks(r, size, func(chunk []byte) error { return sink(stream, chunk) }); err != nil {
				return err
			}
		case streamError:
			words, err := io.ReadAll(io.LimitReader(r, min(size, maxErrorText)))
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: %s", errLog, words)
		default:
			return fmt.Errorf("%w: a chunk of unknown type %d", errLog, stream)
		}
	}
}

// passOn hands on the next size bytes as they come.
func copyChunks(r *bufio.Reader, size int64, sink func([]byte) error) error {
	for size > 0 {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		chunk, err := r.Peek(int(min(size, int64(r.Buffered()))))
		if err != nil {
			return err
		}
		if err := sink(chunk); err != nil {
			return err
		}
		n, err := r.Discard(len(chunk))
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
