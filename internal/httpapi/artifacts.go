package httpapi

import (
	"mime"
	"net/http"
	"path"
	"strconv"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// artifactList lists the files that an execution left.
type artifactList struct {
	ExecutionID execution.ID    `json:"execution_id"`
	Status      execution.State `json:"status"`
	Globs       []string        `json:"artifact_globs"`
	*wire.ArtifactList
}

func (a *api) handleArtifacts(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	left, err := a.Artifacts.Artifacts(r.Context(), e.ID)
	if err != nil {
		return err
	}
	if left == nil {
		left = new(execution.Artifacts)
	}
	return server.Respond(w, http.StatusOK, artifactList{
		e.ID, e.State, listOf(e.Options.Artifacts),
		wire.ArtifactsOf(left),
	})
}

// minDownloadRate is the least rate of a download in bytes per second.
const minDownloadRate = 256 << 10

// handleArtifact answers with the bytes of one file, or with the range that the request asks for. The bytes never
// change.
func (a *api) handleArtifact(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	f, found, err := a.Artifacts.Artifact(r.Context(), e.ID, r.PathValue("path"))
	if err != nil {
		return err
	}
	if !found {
		return fault.New(fault.FileNotFound, "The execution has left no such file.")
	}
	extra := gateway.Download + time.Duration(f.Blob.Size/minDownloadRate)*time.Second
	if err := server.ExtendWrite(w, r, extra); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(f.Path)}))
	h.Set("ETag", gateway.ETag(f.Blob))
	h.Set("X-File-Mode", strconv.FormatUint(uint64(f.Mode), 8))
	if !server.ServeRange(w, r, time.Time{}, a.Artifacts.Blob(r.Context(), f.Blob)) {
		return outsideOf(w, f.Blob.Size)
	}
	return nil
}
