package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"boomerang/internal/sandbox"
)

// A program's user ID belongs to its slot, and no image lists it. Programs that look up their own user (getpwuid,
// os.userInfo) would fail. So the image's own list, with one more line, is mounted over it, read-only. These files lie
// in the init's volume.

// accountLists are the files in which a system looks up users and groups, and for each the line for the program. In
// both files the third field is the number.
var accountLists = []struct {
	path string
	line func(id int) string
}{
	{"/etc/passwd", func(id int) string {
		return fmt.Sprintf("%[1]s:x:%[2]d:%[2]d:%[1]s:%[3]s:/bin/sh\n", sandbox.Name, id, workspaceDir)
	}},
	{"/etc/group", func(id int) string { return fmt.Sprintf("%s:x:%d:\n", sandbox.Name, id) }},
}

const (
	accountBlock   = 64      // user IDs per block of files: one helper container serves that many slots
	maxAccountList = 1 << 20 // bytes; a longer list of an image stays as it is
)

// accounts remembers the images and user IDs whose files exist.
type accounts struct {
	known map[accountKey]accountFiles // guarded by the lock of the init's volume
}

type accountKey struct {
	volume, image string
	block         int
}

// accountFiles maps the path of a list to the files that replace it. It leaves out lists that stay as they are in the
// image.
type accountFiles map[string]accountList

type accountList struct {
	prefix string       // start of the files' names in the volume, before the user ID: "passwd-0123456789ab-"
	named  map[int]bool // the user IDs that the image's own list contains
}

// accountFiles makes the files for an image and for the user IDs around id, once per process.
func (d *Docker) accountFiles(
	ctx context.Context, image imageFacts, volume initLocation, id int, refresh bool,
) (accountFiles, error) {
	if volume.path == "" {
		return nil, nil
	}
	key := accountKey{volume: volume.name, image: image.id, block: id / accountBlock}
	release, err := d.init.lock.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("write the list of users: %w", err)
	}
	defer release()
	if known, ok := d.accounts.known[key]; ok && !refresh {
		return known, nil
	}
	made, err := d.makeAccountFiles(ctx, image, volume, key.block*accountBlock)
	if err != nil {
		return nil, fmt.Errorf("write the list of users: %w", err)
	}
	d.accounts.known[key] = made
	return made, nil
}

// makeAccountFiles makes the files for a block of user IDs.
func (d *Docker) makeAccountFiles(
	ctx context.Context, image imageFacts, volume initLocation, first int,
) (accountFiles, error) {
	helper, err := d.createHelper(ctx, volume.name, image)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.remove(context.WithoutCancel(ctx), helper) }() // the next process sweeps a helper that stays

	made := accountFiles{}
	var files []file
	for _, list := range accountLists {
		content, ok, err := d.imageList(ctx, helper, list.path)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		sum := sha256.Sum256([]byte(content))
		l := accountList{
			prefix: path.Base(list.path) + "-" + hex.EncodeToString(sum[:6]) + "-",
			named:  numbers(content),
		}
		made[list.path] = l
		for id := first; id < first+accountBlock; id++ {
			files = append(files, file{name: l.prefix + strconv.Itoa(id), mode: 0o444, content: []byte(content +
				list.line(id))})
		}
	}
	if len(files) == 0 {
		return made, nil
	}
	return made, d.writeFiles(ctx, helper, files)
}

// imageList reads a list of an image and adds a missing newline at its end. The list is empty if the image has none. Ok
// is false if the path holds a directory or device, or a file above maxAccountList.
func (d *Docker) imageList(ctx context.Context, helper, name string) (content string, ok bool, err error) {
	const links = 8
	for range links {
		target := ""
		found, err := d.readFile(ctx, helper, name, func(h *tar.Header, r io.Reader) error {
			switch {
			case h.Typeflag == tar.TypeSymlink:
				target = h.Linkname
			case h.Typeflag == tar.TypeReg && h.Size <= maxAccountList:
				text, err := io.ReadAll(r)
				content, ok = string(text), true
				return err
			}
			return nil
		})
		if err != nil || !found {
			return "", err == nil, err
		}
		if target == "" {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = target
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return content, ok, nil
}

// numbers returns the user IDs, or group IDs, in a list.
func numbers(list string) map[int]bool {
	all := map[int]bool{}
	for line := range strings.Lines(list) {
		const numberField = 2
		if fields := strings.Split(line, ":"); len(fields) > numberField {
			if id, err := strconv.Atoi(strings.TrimSpace(fields[numberField])); err == nil {
				all[id] = true
			}
		}
	}
	return all
}

// fileName returns the name of the file for one user ID in the volume; "" if the image's own list stays.
func (l accountList) fileName(id int) string {
	if l.prefix == "" || l.named[id] {
		return ""
	}
	return l.prefix + strconv.Itoa(id)
}
