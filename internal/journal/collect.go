package journal

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// Collect asks the init for files that the program leaves. When the program has ended and nothing else is left in the
// container, the init looks for them and writes them into the log of stdout, before the end frame: a file frame and the
// content of each, a frame for each file that is chosen and refused, and a collection frame at the end. They come in the
// order of their paths, as bytes sort directory by directory.
//
// A program that was not started, or whose end was asked for from outside, leaves none.
type Collect struct {
	Name    string        `json:"name"`          // whose they are; 1 to 32 of a-z. Every frame bears it
	Dir     string        `json:"dir,omitempty"` // absolute; empty = the working directory. Opened before the program starts
	Globs   []string      `json:"globs"`         // as ParseGlob reads them
	Files   int           `json:"files"`         // at most; what comes behind them is refused
	Bytes   int64         `json:"bytes"`         // of all files; what does not fit any more is refused, whole
	Timeout time.Duration `json:"timeout"`       // for looking and writing
	// Tree asks for the whole tree, whose state it is to be: directories and links are told of, a file whose content was given
	// with the job is told of and not sent again, and the code's own file is left out, or told of as it was given. What is more
	// than Files or Bytes cuts the collection: half a tree is none. It is collected also when the end was asked for from outside.
	Tree bool `json:"tree,omitempty"`
}

// MaxCollectedPath is how many bytes the path of a collected file has at most.
const MaxCollectedPath = 1024

// MaxOmitted is how many refused files of one collection get a frame of their own; the others are counted.
const MaxOmitted = 64

// Collected is the frame of a file; its content follows.
type Collected struct {
	Of   string // the Name of what asked for it
	Path string // below its directory: clean, valid UTF-8, with slashes; it may hold anything else but NUL
	Size int64  // bytes
	Mode uint32 // permissions, at most 0777
}

// Present is the frame of an entry of a tree that is not sent: a directory, a link, or a file that was given.
type Present struct {
	Of     string
	Path   string // as of Collected
	Kind   string // one of the Given constants
	Mode   uint32 // of a file
	Sum    []byte // of a file
	Target string // of a link, whatever it is
}

// Omitted is the frame of a file that was chosen and refused.
type Omitted struct {
	Of     string
	Path   string // as of Collected; what is not UTF-8 of it was replaced, what was too long cut off
	Reason string // one of the Omit constants
}

// Why a file was refused.
const (
	OmitSymlink    = "symlink"     // links are not followed
	OmitNotRegular = "not_regular" // a pipe, a socket, a device
	OmitElsewhere  = "elsewhere"   // it lies on another file system
	OmitUnreadable = "unreadable"
	OmitName       = "name"  // its path is longer than MaxCollectedPath, or not UTF-8
	OmitDeep       = "deep"  // more directories above it than the init goes down
	OmitSize       = "size"  // it does not fit into what is left of Bytes
	OmitCount      = "count" // there are Files already
)

// Collection is the frame that ends a collection.
type Collection struct {
	Of      string `json:"of"`
	Files   int    `json:"files"`   // that were written whole
	Bytes   int64  `json:"bytes"`   // of all of them
	Omitted int    `json:"omitted"` // that were refused, whether they have a frame or not
	Cut     string `json:"cut"`     // one of the Cut constants when not everything was looked at; else empty
}

// Why a collection is not complete.
const (
	CutStopped    = "stopped"    // somebody asked for the end
	CutUnreadable = "unreadable" // the directory could not be read
	CutEntries    = "entries"    // there are more files and directories than the init looks at
	CutTime       = "time"       // it took too long
	CutSize       = "size"       // a tree has more bytes than is allowed
	CutCount      = "count"      // a tree has more entries than is allowed
)

// FileSink takes the files of a journal, one after the other, as the splitter finds them. A file whose Done does not come,
// or that is not whole, is of no use.
type FileSink interface {
	// Begin announces a file. What is written until Done is its content.
	Begin(f Collected)
	// Write takes the next bytes of the content. Its error is ignored.
	io.Writer
	// Done ends the file. It is whole when it has the bytes that were announced.
	Done(whole bool)
	// Present tells of an entry that is not sent.
	Present(p Present)
	// Omit tells of a refused file.
	Omit(o Omitted)
	// Complete tells the end of a collection.
	Complete(c Collection)
}

// pathFrame is how both frames with a path look. In base64 every path has its form, and a bounded one.
type pathFrame struct {
	Of     string `json:"of"`
	Path   []byte `json:"path"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"`
	Reason string `json:"reason"`
	Kind   string `json:"kind"`
	Sum    []byte `json:"sum"`
	Target []byte `json:"target"`
}

