package language

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// images is the directory of boomerang's own images; base and boomerang are no languages.
const images = "../../images"

func TestEveryLanguageOfOursHasAnImageAndEveryImageALanguage(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, l := range c.Languages() {
		if l.Image != "boomerang/"+l.Name+":latest" {
			t.Errorf("%s runs in %s, want the image that is built from %s/%s", l.Name, l.Image, images, l.Name)
		}
		if l.Pull != "never" {
			t.Errorf("%s: the image may be pulled, and any user can publish an image with its name", l.Name)
		}
		want = append(want, l.Name)
	}
	files, err := filepath.Glob(images + "/*/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		if name := filepath.Base(filepath.Dir(file)); name != "base" && name != "boomerang" {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("languages and images differ: %s", diff)
	}
}

func TestEachImageContainsTheProgramOfItsLanguage(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, l := range c.Languages() {
		if !strings.HasPrefix(l.Command[0], "run-") {
			continue
		}
		count++
		program := filepath.Join(l.Name, l.Command[0])
		info, err := os.Stat(filepath.Join(images, program))
		if err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("images/%s: %v, want a program", program, err)
		}
	}
	if count == 0 {
		t.Error("no language starts a program of ours")
	}
}
