package journal

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
)

// Collect asks the init for files that the program leaves. After the end of the program and of all other processes in
// the container, the init looks for the files and writes them into the log of stdout, before the end frame: a file
// frame and the content of each file, a frame for each file that matches and is refused, and a collection frame at the
// end. They are sorted by path, byte by byte and directory by directory.
//
// There is no collection if the program was not started, or if its end was requested from outside.
type Collect struct {
	Name    string        `json:"name"`          // name of the collection, 1 to 32 of a-z; every frame carries it
	Dir     string        `json:"dir,omitempty"` // absolute, or empty for the working directory; opened at the start
	Globs   []string      `json:"globs"`         // in the syntax of ParseGlob
	Files   int           `json:"files"`         // maximum number of files; further files are refused
	Bytes   int64         `json:"bytes"`         // maximum bytes of all files; a file that does not fit is refused
	Timeout time.Duration `json:"timeout"`       // time for searching and writing
	// Tree asks for a whole directory tree. Directories and links get a Present frame. So does a file with the content
	// that came with the job, which is not sent again. The file with the code is left out. A file of the workspace that
	// the code hid gets a Present frame behind the others, whatever the program left in its place. More entries than
	// Files, or more than Bytes, cut the collection, because half a tree is useless. A tree is collected even if the
	// end of the program was requested from outside.
	Tree bool `json:"tree,omitempty"`
}

// MaxCollectedPath is the maximum length in bytes of the path of a collected file.
const MaxCollectedPath = 1024

// MaxTreeDepth is the maximum number of parts of a path in a tree.
const MaxTreeDepth = 60

// MaxOmitted is the maximum number of refused files of one collection with a frame of their own; further ones are only
// counted.
const MaxOmitted = 64

// Collected is the frame of a file. The content of the file follows it.
type Collected struct {
	Of   string // name of the collection
	Path string // relative to the directory of the collection: clean, valid UTF-8, with slashes and without NUL
	Size int64  // bytes
	Mode uint32 // permissions, at most 0777
}

// Present is the frame of an entry of a tree that is not sent: a directory, a link, or a file that came with the job.
type Present struct {
	Of     string
	Path   string // in the form of Collected.Path
	Kind   string // one of the Entry constants
	Mode   uint32 // of a file
	Sum    []byte // of a file
	Target string // of a link, whatever it is
}

// Omitted is the frame of a file that matched and was refused.
type Omitted struct {
	Of     string
	Path   string // in the form of Collected.Path; invalid UTF-8 is replaced, and a path that is too long is cut
	Reason string // one of the Omit constants
}

// The reasons why a file is refused.
const (
	OmitSymlink    = "symlink"     // links are not followed
	OmitNotRegular = "not_regular" // a pipe, a socket, a device
	OmitElsewhere  = "elsewhere"   // on another file system
	OmitUnreadable = "unreadable"
	OmitName       = "name"      // the path is longer than MaxCollectedPath, or not UTF-8
	OmitDeep       = "deep"      // in more nested directories than the init follows, or than MaxTreeDepth
	OmitSize       = "size"      // larger than the rest of Bytes
	OmitCount      = "count"     // Files are collected already
	OmitUnchanged  = "unchanged" // the code or a file of the job, as it was sent
	OmitHidden     = "hidden"    // in the way of a file of the workspace that the code hid
)

// Collection is the frame that ends a collection.
type Collection struct {
	Of      string `json:"of"`
	Files   int    `json:"files"`   // files that were written completely
	Bytes   int64  `json:"bytes"`   // bytes of all these files
	Omitted int    `json:"omitted"` // refused files, with or without a frame
	Cut     string `json:"cut"`     // one of the Cut constants if the search ended early; empty otherwise
}

// The reasons why a collection is incomplete.
const (
	CutStopped    = "stopped"    // the end was requested from outside
	CutUnreadable = "unreadable" // the directory cannot be read
	CutEntries    = "entries"    // more files and directories than the init looks at
	CutTime       = "time"       // Timeout passed
	CutSize       = "size"       // the tree has more than Bytes
	CutCount      = "count"      // the tree has more entries than Files
)

// FileSink receives the files of a journal, one after the other, as the splitter finds them. A file is only valid after
// Done(true).
type FileSink interface {
	// Begin starts a file. The bytes written until Done are its content.
	Begin(f Collected)
	// Write adds the next bytes of the content. Its error is ignored.
	io.Writer
	// Done ends the file. whole reports whether all announced bytes came.
	Done(whole bool)
	// Present reports an entry that is not sent.
	Present(p Present)
	// Omit reports a refused file.
	Omit(o Omitted)
	// Complete reports the end of a collection.
	Complete(c Collection)
}

// pathFrame is the JSON of the frames with a path. Base64 gives any path a form, of a bounded length.
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

// AppendCollected appends a file frame to dst. AppendCollected, AppendPresent, AppendOmitted and AppendCollection
// allocate nothing if dst has 4 KiB of capacity, because a program may have left the init no more memory. Strings other
// than paths must need no escapes in JSON.
func AppendCollected(dst []byte, nonce, of string, path []byte, size int64, mode uint32) []byte {
	dst = appendPath(dst, nonce, kindFile, of, path)
	dst = strconv.AppendInt(append(dst, `,"size":`...), size, 10)
	dst = strconv.AppendUint(append(dst, `,"mode":`...), uint64(mode), 10)
	return append(dst, "}\n"...)
}

// AppendPresent appends a Present frame to dst. The target of a link has at most MaxCollectedPath bytes.
func AppendPresent(dst []byte, nonce, of string, path []byte, kind string, mode uint32, sum, target []byte) []byte {
	dst = appendPath(dst, nonce, kindPresent, of, path)
	dst = appendString(append(dst, `,"kind":`...), kind)
	dst = strconv.AppendUint(append(dst, `,"mode":`...), uint64(mode), 10)
	dst = base64.StdEncoding.AppendEncode(append(dst, `,"sum":"`...), sum)
	dst = base64.StdEncoding.AppendEncode(append(dst, `","target":"`...), target)
	return append(dst, "\"}\n"...)
}

// AppendOmitted appends the frame of a refused file to dst. A path is cut after MaxCollectedPath bytes.
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
		s.unnamed = true // the content of a file without a readable frame follows
		return
	}
	s.inFile, s.remaining = true, f.Size
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

// endFile ends the file that is being read, if any.
func (s *Splitter) endFile() {
	if s.inFile && s.files != nil {
		s.files.Done(s.remaining == 0)
	}
	s.inFile, s.unnamed = false, false
}