// AppendCollected appends a file frame to dst. Like the other two below it allocates nothing when dst has the room, 4 KiB:
// a program may have left the init no more memory. Strings other than paths must need no escapes in JSON.
func AppendCollected(dst []byte, nonce, of string, path []byte, size int64, mode uint32) []byte {
	dst = appendPath(dst, nonce, kindFile, of, path)
	dst = strconv.AppendInt(append(dst, `,"size":`...), size, 10)
	dst = strconv.AppendUint(append(dst, `,"mode":`...), uint64(mode), 10)
	return append(dst, "}\n"...)
}

// AppendPresent appends the frame of an entry that is not sent to dst. A link's target is at most MaxCollectedPath bytes.
func AppendPresent(dst []byte, nonce, of string, path []byte, kind string, mode uint32, sum, target []byte) []byte {
	dst = appendPath(dst, nonce, kindPresent, of, path)
	dst = appendString(append(dst, `,"kind":`...), kind)
	dst = strconv.AppendUint(append(dst, `,"mode":`...), uint64(mode), 10)
	dst = base64.StdEncoding.AppendEncode(append(dst, `,"sum":"`...), sum)
	dst = base64.StdEncoding.AppendEncode(append(dst, `","target":"`...), target)
	return append(dst, "\"}\n"...)
}

// AppendOmitted appends the frame of a refused file to dst. A path of more than MaxCollectedPath bytes is cut.
func AppendOmitted(dst []byte, nonce, of string, path []byte, reason string) []byte {
	dst = appendPath(dst, nonce, kindOmitted, of, path)
	dst = appendString(append(dst, `,"reason":`...), reason)
	return append(dst, "}\n"...)
}

// AppendCollection appends a collection frame to dst.
func AppendCollection(dst []byte, nonce string, c Collection) []byte {
	dst = appendString(append(appendMarker(dst, nonce, kindCollection), `{"of":`...), c.Of)
	dst = strconv.AppendInt(append(dst, `,"files":`...), int64(c.Files), 10)
	dst = strconv.AppendInt(append(dst, `,"bytes":`...), c.Bytes, 10)
	dst = strconv.AppendInt(append(dst, `,"omitted":`...), int64(c.Omitted), 10)
	dst = appendString(append(dst, `,"cut":`...), c.Cut)
	return append(dst, "}\n"...)
}

func appendPath(dst []byte, nonce string, kind byte, of string, path []byte) []byte {
	dst = appendString(append(appendMarker(dst, nonce, kind), `{"of":`...), of)
	dst = append(dst, `,"path":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, path[:min(len(path), MaxCollectedPath)])
	return append(dst, '"')
}

func appendString(dst []byte, s string) []byte {
	return append(append(append(dst, '"'), s...), '"')
}

func (s *Splitter) readCollected(text []byte) {
	s.endFile()
	var f pathFrame
	if json.Unmarshal(text, &f) != nil || f.Size < 0 {
		s.astray = true // what follows is the content of a file that nobody can name
		return
	}
	s.inFile, s.left = true, f.Size
	if s.files != nil {
		s.files.Begin(Collected{Of: f.Of, Path: string(f.Path), Size: f.Size, Mode: f.Mode & 0o777})
	}
}

func (s *Splitter) readPresent(text []byte) {
	s.endFile()
	var f pathFrame
	if json.Unmarshal(text, &f) == nil && s.files != nil {
		s.files.Present(Present{
			Of: f.Of, Path: string(f.Path), Kind: f.Kind, Mode: f.Mode & 0o777, Sum: f.Sum, Target: string(f.Target),
		})
	}
}

func (s *Splitter) readOmitted(text []byte) {
	s.endFile()
	var f pathFrame
	if json.Unmarshal(text, &f) == nil && s.files != nil {
		s.files.Omit(Omitted{Of: f.Of, Path: strings.ToValidUTF8(string(f.Path), "\uFFFD"), Reason: f.Reason})
	}
}

func (s *Splitter) readCollection(text []byte) {
	s.endFile()
	var c Collection
	if json.Unmarshal(text, &c) == nil && s.files != nil {
		s.files.Complete(c)
	}
}

// endFile ends the file whose content was read, if any.
func (s *Splitter) endFile() {
	if s.inFile && s.files != nil {
		s.files.Done(s.left == 0)
	}
	s.inFile, s.astray = false, false
}
