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

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Artifacts is the list of the artifacts of an execution.
type Artifacts struct {
	Status execution.State `json:"status"`
	wire.ArtifactList
}

// Artifacts returns the list of the artifacts of an execution. The list is empty until the execution ends.
func (c *Client) Artifacts(ctx context.Context, id execution.ID) (a Artifacts, err error) {
	if err := c.call(ctx, http.MethodGet, c.artifactsURL(id), nil, nil, &a); err != nil {
		return Artifacts{}, fmt.Errorf("list artifacts: %w", err)
	}
	return a, nil
}

var errDiffers = errors.New("the content differs from the checksum in the list")

// Artifact copies the content of an artifact to w, and returns an error if its checksum is not the listed one. It has
// no time limit.
func (c *Client) Artifact(ctx context.Context, id execution.ID, a wire.Artifact, w io.Writer) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("download %q: %w", a.Path, err)
		}
	}()
	response, err := c.stream(ctx, http.MethodGet, c.artifactsURL(id).JoinPath(escapePath(a.Path)...), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // the body was read to its end, or an error is returned already
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(response.Body, a.Size+1)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != a.SHA256 {
		return errDiffers
	}
	return nil
}

func (c *Client) artifactsURL(id execution.ID) *url.URL {
	return c.base.JoinPath("executions", string(id), "artifacts")
}
