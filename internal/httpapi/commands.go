package httpapi

import (
	"net/http"
	"strings"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/fault"
)

// shell is the language that command lines are written in.
const shell = "bash"

// runCommand is execute for a command line.
func (a *api) runCommand(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.executeAs(w, r, p, commandSubmission)
}

// backgroundCommand is background for a command line.
func (a *api) backgroundCommand(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.backgroundAs(w, r, p, commandSubmission)
}

// commandSubmission makes of a command line the program that it is. HopX's clients send the line itself, or a shell with the
// line as its argument, which is the same.
func commandSubmission(s admission.Submission) (admission.Submission, error) {
	o, err := objectOf("body", s.Body)
	if err != nil {
		return s, err
	}
	command, args := o.text("command"), s.Args
	if o.err != nil {
		return s, o.err
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

// oneWord is one word of a command line, whatever is in it (POSIX.1-2017, shell, 2.2.2).
func oneWord(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
