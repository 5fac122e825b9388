package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Artifacts is what became of the files that an execution was to leave.
type Artifacts struct {
	Status execution.State `json:"status"`
	wire.ArtifactList
}

// Artifacts lists the files that an execution left; none until it has ended.
func (c *Client) Artifacts(ctx context.Context, id execution.ID) (a Artifacts, err error) {
	if err := c.call(ctx, http.MethodGet, c.base.JoinPath("executions", string(id), "artifacts"), nil, nil, &a); err != nil {
		return Artifacts{}, fmt.Errorf("list artifacts: %w", err)
	}
	return a, nil
}

var errDiffers = errors.New("what came is not what the server has listed")

// Artifact copies a file that an execution left to w, and sees to it that it is the one that was listed. It takes as long as it takes.
func (c *Client) Artifact(ctx context.Context, id execution.ID, a wire.Artifact, w io.Writer) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("download %q: %w", a.Path, err)
		}
	}()
	parts := []string{"executions", string(id), "artifacts"}
	for part := range strings.SplitSeq(a.Path, "/") {
		parts = append(parts, url.PathEscape(part))
	}
	patient := *c
	patient.http = &http.Client{CheckRedirect: c.http.CheckRedirect}
	response, err := patient.send(ctx, http.MethodGet, c.base.JoinPath(parts...), nil, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end, or the error is told already
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(response.Body, a.Size+1)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != a.SHA256 {
		return errDiffers
	}
	return nil
}
