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
	streamError  = 3 // an error message of the engine, such as an unreadable log file
)

// errLog means that the engine reported an error inside a log.
var errLog = errors.New("the engine reported an error in the log")

const maxErrorText = 4096

// demux splits a multiplexed log into the chunks of its two streams, in order, and passes each part of a chunk to sink
// as soon as it arrives. Demux returns nil at the end of the log, errLog when the engine reports an error,
// io.ErrUnexpectedEOF when the log ends inside a chunk, and the error of sink.
//
// Docker's own stdcopy does not fit: it holds back whole chunks, takes a log that ends inside a chunk for complete, and
// does not tell an error of the engine from a broken connection.
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

// copyChunks passes the next size bytes to sink as they arrive.
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
