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

// A program's user ID is its slot's, which no image lists. Programs that ask who they are (getpwuid, os.userInfo) would
// fail, so the image's own list with one line more is mounted over it, read-only. These files lie in the init's volume.

// accountLists are the files in which a system looks up users and groups, and the line that names the program. In both
// files the third field is the number.
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
	accountBlock   = 64      // user IDs for which files are made at a time: one helper serves that many slots
	maxAccountList = 1 << 20 // bytes; a longer list of an image is left as it is
)

// accounts remembers for which images and user IDs the files are there.
type accounts struct {
	known map[accountKey]accountFiles // guarded by the lock of the init's volume
}

type accountKey struct {
	volume, image string
	block         int
}

// accountFiles maps the path of a list to the files that replace it. A list that stays as the image has it is absent.
type accountFiles map[string]accountList

type accountList struct {
	prefix string       // of the files' names in the volume, before the user ID: "passwd-0123456789ab-"
	named  map[int]bool // the user IDs that the image itself has a name for
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
	defer func() { _ = d.remove(context.WithoutCancel(ctx), helper) }() // what stays is swept by the next process

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
		l := accountList{prefix: path.Base(list.path) + "-" + hex.EncodeToString(sum[:6]) + "-", named: numbers(content)}
		made[list.path] = l
		for id := first; id < first+accountBlock; id++ {
			files = append(files, file{name: l.prefix + strconv.Itoa(id), mode: 0o444, content: []byte(content + list.line(id))})
		}
	}
	if len(files) == 0 {
		return made, nil
	}
	return made, d.writeFiles(ctx, helper, files)
}

// imageList reads a list of an image and adds the newline that may be missing at its end. The list is empty where the
// image has none. Ok is false where the path holds something else than a file, or a file that is too long.
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

// numbers returns the user IDs, or group IDs, that a list has a name for.
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

// of returns the name of the file for one user ID in the volume; "" where the image's own list stays.
func (l accountList) of(id int) string {
	if l.prefix == "" || l.named[id] {
		return ""
	}
	return l.prefix + strconv.Itoa(id)
}
