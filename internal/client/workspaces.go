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

// Workspaces returns all workspaces of the token's subject.
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

// WorkspaceFiles returns the entries of a workspace whose path begins with prefix.
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

// PutFile uploads a file to a workspace, with permissions in octal digits. It has no time limit.
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

// GetFile copies a file of a workspace to w. It has no time limit.
func (c *Client) GetFile(ctx context.Context, name, path string, w io.Writer) error {
	response, err := c.stream(ctx, http.MethodGet, c.file(name, path), nil)
	if err != nil {
		return fmt.Errorf("get file: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // the body was read to its end, or an error is returned already
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("get file: %w", err)
	}
	return nil
}

// DeleteFile deletes a file, or a directory with its content.
func (c *Client) DeleteFile(ctx context.Context, name, path string) error {
	return c.remove(ctx, c.file(name, path), "delete file")
}

// DeleteWorkspace deletes a workspace with its content.
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

// file returns the URL of a file of a workspace.
func (c *Client) file(name, path string) *url.URL {
	return c.base.JoinPath("workspaces", url.PathEscape(name), "files").JoinPath(escapePath(path)...)
}

// escapePath splits a path into escaped elements. Without escapes JoinPath would read characters of a name as parts
// of the URL.
func escapePath(path string) (elements []string) {
	for element := range strings.SplitSeq(path, "/") {
		elements = append(elements, url.PathEscape(element))
	}
	return elements
}

// stream sends a request that has no time limit except that of ctx.
func (c *Client) stream(ctx context.Context, method string, u *url.URL, body io.Reader) (*http.Response, error) {
	return c.send(ctx, c.streams, method, u, nil, body)
}
