package docker

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/sandbox"
)

func TestAnImagesOwnUsersAreFoundByTheirNumbers(t *testing.T) {
	list := "root:x:0:0:root:/root:/bin/bash\n\n# a comment\nbroken:x\nanna:x: 100003 " +
		":7::/:\n+::::::\nbig:x:99999999999999999999:0::/:\nlast:x:42:42::/:/bin/sh"
	if diff := cmp.Diff(map[int]bool{0: true, 100003: true, 42: true}, numbers(list)); diff != "" {
		t.Error(diff)
	}
}

func TestALineNamesTheProgramByItsNumber(t *testing.T) {
	for _, list := range accountLists {
		line := list.line(100_003)
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") ||
			!strings.HasPrefix(line, sandbox.Name+":x:100003:") || !numbers(line)[100_003] {
			t.Errorf("%s: %q", list.path, line)
		}
	}
}

func TestWhereTheImageHasANameItsListStays(t *testing.T) {
	l := accountList{prefix: "passwd-0123456789ab-", named: map[int]bool{100_003: true}}
	for id, want := range map[int]string{100_002: "passwd-0123456789ab-100002", 100_003: ""} {
		if got := l.fileName(id); got != want {
			t.Errorf("of(%d) = %q, want %q", id, got, want)
		}
	}
	if got := (accountList{}).fileName(1); got != "" {
		t.Errorf("a list that the image cannot have replaced is replaced by %q", got)
	}
}
