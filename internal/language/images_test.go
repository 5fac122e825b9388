package language

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// images is where our own images are built from; base and boomerang are no languages.
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
			t.Errorf("%s: the image may be pulled, and anybody may publish one of its name", l.Name)
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

func TestTheProgramThatALanguageOfOursStartsComesWithItsImage(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Find("go")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.Command, []string{"run-go", "{file}"}) {
		t.Fatalf("command is %q", l.Command)
	}
	info, err := os.Stat(images + "/go/run-go")
	if err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("images/go/run-go: %v, want a program", err)
	}
}
