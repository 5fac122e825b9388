package execution

// Input is what a program is given beside its code and its environment. It is stored as JSON, sealed as one field.
type Input struct {
	Args  []string `json:"args,omitempty"`  // behind the language's own command
	Stdin []byte   `json:"stdin,omitempty"` // what it reads, and then the end of the file
	Files []File   `json:"files,omitempty"` // there before it starts
}

// Empty tells whether there is nothing to store.
func (i Input) Empty() bool { return len(i.Args) == 0 && len(i.Stdin) == 0 && len(i.Files) == 0 }

// File is a file that lies in the working directory when the program starts.
type File struct {
	Path    string `json:"path"` // clean, relative to the working directory, and within it
	Mode    uint32 `json:"mode"` // permissions, at most 0777
	Content []byte `json:"content"`
}

// Options are what a submission asked for that is no secret: they are stored as JSON, and shown in the record.
type Options struct {
	Args      int               `json:"args,omitempty"`  // how many
	Stdin     int               `json:"stdin,omitempty"` // bytes
	Files     []FileInfo        `json:"files,omitempty"`
	Limits    Limits            `json:"limits,omitzero"`
	Metadata  map[string]string `json:"metadata,omitempty"`  // the caller's own words, sent back with the result
	Network   string            `json:"network,omitempty"`   // empty: the language's
	Artifacts []string          `json:"artifacts,omitempty"` // globs of the files that are wanted when it has ended

	Workspace WorkspaceUse `json:"workspace,omitzero"`
}

// FileInfo is what is shown of a File.
type FileInfo struct {
	Path string `json:"path"`
	Size int    `json:"size"` // bytes
}
