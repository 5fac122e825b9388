package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"boomerang/internal/execution"
)

// insertArtifacts stores the requested files of a result. It returns ErrBlobGone if a blob does not exist or is not
// complete.
func (t *tx) insertArtifacts(ctx context.Context, seq int64, a *execution.Artifacts) error {
	if a == nil {
		return nil
	}
	if err := t.storeOmissions(ctx, seq, a.Omissions); err != nil {
		return err
	}
	for _, f := range a.Files {
		n, err := t.exec(ctx, `INSERT INTO artifacts (execution, path, mode, blob)
			SELECT ?, ?, ?, id FROM blobs WHERE id = ? AND size IS NOT NULL`, seq, f.Path, f.Mode, f.Blob.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return execution.ErrBlobGone
		}
	}
	return nil
}

func (t *tx) storeOmissions(ctx context.Context, seq int64, o execution.Omissions) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE results SET leavings = ? WHERE execution = ?`, string(text), seq)
	return err
}

const selectArtifacts = `SELECT a.path, a.mode, b.id, b.size, b.sum FROM executions e
	JOIN artifacts a ON a.execution = e.seq
	JOIN blobs b ON b.id = a.blob WHERE e.id = ?`

// Artifacts implements httpapi.ArtifactStore.
func (s *Store) Artifacts(ctx context.Context, id execution.ID) (*execution.Artifacts, error) {
	var omissions sql.Null[string]
	err := s.readers.row(ctx, `SELECT r.leavings FROM executions e LEFT JOIN results r ON r.execution = e.seq
		WHERE e.id = ?`, id).
		Scan(&omissions)
	if err != nil || !omissions.Valid {
		return nil, wrapError("get artifacts", notFound(err))
	}
	var a execution.Artifacts
	if err := json.Unmarshal([]byte(omissions.V), &a.Omissions); err != nil {
		return nil, wrapError("get artifacts", fmt.Errorf("read omissions: %w", err))
	}
	a.Files, err = collect(ctx, s.readers, "list artifacts", scanArtifact, selectArtifacts+` ORDER BY a.path`, id)
	return &a, err
}

// Artifact implements httpapi.ArtifactStore.
func (s *Store) Artifact(ctx context.Context, id execution.ID, path string) (execution.Artifact, bool, error) {
	found, err := collect(ctx, s.readers, "get artifact", scanArtifact, selectArtifacts+` AND a.path = ?`, id, path)
	if err != nil || len(found) == 0 {
		return execution.Artifact{}, false, err
	}
	return found[0], true, nil
}

func scanArtifact(r scanner) (a execution.Artifact, err error) {
	var sum []byte
	if err := r.Scan(&a.Path, &a.Mode, &a.Blob.ID, &a.Blob.Size, &sum); err != nil {
		return a, err
	}
	if copy(a.Blob.Sum[:], sum) != len(a.Blob.Sum) {
		return a, fmt.Errorf("the sum of blob %d has %d bytes", a.Blob.ID, len(sum))
	}
	return a, nil
}
