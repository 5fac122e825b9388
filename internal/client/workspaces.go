package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"boomerang/internal/wire"
)

// Workspaces lists all workspaces of the subject.
func (c *Client) Workspaces(ctx context.Context) (list []wire.Workspace, err error) {
	for cursor := new(string); cursor != nil; {
		var page struct {
			Workspaces []wire.Workspace `json:"workspaces"`
			NextCursor *string          `json:"next_cursor"`
		}
		u := c.base.JoinPath("workspaces")
		u.RawQuery = query("cursor", *cursor, "limit", "200")
		if err := c.call(ctx, http.MethodGet, u, nil, nil, &page); err != nil {
			return nil, fmt.Errorf("list workspaces: %w", err)
		}
		list, cursor = append(list, page.Workspaces...), page.NextCursor
	}
	return list, nil
}

// WorkspaceFiles lists what is in a workspace and begins with prefix.
func (c *Client) WorkspaceFiles(ctx context.Context, name, prefix string) (list []wire.WorkspaceFile, err error) {
	for cursor := new(string); cursor != nil; {
		var page struct {
			Files      []wire.WorkspaceFile `json:"files"`
			NextCursor *string              `json:"next_cursor"`
		}
		u := c.base.JoinPath("workspaces", name, "files")
		u.RawQuery = query("prefix", prefix, "cursor", *cursor, "limit", "1000")
		if err := c.call(ctx, http.MethodGet, u, nil, nil, &page); err != nil {
			return nil, fmt.Errorf("list files: %w", err)
		}
		list, cursor = append(list, page.Files...), page.NextCursor
	}
	return list, nil
}

// PutFile makes content a file of a workspace, with permissions in octal digits. It takes as long as it takes.
func (c *Client) PutFile(ctx context.Context, name, path, mode string, content io.Reader) error {
	u := c.file(name, path)
	u.RawQuery = query("mode", mode)
	response, err := c.stream(ctx, http.MethodPut, u, content)
	if err == nil {
		err = response.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("put file: %w", err)
	}
	return nil
}

// GetFile writes a file of a workspace to w. It takes as long as it takes.
func (c *Client) GetFile(ctx context.Context, name, path string, w io.Writer) error {
	response, err := c.stream(ctx, http.MethodGet, c.file(name, path), nil)
	if err != nil {
		return fmt.Errorf("get file: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end, or the error is told already
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("get file: %w", err)
	}
	return nil
}

// DeleteFile removes a file, or a directory with all that is in it.
func (c *Client) DeleteFile(ctx context.Context, name, path string) error {
	return c.remove(ctx, c.file(name, path), "delete file")
}

// DeleteWorkspace removes a workspace with all that is in it.
func (c *Client) DeleteWorkspace(ctx context.Context, name string) error {
	return c.remove(ctx, c.base.JoinPath("workspaces", name), "delete workspace")
}

func (c *Client) remove(ctx context.Context, u *url.URL, act string) error {
	response, err := c.stream(ctx, http.MethodDelete, u, nil)
	if err == nil {
		err = response.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// file is where a file is. JoinPath would take what stands in a name for a part of the URL.
func (c *Client) file(name, path string) *url.URL {
	parts := []string{"workspaces", url.PathEscape(name), "files"}
	for part := range strings.SplitSeq(path, "/") {
		parts = append(parts, url.PathEscape(part))
	}
	return c.base.JoinPath(parts...)
}

// stream sends a request that has no time limit but that of ctx. An answer that refuses is an error.
func (c *Client) stream(ctx context.Context, method string, u *url.URL, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	patient := *c.http
	patient.Timeout = 0
	response, err := patient.Do(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close() //nolint:errcheck // what it says is an error already
		return nil, refusal(response)
	}
	return response, nil
}
