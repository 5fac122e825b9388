package language

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/fault"
)

const withOptional = minimal + `
  java:
    image: boomerang/java:latest
    file: Main.java
    command: [java, "{file}"]
    aliases: [jdk]
    optional: true
`

func offered(o *Offer) []string {
	var list []string
	for _, l := range o.Languages() {
		list = append(list, l.Name)
	}
	return list
}

func TestOnlyOptionalLanguagesLeaveTheOffer(t *testing.T) {
	c, _, err := open(t, withOptional)
	if err != nil {
		t.Fatal(err)
	}
	o := c.Offer()
	for _, step := range []struct {
		absent, want []string
	}{
		{nil, []string{"java", "ruby"}},
		{[]string{"java", "ruby"}, []string{"ruby"}},
		{[]string{"ruby"}, []string{"java", "ruby"}},
	} {
		o.Without(step.absent)
		if diff := cmp.Diff(step.want, offered(o)); diff != "" {
			t.Errorf("without %v: %s", step.absent, diff)
		}
	}
}

func TestALanguageThatIsNotOfferedIsRefusedWithItsRemedy(t *testing.T) {
	c, _, err := open(t, withOptional)
	if err != nil {
		t.Fatal(err)
	}
	o := c.Offer()
	if l, err := o.Offered("jdk"); err != nil || l.Name != "java" {
		t.Errorf("Offered(jdk) = %q, %v, want java", l.Name, err)
	}
	o.Without([]string{"java", "ruby"})
	for _, asked := range []string{"java", "jdk"} {
		_, err := o.Offered(asked)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != fault.UnsupportedLanguage || !strings.Contains(f.Sentence,
			"make images LANGUAGES=java; these are: ruby.") {
			t.Errorf("Offered(%s) gives %v, want a fault %s with the remedy", asked, err, fault.UnsupportedLanguage)
			continue
		}
		if diff := cmp.Diff(map[string]any{"field": "language", "supported": []string{"ruby"}}, f.Details); diff != "" {
			t.Errorf("details: %s", diff)
		}
	}
	if _, err := o.Offered("ruby"); err != nil {
		t.Errorf("what is not optional is admitted and fails in the open: %v", err)
	}
	if l, err := o.Find("jdk"); err != nil || l.Name != "java" {
		t.Errorf("Find(jdk) = %q, %v: what was admitted earlier is still found", l.Name, err)
	}
}

func TestTheErrorForAnUnknownLanguageListsTheOffer(t *testing.T) {
	c, _, err := open(t, withOptional)
	if err != nil {
		t.Fatal(err)
	}
	o := c.Offer()
	o.Without([]string{"java"})
	_, err = o.Offered("cobol")
	if f := fault.Of(err); f.Code != fault.UnsupportedLanguage || strings.Contains(f.Sentence, "java") {
		t.Errorf("%v, want %s without java", err, fault.UnsupportedLanguage)
	}
}

func TestNoImageNamesTheRemedy(t *testing.T) {
	for image, want := range map[string]string{
		"boomerang/python-ml:latest": "make images LANGUAGES=python-ml.",
		"ruby:3.4-slim":              "build or pull",
	} {
		if got := (Language{Name: "x", Image: image}).NoImage(); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}
