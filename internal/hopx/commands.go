package hopx

import (
	"net/http"
	"strings"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/server"
)

// shell is the language of command lines.
const shell = "bash"

// handleRunCommand runs a command line and holds the answer until it ends.
func (h *door) handleRunCommand(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.execute(w, r, caller, commandSubmission)
}

// handleBackgroundCommand accepts a command line whose result is kept.
func (h *door) handleBackgroundCommand(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.background(w, r, caller, commandSubmission)
}

// commandSubmission turns a command line into a program of the shell. HopX's clients send the line itself, or a shell
// with the line as its argument; both mean the same program.
func commandSubmission(s admission.Submission) (admission.Submission, error) {
	o, err := server.ParseObject("body", s.Body)
	if err != nil {
		return s, err
	}
	command, args := o.Text("command"), s.Args
	if o.Err() != nil {
		return s, o.Err()
	}
	if command == "" {
		return s, fault.New(fault.MissingParameter, "command is required.").Field("command")
	}
	s.Language, s.Code, s.Args = shell, command, nil
	switch {
	case (command == "bash" || command == "sh") && len(args) == 2 && args[0] == "-c":
		s.Code = args[1]
	case len(args) > 0:
		s.Code = oneWord(command)
		for _, arg := range args {
			s.Code += " " + oneWord(arg)
		}
	}
	return s, nil
}

// oneWord quotes a text so that it is one word of a command line (POSIX.1-2017, shell, 2.2.2).
func oneWord(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
