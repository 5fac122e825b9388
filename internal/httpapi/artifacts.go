package httpapi

import (
	"context"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// Leftovers are the files that programs left. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Leftovers interface {
	// Artifacts returns what became of the files that were asked for; nil when none were, or the execution has not ended.
	Artifacts(ctx context.Context, id execution.ID) (*execution.Artifacts, error)
	// Artifact returns one file; false when there is none with this path.
	Artifact(ctx context.Context, id execution.ID, path string) (a execution.Artifact, found bool, err error)
	// Blob reads content, a piece at a time.
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
}

// leftovers is the list of the files that an execution left.
type leftovers struct {
	ExecutionID execution.ID    `json:"execution_id"`
	Status      execution.State `json:"status"`
	Globs       []string        `json:"artifact_globs"`
	*wire.ArtifactList
}

func (a *api) artifacts(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	left, err := a.Leftovers.Artifacts(r.Context(), e.ID)
	if err != nil {
		return err
	}
	if left == nil {
		left = new(execution.Artifacts)
	}
	return respond(w, http.StatusOK, leftovers{e.ID, e.State, listOf(e.Options.Artifacts), wire.ArtifactsOf(left)})
}

// steadily is what a client that downloads must take in a second at the least.
const steadily = 256 << 10 // bytes

// artifact answers with the bytes of one file, or with the range of them that is asked for. They do not change.
func (a *api) artifact(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	f, found, err := a.Leftovers.Artifact(r.Context(), e.ID, mux.Vars(r)["path"])
	if err != nil {
		return err
	}
	if !found {
		return fault.New(fault.FileNotFound, "The execution has left no such file.")
	}
	if err := a.extend(w, download+time.Duration(f.Blob.Size/steadily)*time.Second); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(f.Path)}))
	h.Set("ETag", `"`+hex.EncodeToString(f.Blob.Sum[:])+`"`)
	h.Set("X-File-Mode", strconv.FormatUint(uint64(f.Mode), 8))
	return serveRange(w, r, a.Leftovers.Blob(r.Context(), f.Blob), f.Blob.Size)
}
