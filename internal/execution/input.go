package execution

// Input is the input of a program beside its code and its environment. It is stored as JSON and sealed as one field.
type Input struct {
	Args  []string `json:"args,omitempty"`  // appended to the command of the language
	Stdin []byte   `json:"stdin,omitempty"` // followed by the end of the file
	Files []File   `json:"files,omitempty"` // written before the program starts
}

// Empty reports whether there is nothing to store.
func (i Input) Empty() bool { return len(i.Args) == 0 && len(i.Stdin) == 0 && len(i.Files) == 0 }

// File is a file in the working directory when the program starts.
type File struct {
	Path    string `json:"path"` // clean, relative to the working directory and within it
	Mode    uint32 `json:"mode"` // permissions, at most 0777
	Content []byte `json:"content"`
}

// Options are the parts of a submission that are not secret. They are stored as JSON and shown by the API.
type Options struct {
	Args      int               `json:"args,omitempty"`  // number of arguments
	Stdin     int               `json:"stdin,omitempty"` // size in bytes
	Files     []FileInfo        `json:"files,omitempty"`
	Limits    Limits            `json:"limits,omitzero"`
	Metadata  map[string]string `json:"metadata,omitempty"`  // chosen by the caller and sent back with the result
	Network   string            `json:"network,omitempty"`   // empty for the network of the language
	Artifacts []string          `json:"artifacts,omitempty"` // globs of the files to collect at the end

	Workspace WorkspaceUse `json:"workspace,omitzero"`
}

// FileInfo is the public part of a File.
type FileInfo struct {
	Path string `json:"path"`
	Size int    `json:"size"` // bytes
}
